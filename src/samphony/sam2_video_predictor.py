"""The video door under its official module name."""

from samphony.predict.video.predictor import SAM2VideoPredictor

__all__ = ["SAM2VideoPredictor"]

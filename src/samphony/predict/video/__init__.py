"""Video: track anything, exactly, in bounded memory, many objects at once, live."""

from samphony.predict.video.options import VideoOptions
from samphony.predict.video.policies import MemoryPolicy
from samphony.predict.video.predictor import SAM2VideoPredictor
from samphony.predict.video.results import FrameResult, ObjectResult
from samphony.predict.video.session import VideoSession
from samphony.predict.video.stream import VideoStream

__all__ = [
    "FrameResult",
    "MemoryPolicy",
    "ObjectResult",
    "SAM2VideoPredictor",
    "VideoOptions",
    "VideoSession",
    "VideoStream",
]

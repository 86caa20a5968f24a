"""Segment everything: masks of all objects in a photo, without prompts."""

from samphony.predict.automatic.generator import SAM2AutomaticMaskGenerator
from samphony.predict.automatic.presets import PRESETS, Preset
from samphony.predict.automatic.records import MaskRecords
from samphony.predict.automatic.report import DropReport

__all__ = ["PRESETS", "DropReport", "MaskRecords", "Preset", "SAM2AutomaticMaskGenerator"]

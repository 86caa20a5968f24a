"""Behaviour of the video door, as one frozen record. The defaults give the official numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samphony.errors import ConfigError


@dataclass(frozen=True)
class VideoOptions:
    """Options of :class:`SAM2VideoPredictor`. The first group has the official names and meanings."""

    fill_hole_area: int = 0
    """Background components of at most so many low-resolution pixels become foreground (logit 0.1), on every device.

    The official builder asks for 8, which only its CUDA extension carries out; exact mode leaves it at 0.
    """
    non_overlap_masks: bool = False
    """At each pixel of the answer keep the object with the highest logit; the others are lowered to at most -10."""
    add_all_frames_to_correct_as_cond: bool = False
    """A prompt on an already tracked frame makes it a conditioning frame.

    Officially off, and then the next propagation over that frame undoes the correction. Streams, the command line and
    the studio turn it on.
    """
    clear_non_cond_mem_around_input: bool = False
    """The official switch. ``propagate_in_video`` refuses it, since the official package crashes there too;
    ``clear_memory_around_prompts`` is the same idea and works."""

    clear_memory_around_prompts: bool = False
    """Forget tracked frames within ``num_maskmem`` strides of a conditioning frame as propagation passes it."""
    remove_sprinkle_area: int = 0
    """Foreground components of at most so many low-resolution pixels become background (logit -0.1)."""
    batch_objects: bool = True
    """Objects whose memories have the same layout pass the network in one call."""

    history: Literal["spill", "window", "keep"] = "spill"
    """What becomes of memories that a forward pass no longer reads.

    ``spill``: kept, in a memory-mapped temporary file once they exceed ``ram_budget``; every later correction or
    reverse pass finds them. ``window``: dropped; exact for passes in one direction. ``keep``: all stay in memory.
    """
    ram_budget: int = 512 * 1024 * 1024
    """Bytes of tracked memories held in RAM before the oldest are spilled."""
    spill_folder: Path | None = None
    """Where the temporary file is made; the system's folder for temporary files by default."""
    undo_depth: int = 16
    """How many prompts can be undone."""

    def __post_init__(self) -> None:
        for name in ("fill_hole_area", "remove_sprinkle_area", "ram_budget", "undo_depth"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.history not in ("spill", "window", "keep"):
            raise ConfigError(f"history must be 'spill', 'window' or 'keep', got {self.history!r}")

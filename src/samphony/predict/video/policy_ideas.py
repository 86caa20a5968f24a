"""Three policies from the literature, opt-in: ``SAM2VideoPredictor(model, policy=DistractorAware())``.

They keep the official token layout (t_pos counts places, not frames) and change only which frames fill it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from samphony.model.config import SAM2Config
from samphony.predict.video.memory_bank import Memory, MemoryBank
from samphony.predict.video.policies import (
    Candidates,
    Choice,
    MemoryPolicy,
    Moment,
    Reach,
    Selection,
    conditioning_pointers,
    recallable,
    recent_pointers,
    select_conditioning,
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ScoreGated(MemoryPolicy):
    """Recall only frames on which the object was seen well, looking further back for them.

    The idea of memory selection in SAM 3's tracker (2025): after an occlusion the memories are still those of before.
    The frame just before is always recalled. min_score: of predicted IoU times presence probability.
    """

    min_score: float = 0.3
    horizon: int = 48

    def recent(self, bank: MemoryBank, moment: Moment, selected: Sequence[int]) -> list[tuple[int, int]]:
        places = moment.config.num_maskmem - 1
        found = [moment.back(1)] if recallable(bank, moment.back(1), selected) else []
        for memory in past(bank, moment, self.horizon, start=2):
            if len(found) == places:
                break
            if memory.frame_idx not in selected and self.seen_well(memory):
                found.append(memory.frame_idx)
        return [(t, places - place) for place, t in reversed(list(enumerate(found)))]

    def seen_well(self, memory: Memory) -> bool:
        """Whether a frame is worth recalling."""
        return float(memory.iou) * float(memory.object_score.sigmoid()) >= self.min_score

    def reach(self, config: SAM2Config) -> Reach:
        return Reach(self.horizon, max(self.horizon, config.max_obj_ptrs_in_encoder - 1))


@dataclass(frozen=True)
class MotionAware(ScoreGated):
    """Also let the object's motion vote on which of the three masks is kept.

    The idea of SAMURAI (Yang et al., 2024), with a straight line through the last boxes in place of its Kalman filter.
    weight: of the overlap with the expected box, against the predicted IoU. fit: boxes that the line goes through.
    """

    weight: float = 0.25
    fit: int = 6

    def choose(self, candidates: Candidates, bank: MemoryBank, moment: Moment) -> Choice:
        expected = self.expected_box(bank, moment)
        if expected is None:
            return super().choose(candidates, bank, moment)
        overlaps = [box_iou(mask_box(mask), expected) for mask in candidates.low_res_masks]
        votes = self.weight * torch.tensor(overlaps) + (1 - self.weight) * candidates.ious.float().cpu()
        return Choice(int(votes.argmax()))

    def expected_box(self, bank: MemoryBank, moment: Moment) -> Box | None:
        """Where the object should be, in pixels of the low-resolution mask; None without enough frames seen well."""
        known: list[tuple[int, Box]] = []
        for memory in past(bank, moment, 2 * self.fit):
            box = mask_box(memory.low_res_masks[0, 0])
            if box is not None and self.seen_well(memory):
                known.append((memory.frame_idx, box))
            if len(known) == self.fit:
                break
        if len(known) < self.fit:
            return None
        times = torch.tensor([[1.0, float(t - moment.frame_idx)] for t, _ in known], dtype=torch.float64)
        boxes = torch.tensor([box for _, box in known], dtype=torch.float64)
        x0, y0, x1, y1 = (float(v) for v in torch.linalg.lstsq(times, boxes).solution[0])
        return x0, y0, x1, y1


@dataclass(frozen=True)
class DistractorAware(MemoryPolicy):
    """Keep frames on which a look-alike was told apart, beside a few recent ones.

    The idea of DAM4SAM (Videnovic et al., 2024). A frame becomes an anchor when the object is surely there and its size
    is steady, while another of the three masks reaches well beyond the kept one: something similar is near, and the
    network can tell the two apart. Anchors are recalled like prompted frames; of recent frames that show the object,
    the last one and every few.
    """

    anchors: int = 3
    recent_step: int = 5
    min_iou: float = 0.8
    max_ratio: float = 0.7
    steady: float = 0.2

    def recall(self, bank: MemoryBank, moment: Moment) -> Selection:
        selected = select_conditioning(tuple(bank.conditioning), moment)
        sign = -1 if moment.reverse else 1
        anchors = [t for t in bank.marked_frames if (moment.frame_idx - t) * sign > 0]
        anchors = sorted(anchors, key=lambda t: abs(moment.frame_idx - t))[: self.anchors]
        known = [*selected, *anchors]
        spatial = [(t, 0) for t in known] + self.recent(bank, moment, known)
        pointers = []
        if moment.config.use_obj_ptrs_in_encoder:
            pointers = conditioning_pointers(selected, moment) + recent_pointers(bank, moment, selected)
        return Selection(tuple(spatial), tuple(pointers), moment.max_pointers - 1)

    def recent(self, bank: MemoryBank, moment: Moment, selected: Sequence[int]) -> list[tuple[int, int]]:
        places = moment.config.num_maskmem - 1
        count = max(1, places - self.anchors)
        found: list[int] = []
        for memory in past(bank, moment, self.recent_step * moment.config.num_maskmem + 1):
            t = memory.frame_idx
            wanted = t == moment.back(1) or t % self.recent_step == 0
            if len(found) < count and wanted and t not in selected and memory.object_score > 0:
                found.append(t)
        return [(t, places - place) for place, t in reversed(list(enumerate(found)))]

    def choose(self, candidates: Candidates, bank: MemoryBank, moment: Moment) -> Choice:
        index = int(candidates.ious.argmax())
        sure = float(candidates.object_score) > 0 and float(candidates.ious[index]) >= self.min_iou
        rested = all(abs(moment.frame_idx - t) >= self.recent_step for t in bank.marked_frames)
        kept = candidates.low_res_masks[index]
        if sure and rested and self._is_steady(kept, bank, moment) and self._is_rivalled(index, candidates):
            return Choice(index, mark=1.0)
        return Choice(index)

    def _is_steady(self, kept: Tensor, bank: MemoryBank, moment: Moment) -> bool:
        areas = [int((memory.low_res_masks > 0).sum()) for memory in past(bank, moment, 10)]
        areas = [area for area in areas if area > 0]
        if not areas:
            return False
        usual = median(areas)
        return abs(int((kept > 0).sum()) - usual) <= self.steady * usual

    def _is_rivalled(self, index: int, candidates: Candidates) -> bool:
        own = mask_box(candidates.low_res_masks[index])
        if own is None:
            return False
        for other, mask in enumerate(candidates.low_res_masks):
            both = mask_box(torch.maximum(mask, candidates.low_res_masks[index]))
            if other != index and both is not None and box_area(own) / box_area(both) < self.max_ratio:
                return True
        return False

    def reach(self, config: SAM2Config) -> Reach:
        features = self.recent_step * config.num_maskmem + 1
        return Reach(features, max(features, config.max_obj_ptrs_in_encoder - 1), self.anchors)


def past(bank: MemoryBank, moment: Moment, horizon: int, start: int = 1) -> Iterator[Memory]:
    """Memories from ``start`` to ``horizon`` frames back that have features, nearest first."""
    for distance in range(start, horizon + 1):
        memory = bank.any(moment.back(distance))
        if memory is not None and memory.features is not None:
            yield memory


def mask_box(logits: Tensor) -> Box | None:
    """x0, y0, x1, y1 around the positive logits (h,w), far edges outside; None where there are none."""
    rows, columns = (logits > 0).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1


def box_area(box: Box) -> float:
    """Area, 0 where the box is turned inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def box_iou(a: Box | None, b: Box) -> float:
    """Intersection over union of two boxes."""
    if a is None:
        return 0.0
    shared = box_area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = box_area(a) + box_area(b) - shared
    return shared / union if union > 0 else 0.0

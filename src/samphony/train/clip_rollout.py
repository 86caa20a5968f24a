"""One training step on clips: the first frame is prompted, the others are tracked with the memories of those before.

It composes ``SAM2Base.track_step`` and lays out what is recalled as the video predictor does: the prompted frame, up to
``num_maskmem`` - 1 frames back, and the object pointers of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samphony.model.base import PointInputs, SAM2Base
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.outputs import FrameOutput
from samphony.train.clips import ClipBatch
from samphony.train.image_rollout import RolloutResult
from samphony.train.losses import best_of, dice_loss, focal_loss, object_score_loss, true_iou
from samphony.train.photos import shrink
from samphony.train.prompts import Prompts, first_prompts
from samphony.train.recipe import ClipRecipe, LossRecipe, PromptRecipe


@dataclass(frozen=True)
class ClipDraws:
    """Random numbers of a clip step: noise (N,h,w); for each object a box or a click; whether masks are given
    instead.
    """

    noise: Tensor
    box: Tensor
    centre: Tensor
    mask_prompt: bool

    @classmethod
    def of(cls, clips: ClipRecipe, prompts: PromptRecipe, seed: int, step: int, slots: range, cells: int) -> ClipDraws:
        """The draws of a step for the named slots."""
        mask_prompt = bool(np.random.default_rng((seed, step, 3)).random() < clips.mask_prompt)
        streams = [np.random.default_rng((seed, step, slot, 3)) for slot in slots]
        noise = np.concatenate([r.random((clips.objects, cells, cells), dtype=np.float32) for r in streams])
        box = np.concatenate([r.random(clips.objects) < prompts.box for r in streams])
        centre = np.concatenate([r.random(clips.objects) < prompts.centre for r in streams])
        return cls(torch.from_numpy(noise), torch.from_numpy(box), torch.from_numpy(centre), mask_prompt)

    def to(self, device: torch.device) -> ClipDraws:
        """The same draws on a device."""
        return ClipDraws(self.noise.to(device), self.box.to(device), self.centre.to(device), self.mask_prompt)


def clip_rollout(
    model: SAM2Base,
    batch: ClipBatch,
    draws: ClipDraws,
    prompts: PromptRecipe,
    weights: LossRecipe,
    train_encoder: bool = False,
) -> RolloutResult:
    """Loss of K clips with N = K·O objects, averaged over objects and frames that are predicted."""
    T, K = batch.images.shape[:2]
    N = batch.masks.shape[1]
    with torch.set_grad_enabled(train_encoder and torch.is_grad_enabled()):
        encoded = model.image_encoder(batch.images.flatten(0, 1))
    decoder = model.sam_mask_decoder
    levels = [decoder.conv_s0(encoded.levels[0]), decoder.conv_s1(encoded.levels[1]), encoded.levels[2]]
    frames = [
        ImageFeatures(
            [x.unflatten(0, (T, K))[t].repeat_interleave(N // K, dim=0) for x in levels],
            [p[:1] for p in encoded.positions],
        )
        for t in range(T)
    ]
    total = levels[2].new_zeros(())
    counted = 0
    log: dict[str, Tensor] = {}
    past: list[FrameOutput] = []
    right, given = [], None
    for t in range(T):
        truth, valid = shrink(batch.masks[t], 4), shrink(batch.valid[t], 4)
        present = batch.masks[t].flatten(1).any(dim=1)
        points: PointInputs | None = None
        mask: Tensor | None = None
        if t == 0 and draws.mask_prompt:
            mask = batch.masks[0][:, None].float()
        elif t == 0:
            given = first_prompts(batch.masks[0], truth, draws.noise, draws.box, draws.centre, prompts.box_noise)
            points = {"point_coords": given.coords, "point_labels": given.labels}
        out = model.track_step(
            frames[t],
            recall=recall_of(past, model.num_maskmem, T) if t else None,
            point_inputs=points,
            mask_inputs=mask,
            run_memory_encoder=t + 1 < T,
        )
        past.append(out)
        if mask is not None:
            continue
        loss, real = _frame_loss(out, truth, valid, present, weights)
        total = total + loss
        counted += 1
        if present.any():
            log[f"clip/iou{t}"] = real[present].mean()
        right.append(((out.object_score_logits[:, 0] > 0) == present).float().mean())
    log |= {"clip/object_score": torch.stack(right).mean(), "clip/loss": total.detach() / counted}
    empty = Prompts(draws.noise.new_zeros(N, 0, 2), draws.noise.new_zeros(N, 0))
    return RolloutResult(total / counted, log, past[-1].low_res_masks.detach(), given or empty)


def recall_of(past: list[FrameOutput], num_maskmem: int, num_frames: int) -> Recall:
    """What frame ``len(past)`` recalls of the frames before it, of which the first was prompted."""
    t = len(past)
    # Order of the video predictor: the conditioning frame, then from the oldest to the frame just before.
    back = [(0, past[0]), *((num_maskmem - d, past[t - d]) for d in range(min(num_maskmem - 1, t - 1), 0, -1))]
    spatial = tuple(
        SpatialMemory(out.memory, out.memory_position, t_pos)
        for t_pos, out in back
        if out.memory is not None and out.memory_position is not None
    )
    pointers = [PointerMemory(past[0].obj_ptr, float(t))]
    pointers += [PointerMemory(past[t - d].obj_ptr, float(d)) for d in range(1, min(t, 16))]
    return Recall(spatial, tuple(pointers), max(min(num_frames, 16) - 1, 1))


def _frame_loss(
    out: FrameOutput, truth: Tensor, valid: Tensor, present: Tensor, weights: LossRecipe
) -> tuple[Tensor, Tensor]:
    """Loss of one predicted frame, averaged over objects, and the true IoU (N,) of the kept mask."""
    logits = out.heads.low_res_multimasks.clamp(-32, 32)  # absent objects are at -1024
    M = logits.shape[1]
    pick = best_of(logits, truth, valid, weights.focal, weights.dice) if M > 1 else torch.zeros_like(out.heads.pick)
    row = torch.arange(len(pick), device=pick.device)
    chosen = logits[row, pick]
    there = present.to(logits.dtype)
    mask = weights.focal * focal_loss(chosen, truth, valid) + weights.dice * dice_loss(chosen, truth, valid)
    with torch.no_grad():
        real = true_iou(logits, truth[:, None].expand_as(logits), valid[:, None].expand_as(logits))
    iou = (out.heads.ious - real).abs().mean(dim=1)
    score = object_score_loss(out.object_score_logits, present)
    loss = ((mask + weights.iou * iou) * there + weights.object_score * score).mean()
    return loss, real[row, out.heads.pick]

"""One training step on clips: the first frame is prompted, the others are tracked with the memories of those before.

Sometimes a tracked frame is corrected with a click, and is then a conditioning frame too. It composes
``SAM2Base.track_step`` and lays out what is recalled as the video predictor does: the prompted frames, up to
``num_maskmem`` - 1 frames back, and the object pointers of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samphony.model.base import PointInputs, SAM2Base
from samphony.model.features import ImageFeatures
from samphony.model.memory import PointerMemory, Recall, SpatialMemory
from samphony.model.outputs import FrameOutput
from samphony.train.clips import ClipBatch
from samphony.train.image_rollout import RolloutResult, correction, mean_where
from samphony.train.losses import best_of, dice_loss, focal_loss, object_score_loss, true_iou
from samphony.train.photos import shrink
from samphony.train.prompts import Prompts, first_prompts
from samphony.train.recipe import ClipRecipe, LossRecipe, PromptRecipe


@dataclass(frozen=True)
class ClipDraws:
    """Random numbers of a clip step for N objects.

    noise: (2,N,h,w) in 0…1, for the first prompt and the correction. box, centre: (N,) bool. mask_prompt: masks are
    given on the first frame. correct: the frame that is corrected with a click, or None.
    """

    noise: Tensor
    box: Tensor
    centre: Tensor
    mask_prompt: bool
    correct: int | None

    @classmethod
    def of(cls, clips: ClipRecipe, prompts: PromptRecipe, seed: int, step: int, slots: range, cells: int) -> ClipDraws:
        """The draws of a step for the named slots."""
        shared = np.random.default_rng((seed, step, 3))
        mask_prompt = bool(shared.random() < clips.mask_prompt)
        correct = int(shared.integers(1, clips.frames)) if shared.random() < clips.correct else None
        streams = [np.random.default_rng((seed, step, slot, 3)) for slot in slots]
        noise = np.concatenate([r.random((2, clips.objects, cells, cells), dtype=np.float32) for r in streams], axis=1)
        box = np.concatenate([r.random(clips.objects) < prompts.box for r in streams])
        centre = np.concatenate([r.random(clips.objects) < prompts.centre for r in streams])
        return cls(torch.from_numpy(noise), torch.from_numpy(box), torch.from_numpy(centre), mask_prompt, correct)

    def to(self, device: torch.device) -> ClipDraws:
        """The same draws on a device."""
        noise, box, centre = (x.to(device, non_blocking=True) for x in (self.noise, self.box, self.centre))
        return replace(self, noise=noise, box=box, centre=centre)


def clip_rollout(
    model: SAM2Base,
    batch: ClipBatch,
    draws: ClipDraws,
    prompts: PromptRecipe,
    weights: LossRecipe,
    train_encoder: bool = False,
) -> RolloutResult:
    """Loss of K clips with N = K·O objects, averaged over objects and answers."""
    frames = encode_clip(model, batch, train_encoder)
    T, N = batch.masks.shape[:2]
    past: list[FrameOutput] = []
    conditioning = [0]
    losses: list[Tensor] = []
    log: dict[str, Tensor] = {}
    right: list[Tensor] = []
    given = Prompts(draws.noise.new_zeros(N, 0, 2), draws.noise.new_zeros(N, 0))
    for t in range(T):
        truth, valid = shrink(batch.masks[t], 4), shrink(batch.valid[t], 4)
        present = batch.masks[t].flatten(1).any(dim=1)
        recall = recall_of(past, conditioning, model.num_maskmem, T) if t else None
        remember = t + 1 < T
        if t == 0 and draws.mask_prompt:
            mask = batch.masks[0][:, None].float()
            past.append(model.track_step(frames[0], recall=None, mask_inputs=mask, run_memory_encoder=remember))
            continue  # a given mask is its own answer
        if t == 0:
            given = first_prompts(batch.masks[0], truth, draws.noise[0], draws.box, draws.centre, prompts.box_noise)
        out = model.track_step(
            frames[t],
            recall=recall,
            point_inputs=_points(given) if t == 0 else None,
            run_memory_encoder=remember and t != draws.correct,
        )
        loss, real = _frame_loss(out, truth, valid, present, weights)
        losses.append(loss)
        log[f"clip/iou{t}"] = mean_where(real, present)
        right.append(((out.object_score_logits[:, 0] > 0) == present).float().mean())
        if t == draws.correct:
            before = out.low_res_masks.detach().clamp(-32, 32)
            wrong = correction(before[:, 0], truth, valid, draws.noise[1], draws.centre)
            out = model.track_step(
                frames[t],
                recall=recall,
                point_inputs=_points(wrong),
                prev_low_res_logits=before,
                run_memory_encoder=remember,
            )
            loss, real = _frame_loss(out, truth, valid, present, weights)
            losses.append(loss)
            conditioning.append(t)
            log["clip/corrected"] = mean_where(real, present)
        past.append(out)
    total = torch.stack(losses).mean()
    log |= {"clip/object_score": torch.stack(right).mean(), "clip/loss": total.detach()}
    return RolloutResult(total, log, past[-1].low_res_masks.detach(), given)


def encode_clip(model: SAM2Base, batch: ClipBatch, train_encoder: bool) -> list[ImageFeatures]:
    """Features of every frame, those of a clip repeated for its objects: T times levels of batch N."""
    T, K = batch.images.shape[:2]
    objects = batch.masks.shape[1] // K
    with torch.set_grad_enabled(train_encoder and torch.is_grad_enabled()):
        encoded = model.image_encoder(batch.images.flatten(0, 1))
    decoder = model.sam_mask_decoder
    levels = [decoder.conv_s0(encoded.levels[0]), decoder.conv_s1(encoded.levels[1]), encoded.levels[2]]
    positions = [p[:1] for p in encoded.positions]
    return [
        ImageFeatures([x.unflatten(0, (T, K))[t].repeat_interleave(objects, dim=0) for x in levels], list(positions))
        for t in range(T)
    ]


def recall_of(past: Sequence[FrameOutput], conditioning: Sequence[int], num_maskmem: int, num_frames: int) -> Recall:
    """What frame ``len(past)`` recalls of the frames before it, of which ``conditioning`` were prompted.

    Order of the video predictor: conditioning frames as they were prompted, then from the oldest frame to the one
    just before; pointers of conditioning frames, then backwards.
    """
    t = len(past)
    tracked = [d for d in range(1, t + 1) if t - d not in conditioning]
    back = [(0, past[f]) for f in conditioning]
    back += [(num_maskmem - d, past[t - d]) for d in reversed(tracked) if d < num_maskmem]
    spatial = tuple(
        SpatialMemory(out.memory, out.memory_position, t_pos)
        for t_pos, out in back
        if out.memory is not None and out.memory_position is not None
    )
    pointers = [PointerMemory(past[f].obj_ptr, float(t - f)) for f in conditioning]
    pointers += [PointerMemory(past[t - d].obj_ptr, float(d)) for d in tracked if d < 16]
    return Recall(spatial, tuple(pointers), max(min(num_frames, 16) - 1, 1))


def _points(prompts: Prompts) -> PointInputs:
    return {"point_coords": prompts.coords, "point_labels": prompts.labels}


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

"""One training step on pictures: encode once, then play several rounds of prompts and sum the losses.

It composes the parts of SAM2Base: image encoder, prompt encoder, mask decoder. In every round the single mask (token 0)
and the best of the three others are supervised, since users ask for either at any number of clicks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samphony.model.base import SAM2Base
from samphony.train.losses import best_of, dice_loss, enlarge, focal_loss, object_score_loss, true_iou
from samphony.train.photos import PhotoBatch, shrink
from samphony.train.prompts import Prompts, click, first_prompts
from samphony.train.recipe import LossRecipe, PromptRecipe


@dataclass(frozen=True)
class RolloutResult:
    """The loss to go down, and what to log: plain numbers by name. logits: (N,1+M,4h,4w) of the last round."""

    loss: Tensor
    log: dict[str, Tensor]
    logits: Tensor
    prompts: Prompts


@dataclass(frozen=True)
class Draws:
    """Random numbers of one rollout: which rounds, which prompts. Slots of a batch draw from streams of their own."""

    noise: Tensor
    """(rounds,N,h,w) in 0…1."""
    box: Tensor
    """(N,) bool."""
    centre: Tensor
    """(rounds,N) bool."""
    keep_mask: tuple[bool, ...]
    """For each round, whether the previous logits are given."""

    @classmethod
    def of(cls, recipe: PromptRecipe, seed: int, step: int, slots: range, objects: int, cells: int) -> Draws:
        """The draws of a step for the named slots."""
        shared = np.random.default_rng((seed, step, 1))
        rounds = recipe.more_rounds if shared.random() < recipe.more else recipe.rounds
        keep = tuple(bool(k) for k in shared.random(rounds) < recipe.keep_mask)
        noise, box, centre = [], [], []
        for slot in slots:
            rng = np.random.default_rng((seed, step, slot, 1))
            noise.append(rng.random((rounds, objects, cells, cells), dtype=np.float32))
            box.append(rng.random(objects) < recipe.box)
            centre.append(rng.random((rounds, objects)) < recipe.centre)
        return cls(
            torch.from_numpy(np.concatenate(noise, axis=1)),
            torch.from_numpy(np.concatenate(box)),
            torch.from_numpy(np.concatenate(centre, axis=1)),
            keep,
        )

    def to(self, device: torch.device) -> Draws:
        """The same draws on a device."""
        noise, box, centre = (x.to(device, non_blocking=True) for x in (self.noise, self.box, self.centre))
        return Draws(noise, box, centre, self.keep_mask)


def image_rollout(
    model: SAM2Base, batch: PhotoBatch, draws: Draws, prompts: PromptRecipe, weights: LossRecipe
) -> RolloutResult:
    """Loss of one batch of P pictures with N = P·O objects, averaged over objects and rounds."""
    P, N = batch.images.shape[0], batch.masks.shape[0]
    features = model.forward_image(batch.images)
    embedding = model.no_memory_embedding(features).repeat_interleave(N // P, dim=0)
    high_res = [level.repeat_interleave(N // P, dim=0) for level in features.high_res]
    pe = model.sam_prompt_encoder.get_dense_pe()

    cell = 4 // weights.enlarge
    coarse, valid = shrink(batch.masks, 4), shrink(batch.valid, 4)  # (N,S/4,S/4)
    fine, fine_valid = (coarse, valid) if cell == 4 else (shrink(batch.masks, cell), shrink(batch.valid, cell))
    given = first_prompts(batch.masks, coarse, draws.noise[0], draws.box, draws.centre[0], prompts.box_noise)
    previous: Tensor | None = None
    total = embedding.new_zeros(())
    log: dict[str, Tensor] = {}
    rounds = len(draws.keep_mask)
    for r in range(rounds):
        sparse, dense = model.sam_prompt_encoder(
            points=(given.coords, given.labels),
            boxes=None,
            masks=previous if draws.keep_mask[r] else None,
        )
        logits, ious, _, score = model.sam_mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=pe,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=high_res,
        )
        logits, ious = logits.float(), ious.float()
        pick = 1 + best_of(logits[:, 1:].detach(), coarse, valid, weights.focal, weights.dice)
        pair = torch.stack((logits[:, 0], logits[torch.arange(N, device=pick.device), pick]), dim=1)
        large = enlarge(pair, fine.shape[-1])
        t, v = fine[:, None].expand_as(large), fine_valid[:, None].expand_as(large)
        focal, dice = focal_loss(large, t, v).mean(), dice_loss(large, t, v).mean()
        with torch.no_grad():
            real = true_iou(logits, coarse[:, None].expand_as(logits), valid[:, None].expand_as(logits))
        iou = (ious - real).abs().mean()
        there = object_score_loss(score.float(), torch.ones(N, dtype=torch.bool, device=score.device)).mean()
        total = total + (weights.focal * focal + weights.dice * dice + weights.iou * iou + weights.object_score * there)
        log |= {f"iou/round{r}": real[:, 0].mean(), f"best/round{r}": real[:, 1:].amax(dim=1).mean()}
        if r == 0:
            log |= {
                "iou/click": mean_where(real[:, 0], ~draws.box),
                "iou/box": mean_where(real[:, 0], draws.box),
                "loss/focal": focal.detach(),
                "loss/dice": dice.detach(),
                "loss/iou": iou.detach(),
            }
        if r + 1 < rounds:
            # A click is answered by the best of three, as the predictor shows it; later answers are the single mask.
            kept = torch.where((ious[:, 1:].amax(dim=1) > ious[:, 0]) & (r == 0), 1 + ious[:, 1:].argmax(dim=1), 0)
            previous = logits.detach()[torch.arange(N, device=pick.device), kept][:, None].clamp(-32, 32)
            given = given.add(correction(previous[:, 0], coarse, valid, draws.noise[r + 1], draws.centre[r + 1]))
    return RolloutResult(total / rounds, log | {"loss/total": total.detach() / rounds}, logits.detach(), given)


def correction(logits: Tensor, target: Tensor, valid: Tensor, noise: Tensor, centre: Tensor) -> Prompts:
    """A click in the error of each answer: logits, target, valid and noise (N,h,w), centre (N,)."""
    counts = valid > 0.5
    there, seen = target >= 0.5, logits > 0
    return click(there & ~seen & counts, seen & ~there & counts, noise, centre)


def mean_where(values: Tensor, of: Tensor) -> Tensor:
    """Mean of some values, not a number for none of them."""
    return torch.where(of, values, float("nan")).nanmean()  # a choice by index would wait for the device

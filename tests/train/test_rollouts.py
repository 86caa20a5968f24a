"""One step on pictures and on clips: all parts learn, and a few steps on one batch bring the loss down."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from samphony.model.base import SAM2Base
from samphony.model.outputs import FrameOutput
from samphony.train.cache import PictureCache
from samphony.train.clip_rollout import ClipDraws, clip_rollout, recall_of
from samphony.train.clips import ClipBatch, ClipSampler
from samphony.train.image_rollout import Draws, image_rollout
from samphony.train.photos import PhotoBatch, PhotoSampler
from samphony.train.recipe import ClipRecipe, LossRecipe, PromptRecipe, Recipe
from tests.train.conftest import SIZE, miniature

PROMPTS = PromptRecipe(rounds=2, more=0.0, keep_mask=1.0)


@pytest.fixture(scope="module")
def photos(cache: PictureCache) -> PhotoSampler:
    return PhotoSampler(cache, lambda p: True, Recipe().data)


@pytest.fixture
def batch(photos: PhotoSampler) -> PhotoBatch:
    return photos.batch(0, 0, 2, SIZE)


def _clips(cache: PictureCache, photos: PhotoSampler, clips: ClipRecipe) -> ClipBatch:
    return ClipSampler(cache, lambda p: True, photos, clips, photos.recipe).batch(0, 0, SIZE, range(clips.batch))


def _untouched(model: SAM2Base) -> set[str]:
    return {name for name, p in model.named_parameters() if p.grad is None}


def test_pictures_teach_encoder_prompts_and_decoder(batch: PhotoBatch) -> None:
    model = miniature().train()
    draws = Draws.of(PROMPTS, 0, 0, range(2), 3, SIZE // 4)
    result = image_rollout(model, batch, draws, PROMPTS, LossRecipe())
    result.loss.backward()
    assert bool(torch.isfinite(result.loss))
    assert result.logits.shape == (6, 4, 16, 16)
    assert result.prompts.coords.shape == (6, 3, 2)  # a box or a padded click, and a correction
    # The memory is not used, nor is the norm of the coarsest level, which the neck drops.
    idle = ("memory_", "maskmem_", "no_mem_pos", "no_obj", "obj_ptr", "mask_downsample", "image_encoder.neck.norms.3")
    assert all(name.startswith(idle) for name in _untouched(model))


def test_the_same_batch_becomes_easier(batch: PhotoBatch) -> None:
    model = miniature().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    draws = Draws.of(PROMPTS, 0, 0, range(2), 3, SIZE // 4)
    losses = []
    for _ in range(12):
        result = image_rollout(model, batch, draws, PROMPTS, LossRecipe())
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_clips_teach_the_memory(cache: PictureCache, photos: PhotoSampler, mask_prompt: bool) -> None:
    clips = ClipRecipe(frames=3, batch=2, objects=2, mask_prompt=float(mask_prompt))
    clip = _clips(cache, photos, clips)
    assert clip.images.shape == (3, 2, 3, SIZE, SIZE)
    assert clip.masks.shape == (3, 4, SIZE, SIZE)
    assert bool(clip.masks[0].flatten(1).any(dim=1).all()), "every object is there in the first frame"
    model = miniature().train()
    with torch.no_grad():  # an object score that is above 0, so that masks pass their gradients
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5.0)
    draws = ClipDraws.of(clips, PROMPTS, 0, 0, range(2), SIZE // 4)
    assert draws.mask_prompt == mask_prompt
    result = clip_rollout(model, clip, draws, PROMPTS, LossRecipe())
    result.loss.backward()
    assert bool(torch.isfinite(result.loss))
    untouched = _untouched(model)
    assert not any(name.startswith(("memory_", "maskmem_", "obj_ptr")) for name in untouched)
    assert all(name in untouched for name, _ in model.named_parameters() if name.startswith("image_encoder."))


def test_the_encoder_learns_from_clips_when_asked(cache: PictureCache, photos: PhotoSampler) -> None:
    clips = ClipRecipe(frames=2, batch=1, objects=2)
    model = miniature().train()
    draws = ClipDraws.of(clips, PROMPTS, 0, 0, range(1), SIZE // 4)
    clip_rollout(model, _clips(cache, photos, clips), draws, PROMPTS, LossRecipe(), train_encoder=True).loss.backward()
    assert not any(name.startswith("image_encoder.trunk") for name in _untouched(model))


def test_what_is_recalled_is_ordered_as_the_predictor_orders_it() -> None:
    def frame(t: int) -> FrameOutput:
        x = torch.full((1, 1), float(t))
        heads = None
        return FrameOutput(x, x, x, x, heads, x, x)  # type: ignore[arg-type]

    recall = recall_of([frame(t) for t in range(9)], [0], num_maskmem=7, num_frames=20)
    assert [(float(m.features), m.t_pos) for m in recall.spatial] == [
        (0, 0), (3, 1), (4, 2), (5, 3), (6, 4), (7, 5), (8, 6),
    ]  # fmt: skip
    assert [(float(p.pointer), p.offset) for p in recall.pointers] == [
        (0, 9), (8, 1), (7, 2), (6, 3), (5, 4), (4, 5), (3, 6), (2, 7), (1, 8),
    ]  # fmt: skip
    assert recall.max_offset == 15
    short = recall_of([frame(0)], [0], num_maskmem=7, num_frames=3)
    assert [m.t_pos for m in short.spatial] == [0]
    assert [p.offset for p in short.pointers] == [1.0]
    assert short.max_offset == 2
    corrected = recall_of([frame(t) for t in range(4)], [0, 2], num_maskmem=7, num_frames=5)
    assert [(float(m.features), m.t_pos) for m in corrected.spatial] == [(0, 0), (2, 0), (1, 4), (3, 6)]
    assert [(float(p.pointer), p.offset) for p in corrected.pointers] == [(0, 4), (2, 2), (3, 1), (1, 3)]


def test_a_tracked_frame_can_be_corrected(cache: PictureCache, photos: PhotoSampler) -> None:
    clips = ClipRecipe(frames=3, batch=1, objects=2, correct=1.0)
    model = miniature().train()
    draws = ClipDraws.of(clips, PROMPTS, 0, 0, range(1), SIZE // 4)
    assert draws.correct in (1, 2)
    result = clip_rollout(model, _clips(cache, photos, clips), draws, PROMPTS, LossRecipe())
    assert "clip/corrected" in result.log
    assert bool(torch.isfinite(result.loss))
    never = ClipDraws.of(replace(clips, correct=0.0), PROMPTS, 0, 0, range(1), SIZE // 4)
    assert never.correct is None


def test_draws_of_a_slot_do_not_depend_on_the_others() -> None:
    whole = Draws.of(PROMPTS, 0, 3, range(4), 2, 8)
    part = Draws.of(PROMPTS, 0, 3, range(2, 4), 2, 8)
    assert torch.equal(whole.noise[:, 4:], part.noise)
    assert torch.equal(whole.box[4:], part.box)
    assert whole.keep_mask == part.keep_mask
    more = Draws.of(replace(PROMPTS, more=1.0, more_rounds=5), 0, 3, range(1), 2, 8)
    assert len(more.keep_mask) == 5

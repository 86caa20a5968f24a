"""Masks from prompts: how many, which one, and with what beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from samphony.model.config import MaskDecoderConfig
from samphony.model.mask_decoder import MaskDecoder

CONFIG = MaskDecoderConfig(num_heads=2, mlp_dim=32, iou_head_hidden_dim=16)
C, CELLS = 16, 4


def build(config: MaskDecoderConfig = CONFIG, multimask_token: bool = True) -> MaskDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MaskDecoder(C, config, use_multimask_token_for_obj_ptr=multimask_token).eval()


def inputs(batch: int = 2, tokens: int = 3, images: int | None = None) -> dict[str, object]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    images = batch if images is None else images
    return {
        "image_embeddings": random(images, C, CELLS, CELLS),
        "image_pe": random(1, C, CELLS, CELLS),
        "sparse_prompt_embeddings": random(batch, tokens, C),
        "dense_prompt_embeddings": random(batch, C, CELLS, CELLS),
        "high_res_features": [random(1, C // 8, 16, 16), random(1, C // 4, 8, 8)],
        "repeat_image": False,
    }


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
def test_shapes(multimask: bool, count: int) -> None:
    masks, ious, tokens, score = build()(**inputs(), multimask_output=multimask)
    assert masks.shape == (2, count, 16, 16)
    assert ious.shape == (2, count)
    assert tokens.shape == (2, count, C)
    assert score.shape == (2, 1)
    assert bool(((ious > 0) & (ious < 1)).all())


def test_all_masks_are_the_single_one_and_the_three() -> None:
    decoder = build()
    masks, ious, tokens, score = decoder.predict_masks(**inputs())
    assert masks.shape == (2, 4, 16, 16)
    several = decoder(**inputs(), multimask_output=True)
    one = decoder(**inputs(), multimask_output=False)
    assert torch.equal(several[0], masks[:, 1:])
    assert torch.equal(one[0], masks[:, :1])
    assert torch.equal(one[1], ious[:, :1])
    assert torch.equal(several[2], tokens[:, 1:])
    assert torch.equal(one[2], tokens[:, :1])
    assert torch.equal(one[3], score)


def test_pointer_token_is_the_first_without_the_multimask_option() -> None:
    masks, _, tokens, _ = build(multimask_token=False)(**inputs(), multimask_output=True)
    assert masks.shape[1] == 3
    assert tokens.shape == (2, 1, C)


def test_one_image_repeated_under_the_prompts() -> None:
    decoder, given = build(), inputs(batch=3, images=1)
    repeated = {**given, "image_embeddings": given["image_embeddings"].expand(3, -1, -1, -1)}
    shared = decoder(**{**given, "repeat_image": True}, multimask_output=True)
    for a, b in zip(shared, decoder(**repeated, multimask_output=True), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_batch_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="image_embeddings has batch 1, the prompts have 3"):
        build()(**inputs(batch=3, images=1), multimask_output=True)


def test_a_dense_prompt_repeated_without_a_copy() -> None:
    decoder, given = build(), inputs(batch=3, images=1)
    given["repeat_image"] = True
    one = given["dense_prompt_embeddings"][:1]
    expanded = decoder(**{**given, "dense_prompt_embeddings": one.expand(3, -1, -1, -1)}, multimask_output=True)
    copied = decoder(**{**given, "dense_prompt_embeddings": one.repeat(3, 1, 1, 1)}, multimask_output=True)
    for a, b in zip(expanded, copied, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_tokens_that_only_fill_do_not_count() -> None:
    decoder, given = build(), inputs(tokens=3)
    filled = torch.cat((given["sparse_prompt_embeddings"], 9 * torch.randn(2, 4, C)), 1)
    mask = torch.tensor([[True] * 3 + [False] * 4] * 2)
    wanted = decoder(**given, multimask_output=True)
    got = decoder(**{**given, "sparse_prompt_embeddings": filled}, multimask_output=True, prompt_mask=mask)
    for a, b in zip(wanted, got, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_high_resolution_features_matter_and_can_be_left_out() -> None:
    decoder, given = build(), inputs()
    with_them = decoder(**given, multimask_output=True)[0]
    without = decoder(**{**given, "high_res_features": None}, multimask_output=True)[0]
    plain = build(replace(CONFIG, use_high_res_features=False))
    assert not hasattr(plain, "conv_s0")
    assert not torch.allclose(with_them, without)
    assert plain(**given, multimask_output=True)[0].shape == with_them.shape


def test_without_object_scores_everything_is_there() -> None:
    decoder = build(replace(CONFIG, pred_obj_scores=False))
    *_, score = decoder(**inputs(), multimask_output=True)
    assert torch.equal(score, torch.full((2, 1), 10.0))
    assert not hasattr(decoder, "obj_score_token")


def test_iou_without_sigmoid_is_unbounded() -> None:
    given = inputs()
    free = build(replace(CONFIG, iou_prediction_use_sigmoid=False))(**given, multimask_output=True)[1]
    bounded = build()(**given, multimask_output=True)[1]
    assert torch.allclose(free.sigmoid(), bounded, atol=1e-6)


# ------------------------------------------------------------------ the stability fallback

STABLE = replace(CONFIG, dynamic_multimask_via_stability=True)


def logits(inner: int, between: int) -> Tensor:
    """16 × 16 logits: so many far above 0, so many within ±0.05, the rest far below."""
    flat = torch.full((256,), -5.0)
    flat[:inner] = 5.0
    flat[inner : inner + between] = 0.0
    return flat.reshape(16, 16)


def test_stability_is_a_ratio_of_areas_and_1_for_an_empty_mask() -> None:
    decoder = build(STABLE)
    scores = decoder._get_stability_scores(torch.stack((logits(98, 2), logits(0, 0), logits(0, 10), logits(50, 0))))
    assert torch.allclose(scores, torch.tensor([0.98, 1.0, 0.0, 1.0]))


def test_the_margin_itself_is_outside() -> None:
    at_margin = torch.full((1, 4, 4), 0.05)
    assert float(build(STABLE)._get_stability_scores(at_margin)) == 0.0
    assert float(build(STABLE)._get_stability_scores(-at_margin)) == 1.0


@pytest.mark.parametrize(("inner", "between", "falls_back"), [(98, 2, False), (97, 3, True), (0, 0, False)])
def test_an_unstable_mask_gives_way_to_the_best_of_three(inner: int, between: int, falls_back: bool) -> None:
    masks = torch.stack((logits(inner, between), logits(1, 0), logits(2, 0), logits(3, 0)))[None]
    ious = torch.tensor([[0.9, 0.2, 0.6, 0.4]])
    mask, iou = build(STABLE)._dynamic_multimask_via_stability(masks, ious)
    pick = 2 if falls_back else 0
    assert torch.equal(mask, masks[:, pick : pick + 1])
    assert float(iou) == pytest.approx(float(ious[0, pick]))


def test_each_prompt_falls_back_for_itself() -> None:
    masks = torch.stack((torch.stack((logits(98, 0),) * 4), torch.stack((logits(9, 9), *(logits(7, 0),) * 3))))
    ious = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.9, 0.5, 0.6, 0.7]])
    _, picked = build(STABLE)._dynamic_multimask_via_stability(masks, ious)
    assert picked.flatten().tolist() == pytest.approx([0.1, 0.7])


def test_the_pointer_token_stays_the_first_when_another_mask_is_taken() -> None:
    decoder = build(replace(STABLE, dynamic_multimask_stability_thresh=1.1))  # never stable
    masks, ious, tokens, _ = decoder.predict_masks(**inputs())
    got = decoder(**inputs(), multimask_output=False)
    best = ious[:, 1:].argmax(1) + 1
    assert torch.equal(got[0][:, 0], masks[torch.arange(2), best])
    assert torch.equal(got[2], tokens[:, :1])


def test_no_fallback_in_training() -> None:
    decoder = build(replace(STABLE, dynamic_multimask_stability_thresh=1.1)).train()
    masks = decoder.predict_masks(**inputs())[0]
    assert torch.equal(decoder(**inputs(), multimask_output=False)[0], masks[:, :1])


def test_gradients_reach_every_parameter() -> None:
    decoder, given = build(), inputs()
    encoded = torch.randn(1, C, 16, 16), torch.randn(1, C, 8, 8)
    given["high_res_features"] = [decoder.conv_s0(encoded[0]), decoder.conv_s1(encoded[1])]
    masks, ious, tokens, score = decoder.predict_masks(**given)
    (masks.square().sum() + ious.sum() + tokens.square().sum() + score.sum()).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in decoder.parameters())

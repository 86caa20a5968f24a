"""Scripts that reach one level below the image door: official names, official meanings, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from samphony import SAM2ImagePredictor
from samphony.model.base import SAM2Base
from samphony.model.config import SAM2Config
from samphony.predict.build import build_sam2_video_predictor

POINT, LABEL = np.array([[40, 24]]), np.array([1])


@pytest.fixture
def predictor(
    fresh_tiny_model: Callable[[SAM2Config], SAM2Base], tiny_config: SAM2Config, photo: np.ndarray
) -> SAM2ImagePredictor:
    door = SAM2ImagePredictor(fresh_tiny_model(tiny_config))
    door.set_image(photo)
    return door


def decode(predictor: SAM2ImagePredictor, mask_input: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The fine-tuning scripts' way: prepare prompts, encode them, decode."""
    mask, coords, labels, boxes = predictor._prep_prompts(
        POINT, LABEL, box=None, mask_logits=mask_input, normalize_coords=True
    )
    assert boxes is None
    sparse, dense = predictor.model.sam_prompt_encoder(points=(coords, labels), boxes=None, masks=mask)
    masks, scores, _, _ = predictor.model.sam_mask_decoder(
        image_embeddings=predictor._features["image_embed"][-1].unsqueeze(0),
        image_pe=predictor.model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=coords.shape[0] > 1,
        high_res_features=[level[-1].unsqueeze(0) for level in predictor._features["high_res_feats"]],
    )
    return masks, scores


def test_the_decoder_by_hand_equals_predict(predictor: SAM2ImagePredictor) -> None:
    masks, scores = decode(predictor)
    _, ious, low = predictor.predict(POINT, LABEL)
    assert np.allclose(masks.detach()[0].numpy(), low, atol=1e-5)
    assert np.allclose(scores.detach()[0].numpy(), ious, atol=1e-6)
    full = predictor._transforms.postprocess_masks(masks, predictor._orig_hw[-1])
    assert full.shape == (1, 3, 48, 80)


def test_features_have_the_official_meaning(predictor: SAM2ImagePredictor, photo: np.ndarray) -> None:
    model, features = predictor.model, predictor._features
    assert set(features) == {"image_embed", "high_res_feats"}
    with torch.no_grad():
        encoded = model.image_encoder(predictor._transforms(photo)[None])
        fine = model.sam_mask_decoder.conv_s0(encoded["backbone_fpn"][0])
        middle = model.sam_mask_decoder.conv_s1(encoded["backbone_fpn"][1])
        embedding = encoded["vision_features"] + model.no_mem_embed.reshape(1, -1, 1, 1)
    assert torch.allclose(features["image_embed"], embedding, atol=1e-5)
    assert torch.allclose(features["high_res_feats"][0], fine, atol=1e-5)
    assert torch.allclose(features["high_res_feats"][1], middle, atol=1e-5)


def test_the_image_path_of_official_scripts(predictor: SAM2ImagePredictor, photo: np.ndarray) -> None:
    """forward_image, _prepare_backbone_features, no_mem_embed on the coarsest level, back to maps."""
    model = predictor.model
    with torch.no_grad():
        out = model.forward_image(predictor._transforms(photo)[None])
        _, levels, _, _ = model._prepare_backbone_features(out)
        if model.directly_add_no_mem_embed:
            levels[-1] = levels[-1] + model.no_mem_embed
        maps = [
            level.permute(1, 2, 0).view(1, -1, *size)
            for level, size in zip(levels[::-1], predictor._bb_feat_sizes[::-1], strict=True)
        ][::-1]
    assert torch.allclose(maps[-1], predictor._features["image_embed"], atol=1e-5)
    assert torch.allclose(maps[0], predictor._features["high_res_feats"][0], atol=1e-5)


def test_features_encoded_elsewhere_can_be_put_in(predictor: SAM2ImagePredictor) -> None:
    """Annotation services keep embeddings and restore them by hand."""
    wanted = predictor.predict(POINT, LABEL)
    kept = predictor._features["image_embed"].numpy(), [f.numpy() for f in predictor._features["high_res_feats"]]
    other = SAM2ImagePredictor(predictor.model)
    other._orig_hw = [(48, 80)]
    other._features = {"image_embed": torch.tensor(kept[0]), "high_res_feats": [torch.tensor(f) for f in kept[1]]}
    other._is_image_set = True
    for a, b in zip(other.predict(POINT, LABEL), wanted, strict=True):
        assert np.array_equal(a, b)


def test_gradients_flow_through_a_fine_tuning_script(predictor: SAM2ImagePredictor) -> None:
    """set_image without gradients, the prompt encoder and the decoder trained."""
    model = predictor.model
    model.sam_mask_decoder.train(True)
    model.sam_prompt_encoder.train(True)
    trained = [*model.sam_mask_decoder.parameters(), *model.sam_prompt_encoder.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    target = torch.zeros(1, 16, 16)
    target[:, 4:12, 4:12] = 1
    losses = []
    for _ in range(6):
        masks, scores = decode(predictor)
        probability = torch.sigmoid(masks[:, 0])
        loss = torch.nn.functional.binary_cross_entropy(probability, target)
        inter = (target * (probability > 0.5)).sum((1, 2))
        iou = inter / (target.sum((1, 2)) + (probability > 0.5).sum((1, 2)) - inter)
        loss = loss + 0.05 * (scores[:, 0] - iou).abs().mean()
        model.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.sam_prompt_encoder.point_embeddings[1].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.image_encoder.parameters())


def test_a_batch_of_photos_is_one_training_step(predictor: SAM2ImagePredictor, photo: np.ndarray) -> None:
    """One click a photo, all decoded in one call, as scripts for batches do; the finer levels are the last photo's."""
    model = predictor.model
    predictor.set_image_batch([photo, photo[:, ::-1].copy()])
    _, coords, labels, _ = predictor._prep_prompts(
        np.array([[[40, 24]], [[10, 8]]]), np.ones((2, 1)), box=None, mask_logits=None, normalize_coords=True
    )
    sparse, dense = model.sam_prompt_encoder(points=(coords, labels), boxes=None, masks=None)
    given = {
        "image_embeddings": predictor._features["image_embed"],
        "image_pe": model.sam_prompt_encoder.get_dense_pe(),
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
        "multimask_output": True,
        "repeat_image": False,
        "high_res_features": [level[-1].unsqueeze(0) for level in predictor._features["high_res_feats"]],
    }
    masks, scores, _, _ = model.sam_mask_decoder(**given)
    full = predictor._transforms.postprocess_masks(masks, predictor._orig_hw[-1])
    assert full.shape == (2, 3, 48, 80)
    (full.sigmoid().mean() + scores.mean()).backward()
    assert model.sam_mask_decoder.mask_tokens.weight.grad.abs().sum() > 0
    for i in range(2):
        one = {key: value[i : i + 1] if key.endswith("embeddings") else value for key, value in given.items()}
        assert torch.allclose(model.sam_mask_decoder(**one)[0], masks[i : i + 1], atol=1e-5)


def test_gradients_reach_the_photo_encoder_when_it_is_called_with_them(
    predictor: SAM2ImagePredictor, photo: np.ndarray
) -> None:
    model = predictor.model
    features = model.forward_image(predictor._transforms(photo)[None])
    predictor._features = {
        "image_embed": features["vision_features"] + model.no_mem_embed.reshape(1, -1, 1, 1),
        "high_res_feats": features["backbone_fpn"][:-1],
    }
    masks, _ = decode(predictor)
    masks.sum().backward()
    assert model.image_encoder.trunk.patch_embed.proj.weight.grad.abs().sum() > 0


def test_tensors_go_through_the_inner_call(predictor: SAM2ImagePredictor) -> None:
    coords = predictor._transforms.transform_coords(torch.tensor([[[40.0, 24.0]]]), True, (48, 80))
    boxes = predictor._transforms.transform_boxes(torch.tensor([[10.0, 10, 60, 40]]), True, (48, 80))
    labels = torch.tensor([[1]], dtype=torch.int32)
    masks, _, low = predictor._predict(coords, labels, boxes, None, multimask_output=True)
    wanted = predictor.predict(POINT, LABEL, box=[10, 10, 60, 40])
    assert masks.dtype == torch.bool
    assert np.array_equal(masks[0].numpy(), wanted[0])
    assert np.allclose(low[0], wanted[2])
    masks, _, _ = predictor._predict(None, None, boxes.reshape(-1, 4), None, return_logits=True)
    assert masks.dtype == torch.float32


def test_exporters_reach_the_parts_of_the_prompt_encoder(predictor: SAM2ImagePredictor) -> None:
    """Points embedded by hand, as ONNX wrappers do, give the encoder's own tokens."""
    encoder = predictor.model.sam_prompt_encoder
    coords, labels = torch.tensor([[[12.0, 30.0], [50.0, 8.0]]]), torch.tensor([[1, 0]])
    padded = torch.cat((coords + 0.5, torch.zeros(1, 1, 2)), 1) / predictor.model.image_size
    padded_labels = torch.cat((labels, -torch.ones(1, 1, dtype=torch.long)), 1)[..., None]
    tokens = encoder.pe_layer._pe_encoding(padded) * (padded_labels != -1)
    tokens = tokens + encoder.not_a_point_embed.weight * (padded_labels == -1)
    for i in range(encoder.num_point_embeddings):
        tokens = tokens + encoder.point_embeddings[i].weight * (padded_labels == i)
    sparse, _ = encoder(points=(coords, labels), boxes=None, masks=None)
    assert torch.allclose(tokens, sparse, atol=1e-5)
    mask = torch.randn(1, 1, *encoder.mask_input_size)
    assert encoder.mask_downscaling(mask).shape == (1, encoder.embed_dim, *encoder.image_embedding_size)
    assert encoder.no_mask_embed.weight.shape == (1, encoder.embed_dim)


def test_the_decoder_can_be_cut_open(predictor: SAM2ImagePredictor) -> None:
    decoder = predictor.model.sam_mask_decoder
    sparse, dense = predictor.model.sam_prompt_encoder(
        points=(torch.tensor([[[12.0, 30.0]]]), torch.tensor([[1]])), boxes=None, masks=None
    )
    with torch.no_grad():
        masks, ious, tokens, score = decoder.predict_masks(
            image_embeddings=predictor._features["image_embed"],
            image_pe=predictor.model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=predictor._features["high_res_feats"],
        )
    assert (masks.shape, ious.shape, tokens.shape, score.shape) == ((1, 4, 16, 16), (1, 4), (1, 4, 32), (1, 1))
    one, best = decoder._dynamic_multimask_via_stability(masks, ious)
    assert (one.shape, best.shape) == ((1, 1, 16, 16), (1, 1))
    assert predictor.model.num_feature_levels == 3
    assert predictor.model.hidden_dim == 32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_whole_door_under_autocast(predictor: SAM2ImagePredictor, photo: np.ndarray, dtype: torch.dtype) -> None:
    full = predictor.predict(POINT, LABEL)
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype):
        predictor.set_image(photo)
        masks, ious, low = predictor.predict(POINT, LABEL)
        predictor.predict(box=np.array([[1, 1, 20, 20], [5, 5, 30, 40]], np.int32), multimask_output=False)
    assert masks.dtype == ious.dtype == low.dtype == np.float32
    assert np.allclose(ious, full[1], atol=0.05)
    # Reduced-precision features serve full-precision prompts afterwards, and the other way round.
    predictor._features = {
        "image_embed": predictor._features["image_embed"].float(),
        "high_res_feats": [level.float() for level in predictor._features["high_res_feats"]],
    }
    assert np.isfinite(predictor.predict(POINT, LABEL)[2]).all()


def test_a_video_predictor_can_be_the_model_of_an_image_predictor(tiny_config: SAM2Config, photo: np.ndarray) -> None:
    """One set of weights for both, as live trackers do."""
    video = build_sam2_video_predictor(tiny_config, device="cpu", random_weights=True)
    door = SAM2ImagePredictor(video)  # type: ignore[arg-type]
    door.set_image(photo)
    assert door.predict(POINT, LABEL)[0].shape == (3, 48, 80)


def test_hooks_and_wrapped_parts_see_the_calls(predictor: SAM2ImagePredictor, photo: np.ndarray) -> None:
    seen: list[str] = []
    model = predictor.model
    model.image_encoder.register_forward_hook(lambda *_: seen.append("image"))
    model.sam_prompt_encoder.register_forward_pre_hook(lambda *_: seen.append("prompt"))
    model.sam_mask_decoder = Wrapped(model.sam_mask_decoder, seen)
    predictor.set_image(photo)
    predictor.predict(POINT, LABEL)
    assert seen == ["image", "prompt", "mask"]


class Wrapped(nn.Module):
    """A decoder inside another module."""

    def __init__(self, decoder: nn.Module, seen: list[str]) -> None:
        super().__init__()
        self.decoder, self.seen = decoder, seen
        self.conv_s0, self.conv_s1 = decoder.conv_s0, decoder.conv_s1

    def forward(self, **kwargs: Any) -> Any:
        self.seen.append("mask")
        return self.decoder(**kwargs)

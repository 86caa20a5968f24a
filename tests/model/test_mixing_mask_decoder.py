"""The nano's mask decoder: the official one over an embedding that was mixed with the prompt."""

from __future__ import annotations

import torch

from samphony.model.config import MaskDecoderConfig
from samphony.model.mask_decoder import MaskDecoder
from samphony.model.mixing_mask_decoder import MixingMaskDecoder

C, CELLS = 32, 6
CONFIG = MaskDecoderConfig(num_heads=2, mlp_dim=32, iou_head_hidden_dim=16, use_high_res_features=False)


def _decoders() -> tuple[MixingMaskDecoder, MaskDecoder]:
    torch.manual_seed(0)
    mixing = MixingMaskDecoder(C, MaskDecoderConfig(**{**vars(CONFIG), "mixing_blocks": 2})).eval()
    plain = MaskDecoder(C, CONFIG).eval()
    plain.load_state_dict({k: v for k, v in mixing.state_dict().items() if not k.startswith("mixing.")}, strict=True)
    return mixing, plain


def _inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "image_embeddings": torch.randn(2, C, CELLS, CELLS),
        "image_pe": torch.randn(1, C, CELLS, CELLS),
        "sparse_prompt_embeddings": torch.randn(2, 3, C),
        "dense_prompt_embeddings": torch.randn(2, C, CELLS, CELLS),
    }


def test_it_is_the_official_decoder_over_the_mixed_sum() -> None:
    mixing, plain = _decoders()
    given = _inputs()
    with torch.no_grad():
        got = mixing(**given, multimask_output=True, repeat_image=False)
        mixed = mixing.mixing(given["image_embeddings"] + given["dense_prompt_embeddings"])
        given |= {"image_embeddings": mixed, "dense_prompt_embeddings": torch.zeros_like(mixed)}
        want = plain(**given, multimask_output=True, repeat_image=False)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_dense_prompt_reaches_neighbouring_cells() -> None:
    mixing, _ = _decoders()
    image, dense = torch.zeros(1, C, CELLS, CELLS), torch.zeros(1, C, CELLS, CELLS)
    with torch.no_grad():
        before = mixing.join(image, dense)
        dense[:, :, 2, 2] = torch.randn(C)
        moved = (mixing.join(image, dense) - before).abs().amax(dim=1)[0]
    assert moved[2, 2] > 0
    assert moved[4, 3] > 0


def test_its_weights_learn() -> None:
    mixing, _ = _decoders()
    masks, *_ = mixing(**_inputs(), multimask_output=True, repeat_image=False)
    masks.square().mean().backward()
    for name, parameter in mixing.mixing.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name

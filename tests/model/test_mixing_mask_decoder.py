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


def _refining(blocks: tuple[int, int]) -> MixingMaskDecoder:
    torch.manual_seed(0)
    config = {**vars(CONFIG), "use_high_res_features": True, "mixing_blocks": 1, "refining_blocks": blocks}
    return MixingMaskDecoder(C, MaskDecoderConfig(**config)).eval()


def _fine() -> list[torch.Tensor]:
    torch.manual_seed(2)
    return [torch.randn(2, C // 8, 4 * CELLS, 4 * CELLS), torch.randn(2, C // 4, 2 * CELLS, 2 * CELLS)]


def test_refining_blocks_that_add_nothing_leave_the_official_upscaling() -> None:
    refining, plain = _refining((2, 1)), _refining((0, 0))
    plain.load_state_dict({k: v for k, v in refining.state_dict().items() if not k.startswith("refining.")})
    with torch.no_grad():
        for block in refining.refining.modules():
            if hasattr(block, "gamma"):
                block.gamma.zero_()
        got = refining(**_inputs(), multimask_output=True, repeat_image=False, high_res_features=_fine())
        want = plain(**_inputs(), multimask_output=True, repeat_image=False, high_res_features=_fine())
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_refining_lets_pixels_meet_their_neighbours() -> None:
    moved = {}
    for blocks in ((0, 0), (1, 0), (0, 1)):
        decoder, fine = _refining(blocks), _fine()
        with torch.no_grad():
            before = decoder(**_inputs(), multimask_output=False, repeat_image=False, high_res_features=fine)[0]
            fine[0][:, :, 10, 10] += 3.0
            after = decoder(**_inputs(), multimask_output=False, repeat_image=False, high_res_features=fine)[0]
        moved[blocks] = int(((after - before)[0, 0].abs() > 1e-6).sum())
    assert moved[0, 0] == moved[1, 0] == 1, "a finer level changes its own pixel alone"
    assert moved[0, 1] == 49, "the fine block reaches three pixels far"


def test_refining_learns() -> None:
    decoder = _refining((1, 1))
    masks, *_ = decoder(**_inputs(), multimask_output=True, repeat_image=False, high_res_features=_fine())
    masks.square().mean().backward()
    for name, parameter in decoder.refining.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name

"""Neck and image encoder, and the features they give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samphony.model import image_encoder
from samphony.model.base import SAM2Base
from samphony.model.features import ImageFeatures
from samphony.model.image_encoder import FpnNeck, ImageEncoder, takes_reductions
from samphony.model.position import sine_position_2d


class Pyramid(nn.Module):
    """A trunk of four constant levels."""

    channels = (2, 3, 4, 5)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        B = x.shape[0]
        return [torch.full((B, c, 16 >> i, 16 >> i), float(i + 1)) for i, c in enumerate(self.channels)]


def neck(**options: object) -> FpnNeck:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FpnNeck(8, [5, 4, 3, 2], **options)


def test_only_the_named_levels_receive_the_coarser_one() -> None:
    xs = Pyramid()(torch.zeros(1, 3, 64, 64))
    plain, _ = neck(fpn_top_down_levels=[])(xs)
    levels, positions = neck(fpn_top_down_levels=[2, 3])(xs)
    for i in (0, 1, 3):
        assert torch.equal(levels[i], plain[i])
    assert torch.allclose(levels[2], plain[2] + plain[3].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert all(
        torch.equal(p, sine_position_2d(*x.shape[-2:], 8, torch.device("cpu")))
        for p, x in zip(positions, levels, strict=True)
    )


def test_all_levels_receive_it_by_default() -> None:
    xs = Pyramid()(torch.zeros(1, 3, 64, 64))
    some, _ = neck(fpn_top_down_levels=[2, 3])(xs)
    all_of_them, _ = neck()(xs)
    assert not torch.allclose(some[0], all_of_them[0])


def test_layer_norm_is_last() -> None:
    xs = [torch.randn(1, c, 4, 4) for c in Pyramid.channels]
    levels, _ = neck(fpn_top_down_levels=[], layer_norm=True)(xs)
    assert torch.allclose(levels[0].mean(1), torch.zeros(1, 4, 4), atol=1e-5)


def test_scalp_drops_the_coarsest_level_and_positions_follow_the_batch() -> None:
    features = ImageEncoder(Pyramid(), neck(fpn_top_down_levels=[2, 3]), scalp=1)(torch.zeros(2, 3, 64, 64))
    assert [tuple(x.shape) for x in features.levels] == [(2, 8, 16, 16), (2, 8, 8, 8), (2, 8, 4, 4)]
    assert [p.shape for p in features.positions] == [x.shape for x in features.levels]


def test_levels_and_strides(tiny_model: SAM2Base) -> None:
    features = tiny_model.image_encoder(torch.randn(1, 3, 64, 64))
    assert [tuple(x.shape) for x in features.levels] == [(1, 32, 16, 16), (1, 32, 8, 8), (1, 32, 4, 4)]
    reduced = tiny_model.forward_image(torch.randn(2, 3, 64, 64))
    assert [tuple(x.shape) for x in reduced.levels] == [(2, 4, 16, 16), (2, 8, 8, 8), (2, 32, 4, 4)]


# ------------------------------------------------------------------ the official mapping


def example() -> ImageFeatures:
    return ImageFeatures([torch.zeros(1), torch.ones(1)], [torch.full((1,), 2.0), torch.full((1,), 3.0)])


def test_reads_as_the_official_mapping() -> None:
    features = example()
    assert set(features) == {"vision_features", "vision_pos_enc", "backbone_fpn"}
    assert len(features) == 3
    assert features["backbone_fpn"] is features.levels
    assert features["vision_pos_enc"] is features.positions
    assert features["vision_features"] is features.levels[-1]
    assert dict(features)["vision_features"] is features.embedding
    assert {**features}.keys() == set(features)


def test_writes_as_the_official_mapping() -> None:
    features = example()
    features["backbone_fpn"][0] = torch.full((1,), 9.0)
    assert float(features.levels[0]) == 9.0
    features["vision_features"] = torch.full((1,), 7.0)
    assert float(features.levels[-1]) == 7.0
    replaced = [torch.zeros(1)]
    features["backbone_fpn"] = replaced
    assert features.levels is replaced


def test_other_fields_are_refused() -> None:
    features = example()
    with pytest.raises(KeyError):
        features["fpn"]
    with pytest.raises(KeyError, match="not a field"):
        features["fpn"] = 1
    with pytest.raises(TypeError, match="replaced, not removed"):
        del features["backbone_fpn"]
    assert "fpn" not in features


def test_a_copy_has_lists_of_its_own() -> None:
    features = example()
    copy = features.copy()
    copy.levels[0] = torch.full((1,), 5.0)
    assert float(features.levels[0]) == 0.0
    assert copy.levels[1] is features.levels[1]


def test_select_keeps_the_batch_dimension() -> None:
    features = ImageFeatures([torch.arange(3.0)[:, None]], [torch.ones(1, 1)])
    assert features.select(2).levels[0].tolist() == [[2.0]]
    assert features.select(2).positions[0].shape == (1, 1)


REDUCED = {"official": ({}, 2), "top-down": ({"fpn_top_down_levels": None}, 0), "norms": ({"layer_norm": True}, 0)}


@pytest.mark.parametrize("kind", REDUCED)
def test_reductions_on_the_way_out_are_those_applied_afterwards(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, direct = REDUCED[kind]
    made = neck(**{"fpn_top_down_levels": [2, 3], **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        xs = [torch.randn(2, c, 16 >> i, 16 >> i) for i, c in enumerate(Pyramid.channels)]
        reductions = (nn.Conv2d(8, 1, 1), nn.Conv2d(8, 2, 1, bias=False))
    products: list[object] = []
    one_product = image_encoder._one_product
    monkeypatch.setattr(image_encoder, "_one_product", lambda *args: products.append(args) or one_product(*args))
    with torch.no_grad():
        levels, positions = made(xs)
        wanted = [reductions[0](levels[0]), reductions[1](levels[1]), *levels[2:]]
        got, same = made(xs, reductions)
    assert len(products) == direct
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(p, q) for p, q in zip(positions, same, strict=True))


def test_gradients_and_hooks_see_every_level() -> None:
    made, xs = neck(fpn_top_down_levels=[2, 3]), Pyramid()(torch.zeros(1, 3, 64, 64))
    reduction = nn.Conv2d(8, 1, 1)
    levels, _ = made(xs, (reduction,))
    levels[0].sum().backward()
    assert made.convs[3].conv.weight.grad is not None
    seen: list[torch.Size] = []
    made.convs[3].register_forward_hook(lambda module, given, out: seen.append(out.shape))
    with torch.no_grad():
        made(xs, (reduction,))
    assert seen == [torch.Size((1, 8, 16, 16))]


def test_an_encoder_that_is_watched_or_replaced_gives_whole_levels() -> None:
    encoder = ImageEncoder(Pyramid(), neck(fpn_top_down_levels=[2, 3]), scalp=1)
    assert takes_reductions(encoder)
    assert not takes_reductions(Pyramid())
    handle = encoder.register_forward_hook(lambda module, given, out: None)
    assert not takes_reductions(encoder)
    handle.remove()
    encoder.neck.forward = encoder.neck.forward  # as scripts replace it
    assert not takes_reductions(encoder)

"""The nano's trunk: shapes of the family, and ImageNet weights with their batch norms folded in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from samphony.model.config import EfficientNetLiteConfig
from samphony.model.efficientnet_lite import EfficientNetLite, fold_imagenet

# width, depth -> blocks, channels at strides 4, 8, 16, 32 (published family)
FAMILY = {
    (1.0, 1.0): (16, (24, 40, 112, 320)),
    (1.0, 1.1): (21, (24, 40, 112, 320)),
    (1.1, 1.2): (21, (24, 48, 120, 352)),
}


@pytest.mark.parametrize("size", FAMILY)
def test_features_have_the_strides_and_channels_of_the_family(size: tuple[float, float]) -> None:
    blocks, channels = FAMILY[size]
    with torch.device("meta"):
        trunk = EfficientNetLite(EfficientNetLiteConfig(*size))
        features = trunk(torch.empty(2, 3, 96, 64))
    assert len(trunk.blocks) == blocks
    assert trunk.channels == channels
    assert [tuple(f.shape) for f in features] == [
        (2, c, 96 // s, 64 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def _norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return F.batch_norm(
        x,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state[f"{name}.weight"],
        state[f"{name}.bias"],
        eps=1e-3,
    )


def _with_norms(trunk: EfficientNetLite, generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights under the public names, for the shape of ``trunk``."""
    state: dict[str, Tensor] = {}

    def layer(conv: str, norm: str, weight: Tensor) -> None:
        state[f"{conv}.weight"] = torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5
        for part, low in (("weight", 0.5), ("running_var", 0.5), ("bias", -0.5), ("running_mean", -0.5)):
            state[f"{norm}.{part}"] = low + torch.rand(weight.shape[0], generator=generator)

    layer("_conv_stem", "_bn0", trunk.stem.weight)
    for i, block in enumerate(trunk.blocks):
        if block.expand is not None:
            layer(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", block.expand.weight)
        layer(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", block.depthwise.weight)
        layer(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", block.project.weight)
    return state


def test_folded_weights_give_what_convolution_and_norm_gave() -> None:
    trunk = EfficientNetLite(EfficientNetLiteConfig(width=0.25)).eval()
    state = _with_norms(trunk, torch.Generator().manual_seed(0))
    trunk.load_state_dict(fold_imagenet(state), strict=True)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    y = F.relu6(_norm(F.conv2d(x, state["_conv_stem.weight"], stride=2, padding=1), state, "_bn0"))
    for i, block in enumerate(trunk.blocks):
        name, before = f"_blocks.{i}", y
        if block.expand is not None:
            y = F.relu6(_norm(F.conv2d(y, state[f"{name}._expand_conv.weight"]), state, f"{name}._bn0"))
        depthwise = state[f"{name}._depthwise_conv.weight"]
        conv = block.depthwise
        y = F.conv2d(y, depthwise, stride=conv.stride, padding=conv.padding, groups=conv.groups)
        y = F.conv2d(F.relu6(_norm(y, state, f"{name}._bn1")), state[f"{name}._project_conv.weight"])
        y = _norm(y, state, f"{name}._bn2")
        y = before + y if block.residual else y

    with torch.no_grad():
        deepest = trunk(x)[-1]
    torch.testing.assert_close(deepest, y, rtol=1e-4, atol=1e-4)

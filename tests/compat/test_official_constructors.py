"""Networks put together with official constructors: the same as ours, part by part and as a whole."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from tests.compat.official_parts import instantiate, small_config, small_model
from torch import nn
from torch.nn import functional as F

from samphony.compat import backbone, base, decoder, memory
from samphony.compat.position import PositionEmbeddingSine
from samphony.errors import ConfigError
from samphony.model import hiera, image_encoder
from samphony.model.base import SAM2Base
from samphony.model.build import build_model
from samphony.model.config import MODELS, HieraConfig
from samphony.predict.image import SAM2ImagePredictor


def test_a_whole_model_is_the_builders(installed: None, photo: np.ndarray) -> None:
    model = small_model(sam_mask_decoder_extra_args={"dynamic_multimask_via_stability": True})
    assert isinstance(model, SAM2Base)
    assert model.config.mask_decoder.dynamic_multimask_via_stability
    ours = build_model(model.config).eval()
    ours.memory_attention.layers = ours.memory_attention.layers[:1]  # type: ignore[index]
    ours.load_state_dict(model.state_dict(), strict=True)
    answers = []
    for network in (model, ours):
        door = SAM2ImagePredictor(network)
        door.set_image(photo)
        answers.append(door.predict(np.array([[40, 24]]), np.array([1]))[2])
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize("name", ["tiny", "2.0-large"])
def test_released_models_get_their_names_and_keys(
    installed: None, name: str, official_keys: dict[str, dict[str, tuple[int, ...]]]
) -> None:
    from samphony.compat.official_config import official_config
    from samphony.weights.registry import WEIGHTS

    with torch.device("meta"):
        model = instantiate(official_config(MODELS[name])["model"])
    assert model.config == MODELS[name]
    keys = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert keys == official_keys[WEIGHTS[name].official_name]


def test_defaults_are_the_official_ones(installed: None) -> None:
    config = small_config()
    model = base.SAM2Base(
        *(instantiate(config[f"{p}"]) for p in ("image_encoder", "memory_attention", "memory_encoder"))
    )
    assert model.image_size == 512
    assert not model.use_high_res_features_in_sam
    assert not model.directly_add_no_mem_embed
    assert model.no_obj_embed_spatial is None
    features = model.image_encoder(torch.zeros(1, 3, 64, 64))
    assert torch.equal(model.no_memory_embedding(features), features["vision_features"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"no_such_thing": 3}, "no_such_thing=3: there is no field"),
        ({"use_mlp_for_obj_ptr_proj": False}, "supports use_mlp_for_obj_ptr_proj=True only"),
        ({"image_size": 1000}, "image_size=1000"),
        ({"sam_mask_decoder_extra_args": {"depth": 3}}, "sam_mask_decoder_extra_args.depth=3"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(installed: None, flags: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        instantiate(small_config(**flags))


def test_ours_are_instances_of_theirs(tiny_model: SAM2Base) -> None:
    assert isinstance(tiny_model, base.SAM2Base)
    blocks = [m for m in tiny_model.modules() if isinstance(m, backbone.MultiScaleBlock)]
    assert len(blocks) == 5
    assert issubclass(hiera.Hiera, backbone.Hiera)
    assert not isinstance(blocks[0], backbone.Hiera)

    class Derived(backbone.MultiScaleBlock):
        pass

    assert not isinstance(blocks[0], Derived)
    assert isinstance(Derived(8, 8, 1), hiera.MultiScaleBlock)


class PlainTrunk(nn.Module):
    """A trunk of somebody else: pooled pictures."""

    channel_list = (3, 3, 3, 3)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.avg_pool2d(x, stride) for stride in (4, 8, 16, 32)]


@pytest.mark.parametrize(("mode", "fuse"), [("nearest", "sum"), ("bilinear", "sum"), ("nearest", "avg")])
def test_a_neck_over_a_foreign_trunk(mode: str, fuse: str) -> None:
    neck = backbone.FpnNeck(
        PositionEmbeddingSine(8), 8, [3, 3, 3, 3], fpn_interp_model=mode, fuse_type=fuse, fpn_top_down_levels=[2, 3]
    )
    features = image_encoder.ImageEncoder(trunk=PlainTrunk(), neck=neck, scalp=1)(torch.randn(1, 3, 64, 64))
    assert [tuple(f.shape[1:]) for f in features["backbone_fpn"]] == [(8, 16, 16), (8, 8, 8), (8, 4, 4)]
    assert [tuple(p.shape) for p in features["vision_pos_enc"]] == [(1, 8, 16, 16), (1, 8, 8, 8), (1, 8, 4, 4)]
    level, above = torch.ones(1, 8, 2, 2), torch.full((1, 8, 1, 1), 2.0)
    assert torch.equal(neck.fuse(level, above), torch.full((1, 8, 2, 2), 1.5 if fuse == "avg" else 3.0))


def test_bilinear_is_not_nearest() -> None:
    above = torch.tensor([[[[0.0, 4.0]]]])
    neck = backbone.FpnNeck(PositionEmbeddingSine(8), 8, [3])
    assert neck.fuse(torch.zeros(1, 1, 2, 4), above)[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_trunk_by_dimensions_and_its_layers() -> None:
    trunk = backbone.Hiera(
        embed_dim=8,
        stages=[1, 1, 2, 1],
        global_att_blocks=[2],
        window_pos_embed_bkg_spatial_size=[4, 4],
        window_spec=[8, 4, 4, 2],
    )
    config = HieraConfig(8, 1, (1, 1, 2, 1), (2,), (8, 4, 4, 2), (4, 4))
    assert trunk.config == config
    assert trunk.channel_list == [64, 32, 16, 8]
    assert trunk.get_num_layers() == 5
    names = ("pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.4.attn.qkv.bias", "norm.weight")
    assert [trunk.get_layer_id(name) for name in names] == [0, 0, 1, 5, 6]
    with pytest.raises(ConfigError, match=r"dim_mul=1\.5"):
        backbone.Hiera(dim_mul=1.5)


def test_blocks_with_activations_by_class() -> None:
    block = backbone.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), act_layer=nn.ReLU, window_size=4)
    assert block.eval()(torch.randn(1, 8, 8, 8)).shape == (1, 4, 4, 16)
    assert block.mlp.activation is F.relu
    assert backbone.MultiScaleAttention(8, 8, 2, q_pool=nn.MaxPool2d(2)).q_pool is True
    assert backbone.PatchEmbed((4, 4), (4, 4), (0, 0), 1, 8)(torch.zeros(1, 1, 16, 16)).shape == (1, 4, 4, 8)
    tokens = torch.arange(16.0).view(1, 4, 4, 1)
    assert backbone.do_pool(tokens, nn.MaxPool2d(2))[0, ..., 0].tolist() == [[5, 7], [13, 15]]
    assert backbone.do_pool(tokens, None) is tokens
    mlp = decoder.MLP(4, 8, 2, 3, activation=nn.SiLU, sigmoid_output=True)
    x = torch.randn(3, 4)
    want = torch.sigmoid(mlp.layers[2](F.silu(mlp.layers[1](F.silu(mlp.layers[0](x))))))
    assert torch.allclose(mlp(x), want)


def test_attention_with_keys_of_another_width() -> None:
    attention = decoder.Attention(16, 2, downsample_rate=2, kv_in_dim=6).eval()
    q, k = torch.randn(2, 3, 16), torch.randn(2, 40, 6)
    graph = attention(q, k, k)
    with torch.no_grad():  # the shorter way for few queries
        assert torch.allclose(attention(q, k, k), graph, atol=1e-6)


def test_a_decoder_around_a_given_transformer() -> None:
    transformer = decoder.TwoWayTransformer(depth=2, embedding_dim=16, num_heads=2, mlp_dim=32, activation=nn.GELU)
    assert all(layer.mlp.activation is F.gelu for layer in transformer.layers)  # type: ignore[union-attr]
    mask_decoder = decoder.MaskDecoder(transformer_dim=16, transformer=transformer, pred_obj_scores=True)
    assert isinstance(mask_decoder.pred_obj_score_head, nn.Linear)
    encoder = decoder.PromptEncoder(16, (4, 4), (64, 64), 4, activation=nn.ReLU)
    assert isinstance(encoder.mask_downscaling[2], nn.ReLU)
    sparse, dense = encoder(points=(torch.ones(2, 1, 2), torch.ones(2, 1)), boxes=None, masks=torch.ones(2, 1, 16, 16))
    masks, ious, tokens, score = mask_decoder(
        image_embeddings=torch.randn(1, 16, 4, 4),
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=True,
    )
    assert (masks.shape, ious.shape, tokens.shape, score.shape) == ((2, 3, 16, 16), (2, 3), (2, 1, 16), (2, 1))


def test_memory_parts_by_default_arguments() -> None:
    sampler = memory.MaskDownSampler(8)
    assert sampler(torch.zeros(1, 1, 64, 64)).shape == (1, 8, 4, 4)
    assert [layer.out_channels for layer in sampler.encoder if isinstance(layer, nn.Conv2d)] == [16, 256, 8]
    with pytest.raises(ConfigError, match="power of stride"):
        memory.MaskDownSampler(8, stride=3)
    block = memory.CXBlock(8, layer_scale_init_value=0.5)
    assert torch.equal(block.gamma, torch.full((8,), 0.5))
    fuser = memory.Fuser(block, 2)
    assert fuser.layers[0] is not fuser.layers[1]
    encoded = memory.MemoryEncoder(4, sampler, fuser, PositionEmbeddingSine(4), in_dim=8)(
        torch.zeros(1, 8, 4, 4), torch.zeros(1, 1, 64, 64)
    )
    assert encoded.features.shape == encoded.position.shape == (1, 4, 4, 4)


def test_stochastic_depth_without_scaling() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 1)
    assert set(decoder.DropPath(0.5, scale_by_keep=False)(x).flatten().tolist()) == {0.0, 1.0}
    assert set(decoder.DropPath(0.5)(x).flatten().tolist()) == {0.0, 2.0}


def test_every_official_module_is_importable(installed: None) -> None:
    module = importlib.import_module("sam2.modeling.sam2_base")
    assert module.SAM2Base is base.SAM2Base

"""Record what the official package gives for a shallow network: run in an environment that has sam2 1.1.0.

    python checks/record_network.py

writes ``tests/golden/data/network_{2.0,2.1}.npz``, which ``tests/golden/test_network.py`` compares with. The network is
the official tiny one with a narrow, short trunk, two layers of memory attention and pictures of 128 pixels; its weights
are those of ``tests/golden/weights.py``, so that all of it, the memory's parts too, is tested in seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sam2.build_sam import build_sam2

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.golden.network import ELLIPSES, POINTS, fake_memory, picture, thinned
from tests.golden.weights import fill

OVERRIDES = [
    "++model.image_size=128",
    "++model.image_encoder.trunk.embed_dim=16",
    "++model.image_encoder.trunk.stages=[1,2,2,1]",
    "++model.image_encoder.trunk.global_att_blocks=[4]",
    "++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]",
    "++model.memory_attention.num_layers=2",
    "++model.memory_attention.layer.dim_feedforward=128",
    "++model.binarize_mask_from_pts_for_mem_enc=true",
]
CONFIGS = {"2.0": "configs/sam2/sam2_hiera_t.yaml", "2.1": "configs/sam2.1/sam2.1_hiera_t.yaml"}


@torch.inference_mode()
def record(version: str) -> dict[str, np.ndarray]:
    """Every part's output, by the names that the test uses."""
    model = build_sam2(CONFIGS[version], device="cpu", hydra_overrides_extra=OVERRIDES)
    fill(model)
    got: dict[str, Any] = {}

    x = picture()
    got |= {f"trunk_{i}": t for i, t in enumerate(model.image_encoder.trunk(x))}
    encoded = model.image_encoder(x)
    got |= {f"level_{i}": t for i, t in enumerate(encoded["backbone_fpn"])}
    got |= {f"position_{i}": t for i, t in enumerate(encoded["vision_pos_enc"])}
    features = model.forward_image(x)
    _, levels, positions, sizes = model._prepare_backbone_features(features)
    fine = [features["backbone_fpn"][0], features["backbone_fpn"][1]]
    got |= {"fine_0": fine[0], "fine_1": fine[1]}

    embedding = features["backbone_fpn"][2] + model.no_mem_embed.reshape(1, -1, 1, 1)
    for name, (points, prior, multimask) in POINTS.items():
        batch = 1 if points is None else points["point_labels"].shape[0]
        heads = model._forward_sam_heads(
            backbone_features=embedding.expand(batch, -1, -1, -1),
            point_inputs=points,
            mask_inputs=prior,
            high_res_features=[level.expand(batch, -1, -1, -1) for level in fine],
            multimask_output=multimask,
        )
        keep(got, name, heads)
    for name, mask in ELLIPSES.items():
        heads = model._use_mask_as_output(features["backbone_fpn"][2], fine, mask)
        keep(got, name, heads)

    for name, score, from_points in (("clicked", 3.0, True), ("tracked", 3.0, False), ("absent", -3.0, False)):
        memory, position = model._encode_new_memory(
            current_vision_feats=levels,
            feat_sizes=sizes,
            pred_masks_high_res=ELLIPSES["mask"] * 6 - 4,
            object_score_logits=torch.full((1, 1), score),
            is_mask_from_pts=from_points,
        )
        got |= {f"memory_{name}": memory, "memory_position": position[-1]}

    frame, outputs = 9, {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    for t in (0, *range(2, frame)):
        kind = "cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"
        features_t, pointer = fake_memory(t)
        outputs[kind][t] = {
            "maskmem_features": features_t,
            "maskmem_pos_enc": [got["memory_position"]],
            "obj_ptr": pointer,
        }
    got["conditioned"] = model._prepare_memory_conditioned_features(
        frame_idx=frame,
        is_init_cond_frame=False,
        current_vision_feats=levels[-1:],
        current_vision_pos_embeds=positions[-1:],
        feat_sizes=sizes[-1:],
        output_dict=outputs,
        num_frames=20,
    )
    return {name: value.numpy().astype(np.float32) for name, value in got.items()}


def keep(got: dict[str, Any], name: str, heads: Any) -> None:
    """The seven outputs of the mask heads; the full-size masks are the small ones, enlarged."""
    low, high, ious, _, _, pointer, score = heads
    got |= {f"{name}_low": low, f"{name}_iou": ious, f"{name}_pointer": pointer, f"{name}_score": score}
    got[f"{name}_high"] = high[..., ::8, ::8]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for version in CONFIGS:
        target = Path(__file__).parents[1] / "tests" / "golden" / "data" / f"network_{version}.npz"
        arrays = record(version)
        np.savez_compressed(target, **{name: thinned(value) for name, value in arrays.items()})
        print(target.name, target.stat().st_size, len(arrays))

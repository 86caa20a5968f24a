"""Packages that compose and instantiate an official configuration, as LangSAM does; run by ``packages.py``."""

# ruff: noqa: E402 - samphony stands in for sam2 before anything imports it

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import samphony

samphony.install_as_sam2()

import sam2
from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"


def main() -> None:
    """Compose, instantiate, load, predict."""
    assert (Path(sam2.__file__).parent / CONFIG).is_file()
    config = compose(config_name=CONFIG, overrides=["++model.image_size=256"])
    OmegaConf.resolve(config)
    model = instantiate(config.model, _recursive_=True)
    model.load_state_dict(model.state_dict(), strict=True)
    door = SAM2ImagePredictor(model.eval())
    door.set_image(np.zeros((40, 60, 3), np.uint8))
    assert door.predict(np.array([[30, 20]]), np.array([1]))[0].shape == (3, 40, 60)
    print("  compose and instantiate: a model that predicts")
    GlobalHydra.instance().clear()
    initialize_config_module("sam2", version_base="1.2")
    assert compose("sam2_hiera_l.yaml").model.image_encoder.trunk.embed_dim == 144
    print("  initialize_config_module: finds the configurations")
    narrow = ("embed_dim=16", "stages=[1,2,2,1]", "global_att_blocks=[2]")
    trunk = [f"++model.image_encoder.trunk.{setting}" for setting in narrow]
    neck = ["++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]", "++model.memory_attention.num_layers=1"]
    with tempfile.TemporaryDirectory() as folder:
        OmegaConf.save(compose(CONFIG, overrides=[*trunk, *neck]), Path(folder) / "own.yaml")
        GlobalHydra.instance().clear()
        initialize_config_dir(folder, version_base="1.2")
        model = build_sam2("own.yaml", device="cpu", hydra_overrides_extra=["++model.image_size=256"])
    assert model.image_encoder.trunk.channel_list == [128, 64, 32, 16]
    assert model.image_size == 256
    assert model.sam_mask_decoder.dynamic_multimask_via_stability
    print("  build_sam2: a configuration of one's own")


if __name__ == "__main__":
    main()

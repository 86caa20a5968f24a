"""From a recipe to a run, through the command line: a folder of pictures and masks in, weights out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samphony.cli.main import main
from samphony.errors import CheckpointError, ConfigError
from samphony.model.config import EfficientNetLiteConfig
from samphony.train.initial import imagenet_file, initial_model, localise_memory
from samphony.train.loop import Team
from samphony.train.recipe import load_recipe
from samphony.train.start import _prepare_cache, start
from samphony.weights.load import load_state_dict
from tests.train.conftest import MINIATURE, drawn_records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    for record in drawn_records()[:8]:
        image, labels = record.load()
        name = record.name.replace("/", "-")
        Image.fromarray(image).save(data / "images" / f"{name}.png")
        Image.fromarray(labels).save(data / "masks" / f"{name}.png")
    (data / "images" / "bad.jpg").write_bytes(b"no picture")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(data / "masks" / "bad.png")
    return data


def test_the_command_trains_and_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samphony.train.initial.MODELS", {"nano": MINIATURE})
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'init = "random"\n[data]\ncache = "{tmp_path / "cache"}"\ncache_size = 64\nobjects = 2\nmin_pixels = 16\n'
        "[run]\nvalidate_every = 2\nvalidate_pictures = 3\ncheckpoint_every = 1\nlog_every = 1\npicture_every = 1\n"
        "[[stages]]\nsteps = 2\nsize = 64\nbatch = 2\n"
    )
    out = tmp_path / "run"
    call = ["train", str(recipe), "--data", str(folder), "--out", str(out)]
    for change in ([], ["--set", "stages=[{steps=3,size=64,batch=2}]"]):
        with pytest.raises(SystemExit) as left:
            main([*call, *change])
        assert left.value.code == 0, capsys.readouterr().err
    shown = re.sub(r"\s+", "", capsys.readouterr().out)
    assert "bad.jpg" in shown, "bad files are named"
    assert "3/3" in shown
    assert f"weights:{out / 'final.safetensors'}" in shown
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert [s for i, s in enumerate(steps) if s not in steps[:i]] == [1, 2, 3]
    assert json.loads((out / "recipe.json").read_text())["stages"][0]["steps"] == 3
    assert len(list((out / "pictures").glob("*.jpg"))) == 3
    assert "sam_mask_decoder.iou_token.weight" in load_state_dict(out / "final.safetensors")


def test_missing_weights_are_found_out_before_pictures_are_decoded(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    changes = [f'data.folder="{folder}"', "data.format=pairs", f'data.cache="{cache}"', 'init="nowhere.pt"']
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        start(load_recipe(None, changes), tmp_path / "run")
    assert not cache.exists()


def test_a_short_run_is_logged_and_says_when_nothing_is_held_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samphony.train.initial.MODELS", {"nano": MINIATURE})
    monkeypatch.setattr("samphony.datasets.split.draw", lambda names, aliases: [])
    changes = [f'data.folder="{folder}"', "data.format=pairs", f'data.cache="{tmp_path / "cache"}"', "init=random"]
    changes += ["data.cache_size=64", "data.min_pixels=16", "stages=[{steps=2,size=64,batch=2}]"]
    lines: list[str] = []
    done: list[int] = []
    start(load_recipe(None, changes), tmp_path / "run", lines.append).run(each=done.append)
    assert done == [1, 2]
    assert "no validation" in lines[-1]
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 2, "though log_every is 10"


def test_a_cache_of_another_data_set_or_size_is_refused(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    changes = [f'data.cache="{cache}"', "data.format=pairs", "data.cache_size=32"]
    first = load_recipe(None, [f'data.folder="{folder}"', *changes])
    assert _prepare_cache(first, Team(), lambda line: None).origin == str(folder)
    assert len(_prepare_cache(load_recipe(None, changes), Team(), pytest.fail)) == 8, "the cache alone is enough"
    with pytest.raises(ConfigError, match=rf"was made from {folder}, not from {tmp_path}: give another one"):
        _prepare_cache(load_recipe(None, [f'data.folder="{tmp_path}"', *changes]), Team(), pytest.fail)
    with pytest.raises(ConfigError, match="pictures of 32 pixels, not 64"):
        _prepare_cache(load_recipe(None, [*changes, "data.cache_size=64"]), Team(), pytest.fail)


def test_mistakes_in_a_recipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model 'giant' does not exist"):
        initial_model(load_recipe(None, ["model=giant"]))
    with pytest.raises(ConfigError, match="init = 'imagenet' is for the nano's trunk"):
        initial_model(load_recipe(None, ["model=tiny", "stages=[{size=64}]"]))
    with pytest.raises(ConfigError, match="no ImageNet weights"):
        imagenet_file(EfficientNetLiteConfig(width=0.3))


def test_adapters_are_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samphony.train.initial.MODELS", {"nano": MINIATURE})
    model = initial_model(load_recipe(None, ["init=random", "lora=2", "stages=[{size=64}]"]))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("parametrizations" in name for name in trained)


def test_memories_are_matched_by_content_before_the_first_step_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samphony.train.initial.MODELS", {"nano": MINIATURE})
    changes = [f'data.folder="{folder}"', "data.format=pairs", f'data.cache="{tmp_path / "cache"}"', "init=random"]
    changes += ["data.cache_size=64", "data.min_pixels=16", "run.validate_pictures=0", "clips.frames=2"]
    changes += ["clips.match_content=2", "stages=[{steps=1,size=64,batch=2,clips=1.0}]"]
    query = "memory_attention.layers.0.cross_attn_image.q_proj.weight"
    lines: list[str] = []
    trainer = start(load_recipe(None, changes), tmp_path / "run", lines.append)
    assert "what has moved" in lines[-1]
    plain = start(load_recipe(None, [*changes, "clips.match_content=0"]), tmp_path / "plain", lines.append)
    assert not torch.equal(trainer.model.state_dict()[query], plain.model.state_dict()[query])
    trainer.run()
    lines.clear()
    again = start(load_recipe(None, changes), tmp_path / "run", lines.append)
    assert not any("what has moved" in line for line in lines), "a run that goes on has learnt since"
    assert torch.equal(again.model.state_dict()[query], trainer.model.state_dict()[query])
    with pytest.raises(ConfigError, match="lora"):
        start(load_recipe(None, [*changes, "lora=2"]), tmp_path / "adapted", lines.append)


def test_a_run_starts_from_a_weights_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samphony.weights.save import save_weights
    from tests.train.conftest import miniature

    monkeypatch.setattr("samphony.train.initial.MODELS", {"nano": MINIATURE})
    first = miniature()
    file = save_weights(tmp_path / "w.safetensors", first, MINIATURE)
    model = initial_model(load_recipe(None, [f'init="{file}"', "run.seed=5", "stages=[{size=64}]"]))
    wanted = load_state_dict(file)
    assert all((value == wanted[name]).all() for name, value in model.state_dict().items())


def test_attention_to_memories_starts_local() -> None:
    from dataclasses import replace

    from samphony.model.build import build_model
    from samphony.model.config import NANO
    from samphony.model.position import axial_rotary_table, rotate

    model = build_model(replace(NANO, image_size=128, trunk=MINIATURE.trunk), seed=0)
    localise_memory(model)
    attention = model.memory_attention.layers[0].cross_attn_image
    random = torch.Generator().manual_seed(0)
    x, memory = torch.randn(64, 128, generator=random), torch.randn(16, 64, generator=random)
    with torch.no_grad():
        q = rotate(attention.q_proj(x), axial_rotary_table(8, 8, 128, 10000.0, x.device))
        k = rotate(attention.k_proj(memory), axial_rotary_table(4, 4, 128, 10000.0, x.device, 2))
        share = torch.softmax(q @ k.T / 128**0.5, dim=-1)
    own = torch.tensor([(y // 2) * 4 + x // 2 for y in range(8) for x in range(8)])
    assert bool((share.argmax(dim=-1) == own).float().mean() > 0.6)
    assert float(share.max(dim=-1).values.mean()) < 0.9, "neighbours are seen, since objects move"

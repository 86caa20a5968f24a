"""Training on a GPU: batches from other processes, bfloat16, and a killed run that goes on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from samphony.train.cache import PictureCache
from samphony.train.clips import ClipSampler
from samphony.train.loop import Trainer
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import Recipe
from tests.train.conftest import miniature

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def _trainer(cache: PictureCache, recipe: Recipe, folder: Path) -> Trainer:
    photos = PhotoSampler(cache, lambda p: True, recipe.data)
    clips = ClipSampler(cache, lambda p: True, photos, recipe.clips, recipe.data)
    model = miniature().cuda().to(memory_format=torch.channels_last)
    return Trainer(model, photos, recipe, folder, clips=clips)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_goes_on_after_a_kill(cache: PictureCache, recipe: Recipe, tmp_path: Path, precision: str) -> None:
    recipe = replace(recipe, data=replace(recipe.data, workers=2), run=replace(recipe.run, precision=precision))
    _trainer(cache, recipe, tmp_path).run(until=2)
    trainer = _trainer(cache, recipe, tmp_path)
    assert trainer.state.step == 2
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(math.isfinite(line["loss/total" if "loss/total" in line else "clip/loss"]) for line in lines)
    assert (tmp_path / "final.safetensors").exists()


def test_a_step_on_the_gpu_is_that_of_the_processor(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, data=replace(recipe.data, workers=0))
    gpu = _trainer(cache, recipe, tmp_path / "gpu")
    cpu = _trainer(cache, recipe, tmp_path / "cpu")
    cpu = Trainer(miniature(), cpu.batches.photos, recipe, tmp_path / "cpu", clips=cpu.batches.clips)
    for trainer in (gpu, cpu):
        trainer.run(until=2)
    logs = [[json.loads(x) for x in (tmp_path / d / "log.jsonl").read_text().splitlines()] for d in ("gpu", "cpu")]
    for a, b in zip(*logs, strict=True):
        key = "loss/total" if "loss/total" in a else "clip/loss"
        assert a[key] == pytest.approx(b[key], rel=2e-2)


def test_a_batch_that_overflows_teaches_nothing(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    trainer = _trainer(cache, replace(recipe, data=replace(recipe.data, workers=0)), tmp_path)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    for p in trainer.model.parameters():
        p.grad = torch.full_like(p, float("nan"))
    trainer._descend()
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())

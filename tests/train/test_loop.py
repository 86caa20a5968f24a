"""Runs: a killed one goes on to the same numbers, two processes take the step of one, checkpoints are whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from samphony.errors import CheckpointError
from samphony.model.base import SAM2Base
from samphony.train.cache import PictureCache
from samphony.train.clips import ClipSampler
from samphony.train.loop import Trainer, seed_dropout, set_image_size
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import DataRecipe, OptimRecipe, Recipe, RunRecipe, Stage
from samphony.train.team import Team
from samphony.weights.load import load_state_dict
from tests.train.conftest import MINIATURE, SIZE, miniature

ROOT = Path(__file__).parents[2]


def _trainer(cache: PictureCache, recipe: Recipe, folder: Path, seed_model: int = 0, drop: float = 0.1) -> Trainer:
    photos = PhotoSampler(cache, lambda p: True, recipe.data)
    clips = ClipSampler(cache, lambda p: True, photos, recipe.clips, recipe.data)
    model = miniature(replace(MINIATURE, trunk=replace(MINIATURE.trunk, drop_path_rate=drop)))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = drop
    if seed_model:
        with torch.no_grad():
            model.no_mem_embed.add_(seed_model)
    return Trainer(model, photos, recipe, folder, clips=clips)


def _weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_a_killed_run_goes_on_to_the_same_numbers(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    whole = _trainer(cache, recipe, tmp_path / "whole")
    torch.manual_seed(0)
    whole.run()
    without = _trainer(cache, recipe, tmp_path / "without", drop=0.0)
    without.run()
    assert not torch.equal(_weights(whole), _weights(without)), "dropout and drop path are at work"

    _trainer(cache, recipe, tmp_path / "killed").run(until=2)
    torch.manual_seed(99)  # another process has another random state
    resumed = _trainer(cache, recipe, tmp_path / "killed", seed_model=1)
    assert resumed.state.step == 2
    resumed.run()
    assert torch.equal(_weights(whole), _weights(resumed))
    for a, b in zip(whole.average.values, resumed.average.values, strict=True):
        assert torch.equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_steps_alternate_between_pictures_and_clips(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    trainer = _trainer(cache, recipe, tmp_path)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert ["clip/loss" in line for line in lines] == [False, True, False, True]


def test_a_half_written_checkpoint_is_never_found(
    cache: PictureCache, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(cache, recipe, tmp_path)
    trainer.run(until=1)
    before = trainer.last.read_bytes()

    def killed(content: object, stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(until=2)
    assert trainer.last.read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_refused(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    _trainer(cache, recipe, tmp_path).run(until=1)
    frozen = replace(recipe, optim=replace(recipe.optim, freeze=("image_encoder.",)))
    with pytest.raises(CheckpointError, match=r"last\.pt cannot be resumed"):
        _trainer(cache, frozen, tmp_path)
    (tmp_path / "last.pt").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        _trainer(cache, recipe, tmp_path)


def test_frozen_parameters_stay(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    frozen = replace(recipe, optim=replace(recipe.optim, freeze=("image_encoder.trunk.",)))
    trainer = _trainer(cache, frozen, tmp_path)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.run(until=1)
    changed = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert not any(n.startswith("image_encoder.trunk.") for n in changed)


def test_the_best_weights_are_the_averaged_ones_in_half_precision(
    cache: PictureCache, recipe: Recipe, tmp_path: Path
) -> None:
    scores = iter([0.5, 0.4])
    photos = PhotoSampler(cache, lambda p: True, recipe.data)
    seen: list[torch.Tensor] = []

    def validate(model: SAM2Base) -> dict[str, float]:
        seen.append(model.sam_mask_decoder.iou_token.weight.detach().clone())
        return {"score": next(scores)}

    recipe = replace(recipe, stages=(Stage(steps=2, size=SIZE, batch=2),), run=replace(recipe.run, validate_every=1))
    trainer = Trainer(miniature(), photos, recipe, tmp_path, validate)
    trainer.run()
    assert trainer.state.best == 0.5
    best = load_state_dict(tmp_path / "best.safetensors")
    name = "sam_mask_decoder.iou_token.weight"
    assert best[name].dtype == torch.float16
    torch.testing.assert_close(best[name].float(), seen[0], rtol=1e-3, atol=1e-4)
    assert not torch.equal(trainer.model.sam_mask_decoder.iou_token.weight.detach(), seen[1]), (
        "the average was put back"
    )


def test_input_sizes_can_grow(cache: PictureCache, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, stages=(Stage(steps=1, size=64, batch=2), Stage(steps=1, size=96, batch=2)))
    trainer = _trainer(cache, recipe, tmp_path)
    trainer.run()
    assert trainer.model.image_size == trainer.model.config.image_size == 96
    assert trainer.model.sam_prompt_encoder.mask_input_size == (24, 24)
    set_image_size(trainer.model, 64)
    assert trainer.model.sam_prompt_encoder.get_dense_pe().shape[-2:] == (4, 4)


def test_dropout_is_drawn_by_step_and_process() -> None:
    def drawn(*of: int) -> list[float]:
        seed_dropout(*of)
        return torch.rand(3).tolist()

    assert drawn(0, 5, 0) == drawn(0, 5, 0)
    assert len({tuple(drawn(*of)) for of in ((0, 5, 0), (1, 5, 0), (0, 6, 0), (0, 5, 1))}) == 4


def test_a_batch_that_cannot_be_shared_is_an_error() -> None:
    assert Team(1, 2).slots(4) == range(2, 4)
    with pytest.raises(ValueError, match="a batch of 3 cannot be shared by 2"):
        Team(0, 2).slots(3)


WORKER = """
import sys, torch, torch.distributed as dist
from dataclasses import replace
from pathlib import Path
from samphony.train.cache import open_cache
from samphony.train.loop import Trainer
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import *
from samphony.train.team import Team
from tests.train.conftest import SIZE, miniature
torch.set_num_threads(1)
dist.init_process_group("gloo")
recipe = Recipe(
    init="random", data=DataRecipe(cache_size=SIZE, objects=2, min_pixels=16),
    optim=OptimRecipe(warmup=1, lr=1e-3, trunk_lr=1e-3), stages=(Stage(steps=2, size=SIZE, batch=4),),
    run=RunRecipe(checkpoint_every=1, log_every=1, validate_every=1000),
)
photos = PhotoSampler(open_cache(Path(sys.argv[1])), lambda p: True, recipe.data)
model = miniature()
if Team.current().rank == 1:
    with torch.no_grad():
        model.sam_mask_decoder.iou_token.weight.add_(1.0)  # a start of its own, which must not count
Trainer(model, photos, recipe, Path(sys.argv[2])).run()
dist.destroy_process_group()
"""


def test_two_processes_take_the_steps_of_one(cache: PictureCache, cache_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    workers = []
    for rank in range(2):
        team = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-c", WORKER, str(cache_folder), str(tmp_path / "two")]
        workers.append(subprocess.Popen(command, env={**os.environ, **team, "OMP_NUM_THREADS": "1"}, cwd=ROOT))

    recipe = Recipe(
        init="random",
        data=DataRecipe(cache_size=SIZE, objects=2, min_pixels=16),
        optim=OptimRecipe(warmup=1, lr=1e-3, trunk_lr=1e-3),
        stages=(Stage(steps=2, size=SIZE, batch=4),),
        run=RunRecipe(checkpoint_every=1, log_every=1, validate_every=1000),
    )
    alone = Trainer(miniature(), PhotoSampler(cache, lambda p: True, recipe.data), recipe, tmp_path / "one")
    alone.run()
    assert all(worker.wait(timeout=300) == 0 for worker in workers)
    together = torch.load(tmp_path / "two" / "last.pt", weights_only=True)["model"]
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=2e-5, msg=name)
    losses = [
        [json.loads(line)["grad_norm"] for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3), "the gradient of the whole batch"

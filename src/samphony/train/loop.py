"""The training loop: steps, checkpoints, logs, validation; one process or several that share every batch.

Several processes (``torchrun``) split the slots of the same batch and average their gradients in one flat all-
reduce, so that two processes take the step that one would.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from samphony.model.base import SAM2Base
from samphony.train.batches import ClipStep, PhotoStep, StepBatches
from samphony.train.checkpoint import TrainState, averaged_weights, load_state, save_state
from samphony.train.clip_rollout import clip_rollout
from samphony.train.clips import ClipSampler
from samphony.train.image_rollout import RolloutResult, image_rollout
from samphony.train.logs import RunLog
from samphony.train.lora import merged
from samphony.train.optim import MovingAverage, build_optimizer, rate_factor, set_rate
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import Recipe, recipe_tree
from samphony.train.samples import save_samples
from samphony.train.team import Team

LAST = "last.pt"
"""The checkpoint of a run's folder."""
Validate = Callable[[SAM2Base], dict[str, float]]
"""Scores of a model by name; ``score`` decides which weights are the best."""


class Trainer:
    """One run in one folder.

    Args:
        model: to train, on its device.
        sampler: draws the pictures.
        clips: draws the clips, for recipes that have some.
        recipe: all numbers.
        folder: checkpoints (``last.pt``), logs and pictures; a ``last.pt`` found there is resumed.
        validate: called from time to time with the averaged weights in the model.
    """

    def __init__(
        self,
        model: SAM2Base,
        sampler: PhotoSampler,
        recipe: Recipe,
        folder: Path,
        validate: Validate | None = None,
        clips: ClipSampler | None = None,
    ) -> None:
        self.model, self.recipe, self.folder, self.validate = model, recipe, folder, validate
        self.team = Team.current()
        self.team.share(model)
        self.batches = StepBatches(recipe, sampler, clips, self.team)
        self.optimizer = build_optimizer(model, recipe.optim)
        self.average = MovingAverage(model, recipe.optim.ema)
        self.state = TrainState(step=0, seconds=0.0, pictures=0, best=-1.0)
        self.log = RunLog(folder if self.team.rank == 0 else None)
        folder.mkdir(parents=True, exist_ok=True)
        if self.last.exists():
            self.state = load_state(self.last, model, self.optimizer, self.average)

    @property
    def last(self) -> Path:
        """The checkpoint that a run resumes from."""
        return self.folder / LAST

    def run(self, until: int | None = None, each: Callable[[int], object] | None = None) -> None:
        """Train to the end of the recipe, or to step ``until``; ``each`` is told the number of steps done."""
        end = self.recipe.steps if until is None else min(until, self.recipe.steps)
        torch.set_flush_denormal(True)  # vanishing gradients would slow a processor down a hundredfold
        if self.model.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        batches = self.batches.ahead(range(self.state.step, end), self.model.device)
        while self.state.step < end:
            began = time.perf_counter()
            stage = self.recipe.stage_at(self.state.step)
            set_image_size(self.model, stage.size)
            self.model.train()
            batch = next(batches)
            waited = time.perf_counter() - began
            numbers = self.step(batch) | {"time/data": torch.tensor(waited)}
            self.state.step += 1
            self.state.pictures += stage.batch
            self.state.seconds += time.perf_counter() - began
            self._after(numbers, stage.size, end)
            if each is not None:
                each(self.state.step)
        if self.team.rank == 0 and self.state.step >= self.recipe.steps:
            self.export(self.folder / "final.safetensors")

    def step(self, batch: PhotoStep | ClipStep) -> dict[str, Tensor]:
        """One optimiser step; numbers for the log."""
        recipe, step = self.recipe, self.state.step
        set_rate(self.optimizer, rate_factor(step, recipe.steps, recipe.optim))
        began = time.perf_counter()
        seed_dropout(recipe.run.seed, step, self.team.rank)
        result = self._play(batch)
        forward = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        backward = time.perf_counter()
        norm = self._descend()
        done = time.perf_counter()
        return result.log | {
            "grad_norm": norm,
            "time/forward": torch.tensor(forward - began),
            "time/backward": torch.tensor(backward - forward),
            "time/update": torch.tensor(done - backward),
        }

    def _play(self, batch: PhotoStep | ClipStep) -> RolloutResult:
        """The rollout of a batch; in bfloat16 where the recipe says so and a GPU trains."""
        recipe, step, device = self.recipe, self.state.step, self.model.device
        half = recipe.run.precision == "bfloat16" and device.type == "cuda"  # few processors multiply bfloat16 fast
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            if isinstance(batch, ClipStep):
                clips, draws = batch.clips.finish(device), batch.draws.to(device)
                return clip_rollout(self.model, clips, draws, recipe.prompts, recipe.loss, recipe.clips.train_encoder)
            photos = batch.photos.finish(device)
            result = image_rollout(self.model, photos, batch.draws.to(device), recipe.prompts, recipe.loss)
        if self.team.rank == 0 and recipe.run.picture_every and step % recipe.run.picture_every == 0:
            save_samples(self.folder / "pictures" / f"{step:06d}.jpg", photos, result)
        return result

    def _descend(self) -> Tensor:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if self.team.size > 1:
            average_gradients(parameters, self.team.size)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optim.clip)
        # A batch that overflowed teaches nothing. The fused update asks on the device, so that nobody waits for it.
        if self.model.device.type == "cuda":
            self.optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        elif not math.isfinite(float(norm)):
            return norm
        self.optimizer.step()
        self.average.update(self.model, self.state.step)
        return norm

    def _after(self, numbers: dict[str, Tensor], size: int, end: int) -> None:
        run, step = self.recipe.run, self.state.step
        self.log.gather(numbers)
        if step % run.log_every == 0 or step == end:
            rate = self.optimizer.param_groups[-1]["lr"]
            speed = self.state.pictures / self.state.seconds
            extra = {"rate": rate, "pictures_per_second": speed, "hours": self.state.seconds / 3600, "size": size}
            self.log.numbers(step, self.log.gathered() | extra)
        if self.team.rank != 0:
            return
        if self.validate is not None and (step % run.validate_every == 0 or step == self.recipe.steps):
            self._validate()
        if step % run.checkpoint_every == 0 or step == end:
            self.save()

    def _validate(self) -> None:
        assert self.validate is not None
        self.average.exchange(self.model)
        self.model.eval()
        try:
            scores = self.validate(self.model)
        finally:
            self.average.exchange(self.model)
        hours = {"hours": self.state.seconds / 3600, "pictures": float(self.state.pictures)}
        self.log.numbers(self.state.step, {f"validation/{k}": v for k, v in scores.items()} | hours)
        if scores.get("score", 0.0) > self.state.best:
            self.state.best = scores["score"]
            self.export(self.folder / "best.safetensors", scores)

    def save(self) -> None:
        """Write ``last.pt`` and the recipe."""
        tree = recipe_tree(self.recipe)
        (self.folder / "recipe.json").write_text(json.dumps(tree, indent=1), encoding="utf-8")
        save_state(self.last, self.model, self.optimizer, self.average, self.state, tree)

    def export(self, file: Path, scores: dict[str, float] | None = None) -> None:
        """Write the averaged weights in half precision, as the package ships them."""
        from samphony.model.build import build_model
        from samphony.weights.save import save_weights

        model = build_model(self.model.config, seed=0)
        model.load_state_dict(merged(averaged_weights(self.model, self.average)))
        notes: dict[str, Any] = {"step": self.state.step, "hours": round(self.state.seconds / 3600, 3)}
        notes |= {k: round(v, 4) for k, v in (scores or {}).items()}
        save_weights(file, model, self.model.config, dtype=torch.float16, notes={k: str(v) for k, v in notes.items()})


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make dropout and drop path of a step functions of its number, on every device; processes draw differently.

    So a run that was killed, or goes on elsewhere, draws what it would have drawn.
    """
    (drawn,) = np.random.SeedSequence((seed, step, rank, 4)).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn))


def average_gradients(parameters: list[torch.nn.Parameter], size: int) -> None:
    """Mean of the gradients over all processes, as one flat message; a parameter without gradient counts as zero."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= size
    at = 0
    for p in parameters:
        assert p.grad is not None
        p.grad.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()


def set_image_size(model: SAM2Base, size: int) -> None:
    """Run a model at another input size: no parameter depends on it in a trunk of convolutions."""
    if model.image_size == size:
        return
    model.config = replace(model.config, image_size=size)
    model.image_size = size
    encoder: Any = model.sam_prompt_encoder
    cells = model.config.embedding_size
    encoder.image_embedding_size = (cells, cells)
    encoder.input_image_size = (size, size)
    encoder.mask_input_size = (4 * cells, 4 * cells)

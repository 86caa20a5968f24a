"""From a recipe to a run: data, cache, model, processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from samphony.datasets.readers import records_of
from samphony.datasets.sources import Record
from samphony.datasets.split import Split, read_split
from samphony.errors import ConfigError
from samphony.model.config import EfficientNetLiteConfig
from samphony.train.cache import CachedPicture, PictureCache, build_cache, open_cache
from samphony.train.clips import ClipSampler
from samphony.train.initial import initial_model
from samphony.train.loop import LAST, Trainer
from samphony.train.matching import match_content
from samphony.train.photos import PhotoSampler
from samphony.train.recipe import Recipe
from samphony.train.team import Team
from samphony.train.validation import quick_validation


def start(recipe: Recipe, folder: Path, report: Callable[[str], None] = print) -> Trainer:
    """Prepare a run: everything but the steps. Under ``torchrun`` the processes find each other first.

    Args:
        recipe: what to train.
        folder: where checkpoints and logs go; a run found there is resumed.
        report: receives a line for each bad file and each thousand pictures cached.
    """
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    team = Team.current()
    device = _device()
    model = initial_model(recipe).to(device)  # missing weights are found out before pictures are decoded
    cache = _prepare_cache(recipe, team, report)
    if device.type == "cuda" or isinstance(model.config.trunk, EfficientNetLiteConfig):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = recipe.optim.dropout

    split = _split_of(recipe, cache)

    def trained(picture: CachedPicture) -> bool:
        return not split.holds(picture.name, picture.clip)

    def held_out(picture: CachedPicture) -> bool:
        return split.holds(picture.name, picture.clip)

    photos = PhotoSampler(cache, trained, recipe.data)
    clips = None
    if any(stage.clips > 0 for stage in recipe.stages):
        clips = ClipSampler(cache, trained, photos, recipe.clips, recipe.data)
    if recipe.clips.match_content and not (folder / LAST).exists():
        report("the attention to memories learns to find what has moved")
        size, steps = recipe.stage_at(0).size, recipe.clips.match_content
        match_content(model, photos, size, recipe.run.seed, steps, report)
    validate = quick_validation(cache, held_out, recipe.run.validate_pictures) if recipe.run.validate_pictures else None
    if recipe.run.validate_pictures and validate is None:
        report("nothing is held out of so few pictures: no validation, and no best.safetensors, only final.safetensors")
    return Trainer(model, photos, recipe, folder, validate, clips)


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _prepare_cache(recipe: Recipe, team: Team, report: Callable[[str], None]) -> PictureCache:
    """Open the cache; the first process builds it when it is not there.

    Raises:
        ConfigError: it cannot be built, or it holds another data set or size than the recipe asks for.
    """
    folder = Path(recipe.data.cache)
    origin = str(Path(recipe.data.folder).resolve()) if recipe.data.folder else ""
    if not (folder / "index.json").exists() and team.rank == 0:
        if not recipe.data.folder:
            raise ConfigError(f"data.cache {folder} does not exist yet: data.folder must say where the pictures are")
        records: Sequence[Record] = records_of(Path(recipe.data.folder), recipe.data.format, report)
        if not records:
            raise ConfigError(f"data.folder {recipe.data.folder} has no pictures of format {recipe.data.format!r}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        build_cache(records, folder, recipe.data.cache_size, report, origin=origin)
    if team.size > 1:
        dist.barrier()
    cache = open_cache(folder)
    remedy = "give another one (--set data.cache=FOLDER) or delete it"
    if origin and cache.origin and cache.origin != origin:
        raise ConfigError(f"data.cache {folder} was made from {cache.origin}, not from {origin}: {remedy}")
    if cache.size != recipe.data.cache_size:
        raise ConfigError(
            f"data.cache {folder} has pictures of {cache.size} pixels, not {recipe.data.cache_size}: {remedy}"
        )
    return cache


def _split_of(recipe: Recipe, cache: PictureCache) -> Split:
    """The listed split for the nano's own data; any other data is split by a hash of the names."""
    if recipe.data.format == "zips":
        return read_split()
    from samphony.datasets.split import draw

    names = [p.name for p in cache.pictures if p.clip is None]
    clips = sorted({p.clip for p in cache.pictures if p.clip is not None})
    return Split(frozenset(draw(names, {})), frozenset(draw(clips, {})))

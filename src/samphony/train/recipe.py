"""A training recipe: a tree of frozen dataclasses, read from TOML, changed with ``key=value``.

Every number of a run is here; the run writes its recipe beside its checkpoints. A key that does not exist or has the
wrong type is a ConfigError that names it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from samphony.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


@dataclass(frozen=True)
class KindWeights:
    """Shares in which kinds of pictures are drawn; they need not sum to one."""

    instances: float = 0.42
    salient: float = 0.2
    regions: float = 0.16
    parts: float = 0.09
    odd: float = 0.06
    video: float = 0.07


@dataclass(frozen=True)
class DataRecipe:
    """Where the pictures are and how they are drawn."""

    folder: str = ""
    format: str = "zips"
    """``zips`` (photos and clips of labelled archives), ``coco``, ``davis``, ``sav`` or ``pairs``."""
    cache: str = "cache"
    cache_size: int = 384
    kinds: KindWeights = field(default_factory=KindWeights)
    source_power: float = 0.6
    """A source of n pictures weighs n to this power within its kind."""
    sources: Mapping[str, float] = field(default_factory=dict)
    """Further factors of single sources."""
    objects: int = 3
    """Objects of a picture that are prompted together."""
    crop: float = 0.6
    """Share of pictures that are cropped around one of their objects."""
    min_pixels: int = 40
    """Objects with fewer pixels at training size are not prompted."""
    paste: float = 0.0
    """Share of pictures into which objects cut out of others are pasted: clutter with exact masks."""
    workers: int | None = None
    """Processes that prepare batches ahead; unset: one fewer than there are cores for a GPU, none for a processor."""


@dataclass(frozen=True)
class PromptRecipe:
    """How a user is played."""

    box: float = 0.45
    """Share of first prompts that are boxes; the others are clicks."""
    rounds: int = 3
    more_rounds: int = 5
    more: float = 0.15
    """Share of steps with ``more_rounds`` rounds."""
    keep_mask: float = 0.8
    """Share of rounds that are given the previous logits."""
    centre: float = 0.5
    """Share of clicks at the centre of the error; the others are anywhere in it."""
    box_noise: float = 0.1
    """Corners move by at most this share of the box's sides."""


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the losses (SAM 2's)."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    object_score: float = 1.0
    enlarge: int = 1
    """Mask losses are taken at this many times a quarter of the input size."""


@dataclass(frozen=True)
class OptimRecipe:
    """AdamW with layer-wise decay in the trunk, warm-up, a plateau, a cosine to the end."""

    lr: float = 8e-4
    trunk_lr: float = 2e-4
    trunk_by_scale: bool = False
    """Scale the rate of each of the trunk's tensors by its root mean square over 0.05: folded batch norms leave them a
    hundredfold apart, and one rate scrambles the small ones before it moves the large ones. Rates are rounded to
    quarter octaves."""
    layer_decay: float = 0.9
    weight_decay: float = 0.05
    warmup: int = 100
    hold: float = 0.4
    """The rate stays up to this share of all steps, then falls along a cosine."""
    final: float = 0.02
    """Share of the rate that is left at the end."""
    clip: float = 1.0
    ema: float = 0.998
    dropout: float = 0.0
    """Of the memory attention (officially 0.1)."""
    drop_path: float = 0.0
    """Of the trunk's last block, less for those before (officially 0.1)."""
    freeze: tuple[str, ...] = ()
    """Parameters whose names start so are not trained."""


@dataclass(frozen=True)
class Stage:
    """Steps at one input size, that many pictures each."""

    steps: int = 1000
    size: int = 320
    batch: int = 8
    clips: float = 0.0
    """Share of steps that are clips instead of pictures."""


@dataclass(frozen=True)
class ClipRecipe:
    """How a clip is played."""

    frames: int = 4
    batch: int = 2
    objects: int = 2
    from_stills: float = 0.6
    """Share of clips made of a still picture."""
    mask_prompt: float = 0.5
    """Share of clips whose first frame is given as a mask; the others get a click or a box."""
    correct: float = 0.3
    """Share of steps in which a tracked frame is corrected with a click."""
    max_stride: int = 4
    pace: float = 1.0
    """Clips made of stills move up to this many times faster, or slower, than at 1."""
    match_content: int = 0
    """Steps before the first one in which the attention to memories learns to find what moved: train/matching.py."""
    train_encoder: bool = False
    """Whether clips train the image encoder too; pictures always do."""


@dataclass(frozen=True)
class RunRecipe:
    """What is kept and shown."""

    seed: int = 0
    checkpoint_every: int = 100
    log_every: int = 10
    validate_every: int = 400
    validate_pictures: int = 60
    picture_every: int = 400
    precision: str = "float32"
    """``float32``, or ``bfloat16`` (autocast, on GPUs)."""


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    model: str = "nano"
    init: str = "imagenet"
    """``imagenet`` (the nano's trunk), ``pretrained`` (the model's released weights), ``random``, or a weights file."""
    lora: int = 0
    """Rank of low-rank adapters on the attention projections; 0: none, all unfrozen parameters are trained."""
    data: DataRecipe = field(default_factory=DataRecipe)
    prompts: PromptRecipe = field(default_factory=PromptRecipe)
    clips: ClipRecipe = field(default_factory=ClipRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    stages: tuple[Stage, ...] = (Stage(),)
    run: RunRecipe = field(default_factory=RunRecipe)

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage that a step belongs to; the last one beyond the end."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]


def load_recipe(file: Path | None, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``key.key=value`` changes, whose values are TOML (a bare word is a string)."""
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"recipe {file} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"recipe {file} is not TOML: {error}") from error
    for change in changes:
        _apply(tree, change)
    return parse(Recipe, tree, "")


def recipe_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain dictionaries and lists, for writing it down."""
    return asdict(recipe)


def parse(kind: type[T], tree: object, where: str) -> T:
    """A dataclass from plain data; ``where`` names the place in errors."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where or 'the recipe'} must be a table, not {tree!r}")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    for key in tree:
        if key not in known:
            raise ConfigError(f"{_join(where, str(key))} does not exist; there are: {', '.join(sorted(known))}")
    return kind(**{key: _value(hints[key], value, _join(where, key)) for key, value in tree.items()})


def _value(kind: Any, value: object, where: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return parse(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(k for k in get_args(kind) if k is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, not {value!r}")
        item = get_args(kind)[0]
        return tuple(_value(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, not {value!r}")
        return {str(k): _value(get_args(kind)[1], v, _join(where, str(k))) for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where} must be {kind.__name__}, not {value!r}")
    return value


def _apply(tree: dict[str, Any], change: str) -> None:
    key, sign, text = change.partition("=")
    if not sign:
        raise ConfigError(f"--set {change!r} must have the form key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *path, last = key.strip().split(".")
    for name in path:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {change!r}: {name} is not a table")
    tree[last] = value


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key

"""The layers of the house, held by reading every import: arrows point downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import samphony

ROOT = Path(samphony.__file__).parent

_DATA = {"errors", "files", "assets"}
_MODEL = {"model", "errors"}
_PREDICT = {"predict", "weights", "media", "model"} | _DATA
_DOORS = {
    "train",
    "evaluate",
    "runtime",
    "datasets",
    "segmentation",
    "compat",
    "predict",
    "weights",
    "media",
    "model",
} | _DATA

ALLOWED: dict[str, set[str]] = {
    # from the ground up: part of samphony -> parts that it may import
    "errors": set(),
    "assets": set(),
    "files": set(),
    "model": _MODEL,
    "media": {"media"} | _DATA,
    "weights": {"weights", "model"} | _DATA,
    "predict": _PREDICT,
    "segmentation": _PREDICT,
    "datasets": {"datasets", "media"} | _DATA,
    "compat": {"compat"} | _PREDICT,
    # the doors under their official module names
    "build_sam": _PREDICT,
    "sam2_image_predictor": _PREDICT,
    "sam2_video_predictor": _PREDICT,
    "automatic_mask_generator": _PREDICT,
    "runtime": {"runtime"} | _PREDICT,
    "evaluate": {"evaluate", "runtime", "datasets"} | _PREDICT,
    "train": {"train", "evaluate", "runtime", "datasets"} | _PREDICT,
    "cli": {"cli", "__init__"} | _DOORS,
    "studio": {"studio", "__init__"} | _DOORS,
    "batch": {"batch", "__init__"} | _DOORS,
    "__init__": _DOORS,
}
"""``train`` may use ``evaluate``, which measures a run as it goes; never the other way round."""

FORBIDDEN: dict[str, set[str]] = {
    # packages that a part must not know
    "model": {"numpy", "PIL", "av", "scipy", "safetensors", "huggingface_hub", "pycocotools", "typer", "rich"},
    "media": {"torch", "safetensors", "huggingface_hub", "typer"},
    "weights": {"PIL", "av", "scipy", "typer"},
    "predict": {"typer", "rich"},
}
GLUE = {"compat/hydra_setup.py": ("hydra", "omegaconf")}
"""Where a script's environment has Hydra, it finds our configurations and builds its own."""
NEVER = {"torchvision", "hydra", "omegaconf", "iopath", "cv2", "sam2", "decord"}

FILES = sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    """``model/base.py`` belongs to ``model``, ``errors.py`` is a part of its own."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all imports in a file, also of those inside functions; for types only ones left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_parts(path: Path) -> Iterator[str]:
    """Parts of samphony that a file imports; ``from samphony import __version__`` is ``__init__``."""
    for name in imports(path):
        if name.split(".")[0] == "samphony":
            part = [*name.split("."), "__init__"][1]
            yield part if (ROOT / part).exists() or (ROOT / f"{part}.py").exists() else "__init__"


def test_every_part_has_a_place() -> None:
    assert {part_of(path) for path in FILES} <= set(ALLOWED)


@pytest.mark.parametrize("part", [part for part in ALLOWED if any(part_of(path) == part for path in FILES)])
def test_arrows_point_downwards(part: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in FILES
        if part_of(path) == part
        for other in own_parts(path)
        if other not in ALLOWED[part]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_parts_do_not_know_what_is_not_theirs(part: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if part_of(path) == part
        for name in imports(path)
        if name.split(".")[0] in FORBIDDEN[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_packages_that_samphony_does_without() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        for name in imports(path)
        if name.split(".")[0] in NEVER and name.split(".")[0] not in GLUE.get(path.relative_to(ROOT).as_posix(), ())
    ]
    assert not wrong, "\n".join(wrong)


def test_the_reader_of_imports_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "import os.path\nfrom a.b import c\ndef f():\n    import deep\n"
        "if TYPE_CHECKING:\n    import only_types\n    from x import y\n"
    )
    assert sorted(imports(path)) == ["a.b.c", "deep", "os.path"]

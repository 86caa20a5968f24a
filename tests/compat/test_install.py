"""install_as_sam2: official imports give samphony, in this process and beside an installed official package."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from samphony.compat.install import install_as_sam2
from samphony.compat.names import MODULES
from samphony.errors import StateError


def run_python(code: str, *paths: Path) -> str:
    """Output of a fresh interpreter with ``paths`` in front of sys.path."""
    setup = f"import sys; sys.path[:0] = {[str(p) for p in paths]!r}\n"
    done = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A folder that holds another package named sam2."""
    package = tmp_path / "site" / "sam2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WHO = 'official'\n")
    (package / "build_sam.py").write_text("build_sam2 = 'official'\n")
    return package.parent


def test_the_usual_imports_give_ours(installed: None) -> None:
    from sam2.build_sam import build_sam2
    from sam2.modeling.sam2_base import SAM2Base
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    import samphony.compat.build
    import samphony.model.base
    import samphony.predict.image

    assert build_sam2 is samphony.compat.build.build_sam2
    assert SAM2ImagePredictor is samphony.predict.image.SAM2ImagePredictor
    assert issubclass(SAM2Base, samphony.model.base.SAM2Base)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MODULES.items() for name in names])
def test_every_name_in_the_table_exists(installed: None, module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_parent_in_the_table_exists(module: str) -> None:
    assert module.rpartition(".")[0] in ("", *MODULES)


def test_submodules_are_reached_through_the_package(installed: None) -> None:
    import sam2

    assert sam2.modeling.sam2_base.SAM2Base.__module__ == "samphony.compat.base"
    assert "modeling" in dir(sam2)
    assert "build_sam2" in dir(sam2.build_sam)


def test_star_import_gives_the_names_of_the_module(installed: None) -> None:
    names: dict[str, object] = {}
    exec("from sam2.modeling.memory_encoder import *", names)
    assert {"CXBlock", "Fuser", "MaskDownSampler", "MemoryEncoder"} <= set(names)


def test_find_spec_finds_it(installed: None) -> None:
    assert importlib.util.find_spec("sam2") is not None
    import sam2

    assert Path(sam2.__file__).is_file()


def test_what_has_no_counterpart_is_an_import_error_that_says_so(installed: None) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no counterpart of sam2\._C"):
        importlib.import_module("sam2._C")
    with pytest.raises(ImportError, match="no_such_builder"):
        exec("from sam2.build_sam import no_such_builder")


def test_a_second_call_changes_nothing(installed: None) -> None:
    import sam2

    finders = list(sys.meta_path)
    install_as_sam2()
    assert sys.meta_path == finders
    assert sys.modules["sam2"] is sam2


def test_the_official_package_imported_before_is_refused(clean_imports: None, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("sam2")
    other.__file__ = "/somewhere/sam2/__init__.py"
    monkeypatch.setitem(sys.modules, "sam2", other)
    finders = list(sys.meta_path)
    with pytest.raises(StateError, match=r"/somewhere/sam2.*before the first import"):
        install_as_sam2()
    assert sys.meta_path == finders


def test_wins_over_an_installed_official_package(official: Path) -> None:
    assert run_python("from sam2 import WHO; print(WHO)", official) == "official"
    code = (
        "import samphony\nsamphony.install_as_sam2()\nimport sam2\nfrom sam2.build_sam import build_sam2\n"
        "print(hasattr(sam2, 'WHO'), build_sam2.__module__)"
    )
    assert run_python(code, official) == "False samphony.compat.build"


def test_refuses_when_the_installed_official_package_is_imported(official: Path) -> None:
    code = (
        "import sam2, samphony\ntry:\n    samphony.install_as_sam2()\nexcept RuntimeError as error:\n"
        "    print(type(error).__name__, sam2.WHO)"
    )
    assert run_python(code, official) == "StateError official"


def test_installing_imports_no_torch() -> None:
    code = "import sys\nfrom samphony.compat import install_as_sam2\ninstall_as_sam2()\nimport sam2.build_sam\n"
    assert run_python(code + "print('torch' in sys.modules)") == "False"


def test_the_table_of_hub_models_is_the_official_one(installed: None) -> None:
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    assert len(HF_MODEL_ID_TO_FILENAMES) == 8
    assert HF_MODEL_ID_TO_FILENAMES["facebook/sam2-hiera-base-plus"] == (
        "configs/sam2/sam2_hiera_b+.yaml",
        "sam2_hiera_base_plus.pt",
    )
    assert HF_MODEL_ID_TO_FILENAMES["facebook/sam2.1-hiera-tiny"] == (
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        "sam2.1_hiera_tiny.pt",
    )


def test_official_configuration_files_are_where_packages_look(installed: None) -> None:
    import sam2
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    place = Path(sam2.__file__).parent
    assert list(sam2.__path__) == [str(place)]
    for config, _weights in HF_MODEL_ID_TO_FILENAMES.values():
        text = (place / config).read_text()
        assert "_target_: sam2.modeling.sam2_base.SAM2Base\n" in text
    assert (importlib.resources.files("sam2") / "sam2_hiera_b+.yaml").is_file()

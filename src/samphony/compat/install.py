"""``install_as_sam2``: from then on ``import sam2`` gives samphony, as pymysql does for MySQLdb.

A finder in front of all others answers for ``sam2`` and what lies below it. The modules it makes hold nothing: a name
is looked up in the table of ``names.py`` when it is asked for, so that nothing is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.readers import FileReader
from types import ModuleType
from typing import Any

from samphony.compat.hydra_setup import CONFIGS, initialise_hydra
from samphony.compat.names import MODULES
from samphony.errors import StateError

ROOT = "sam2"


def install_as_sam2() -> None:
    """Make ``import sam2``, ``from sam2.build_sam import build_sam2`` and so on give samphony.

    Call it once, before anything imports ``sam2``; further calls change nothing. It also works where the official
    package is installed, which is then not used by this process.

    Raises:
        StateError: the official package is imported already, so that classes of both would mix.
    """
    if any(isinstance(finder, _Sam2Finder) for finder in sys.meta_path):
        return
    imported = sys.modules.get(ROOT)
    if imported is not None:
        place = getattr(imported, "__file__", None) or "an unknown place"
        raise StateError(
            f"the module sam2 is imported already, from {place}: call samphony.install_as_sam2() before the first "
            f"import of sam2 or of a package that imports it"
        )
    sys.meta_path.insert(0, _Sam2Finder())


class _Sam2Finder(MetaPathFinder):
    """Answers for ``sam2`` and its modules; everything else is left to the finders behind it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != ROOT and not fullname.startswith(ROOT + "."):
            return None
        if fullname not in MODULES:
            raise ModuleNotFoundError(
                f"samphony stands in for sam2 and has no counterpart of {fullname}", name=fullname
            )
        is_package = bool(_children(fullname))
        spec = ModuleSpec(fullname, _Sam2Loader(), origin=str(CONFIGS / "__init__.py"), is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [str(CONFIGS)]
        return spec


class _Sam2Loader(Loader):
    """Makes a module whose names are found when they are asked for."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__doc__ = f"samphony in the place of {name}."
        targets, children = MODULES[name], _children(name)

        def find(attribute: str) -> Any:
            if attribute in children:
                return import_module(f"{name}.{attribute}")
            if attribute not in targets:
                raise AttributeError(f"samphony stands in for {name} and has no counterpart of {name}.{attribute}")
            place, _, there = targets[attribute].partition(":")
            value = getattr(import_module(place), there or attribute)
            setattr(module, attribute, value)
            return value

        vars(module)["__getattr__"] = find
        vars(module)["__all__"] = sorted(targets)
        vars(module)["__dir__"] = lambda: sorted({*vars(module), *targets, *children})
        if name == ROOT:
            initialise_hydra()

    def get_resource_reader(self, fullname: str) -> FileReader:
        """For ``importlib.resources``, through which Hydra reads configurations."""
        return FileReader(SourceFileLoader(fullname, str(CONFIGS / "__init__.py")))


def _children(name: str) -> set[str]:
    """The modules directly below one."""
    return {m[len(name) + 1 :] for m in MODULES if m.startswith(name + ".") and "." not in m[len(name) + 1 :]}

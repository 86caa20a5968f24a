"""samphony standing in for sam2 during a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from samphony.compat.install import install_as_sam2


@pytest.fixture
def clean_imports() -> Iterator[None]:
    """Take away afterwards what the test has installed."""
    finders = list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
    for name in [n for n in sys.modules if n == "sam2" or n.startswith("sam2.")]:
        del sys.modules[name]


@pytest.fixture
def installed(clean_imports: None) -> None:
    """samphony stands in for sam2."""
    install_as_sam2()

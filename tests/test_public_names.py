from __future__ import annotations

import subprocess
import sys

import pytest

import samphony


@pytest.mark.parametrize("name", samphony.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(samphony, name) is not None
    assert name in dir(samphony)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = samphony.nonsense


def test_importing_samphony_imports_no_torch() -> None:
    code = "import sys, samphony; samphony.MODELS; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The official package in an environment of its own, made once beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-official"
TORCH = ("torch==2.14.1", "torchvision==0.29.1")
PACKAGE = "sam2==1.1.0"


def official_python() -> Path:
    """The interpreter of the official package's environment; installs it at the first call (several GB, minutes).

    ``OFFICIAL_PYTHON`` names an environment that has it already.
    """
    given = os.environ.get("OFFICIAL_PYTHON")
    if given:
        return Path(given)
    python = FOLDER / "bin" / "python"
    if not (FOLDER / ".done").exists():
        print(f"Installing the official package into {FOLDER} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *TORCH, "setuptools", "wheel"], check=True)
        subprocess.run([*pip, "--no-build-isolation", PACKAGE], check=True, env={**os.environ, "SAM2_BUILD_CUDA": "0"})
        (FOLDER / ".done").touch()
    return python

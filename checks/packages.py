"""Public packages that import sam2, run unchanged on samphony.

    make check-packages            or  python checks/packages.py [--venv FOLDER] [--quick]

Makes an environment of its own (``.venv-packages``; needs the network once), installs samphony and the packages at the
versions below, and runs each of the ``package_*.py`` files here in it, twice: without the official package, and with
sam2 1.1.0 installed beside ours. What is tried:

- samexporter 0.5.0: its encoder wrapper gives the image predictor's features; its decoder wrapper gives predict's
  logits, goes through torch.onnx's older exporter with samexporter's own arguments and through the newer one, and gives
  the same in onnxruntime for other numbers of points. Without ``--quick`` also its own command, which exports a whole
  tiny model at 1024 pixels (minutes).
- segment-geospatial 1.4.2: ``SamGeo2`` with points, boxes, many points, a batch of photos, and automatic masks. Its
  package imports SAM 1's at import time; an empty stand-in is given for that, and nothing of SAM 1 is tried.
- hydra-core: ``compose`` and ``instantiate`` of an official configuration, as LangSAM does; ``build_sam2`` with a
  configuration of one's own.

Weights are random, so the numbers are compared with our own door and never judged as segmentations. ``README.md`` lists
what was compared with the official package by hand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
LIBRARIES = (
    "onnx",
    "onnxruntime",
    "onnxscript",
    "hydra-core>=1.3",
    "opencv-python-headless",
    "geopandas",
    "rasterio",
    "pyproj",
    "shapely",
    "matplotlib",
    "tqdm",
)
PACKAGES = ("samexporter==0.5.0", "segment-geospatial==1.4.2")
OFFICIAL = "sam2==1.1.0"
CHECKS = ("package_samexporter.py", "package_segment_geospatial.py", "package_hydra.py")


def main() -> int:
    """Set up and run; the exit status is the number of checks that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-packages")
    parser.add_argument("--quick", action="store_true", help="leave out the export of a whole model")
    options = parser.parse_args()
    python = options.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(options.venv, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = [*pip, "install", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, "-e", str(ROOT), *LIBRARIES], check=True)
    subprocess.run([*install, "--no-deps", *PACKAGES], check=True)
    failed = 0
    for beside in (False, True):
        change = [*install, "--no-deps", OFFICIAL] if beside else [*pip, "uninstall", "-y", "sam2"]
        subprocess.run(change, check=True)
        print(f"\n{'With' if beside else 'Without'} {OFFICIAL} installed beside samphony", flush=True)
        for check in CHECKS:
            failed += not _run(python, check, options.quick or beside)
    print(f"\n{'all passed' if not failed else f'{failed} failed'}")
    return failed


def _run(python: Path, check: str, quick: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SAMPHONY_CACHE": folder, "CHECK_FOLDER": folder, "CHECK_QUICK": str(int(quick))}
        done = subprocess.run([str(python), str(HERE / check)], env=environment, check=False)
    print(f"{'PASS' if done.returncode == 0 else 'FAIL'} {check}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())

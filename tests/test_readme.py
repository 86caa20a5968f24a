"""The README's Python runs as written, its links lead somewhere and its commands exist.

The blocks run in order in one process, in a folder that holds the sample photo as ``photo.jpg``. A block that needs
something else (a download, a video of one's own) stands below a line ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from samphony.assets import SAMPLE_PHOTO

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    pattern = rf"(?P<skipped><!-- not run: [^\n]+ -->\n+)?^```{language}\n(?P<code>.*?)^```"
    found = re.finditer(pattern, TEXT, flags=re.MULTILINE | re.DOTALL)
    return [match["code"] for match in found if not match["skipped"]]


def test_python_blocks_run(tmp_path: Path) -> None:
    shutil.copy(SAMPLE_PHOTO, tmp_path / "photo.jpg")
    code = "\n".join(blocks("python")) + "\nassert result.masks.any()\nassert records\n"  # they run, and find something
    # In a process of its own: install_as_sam2 would stay behind in this one.
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", TEXT) + re.findall(r'src="(?!https?://)([^"]+)"', TEXT)
    missing = [target for target in targets if not (README.parent / target).exists()]
    assert not missing


def test_commands_exist() -> None:
    from samphony.cli.main import VERBS

    called = re.findall(r"^(?:\$ )?samphony ([a-z]+)", "\n".join(blocks("bash") + blocks("sh")), flags=re.MULTILINE)
    assert set(called) <= set(VERBS)

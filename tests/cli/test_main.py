from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from samphony.cli import main as cli
from samphony.errors import CheckpointError, MediaError, PromptError


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """Lets the verb ``demo`` raise what is put into the dict."""
    told: dict[str, BaseException] = {}

    def demo() -> None:
        raise told["error"]

    module = types.ModuleType("samphony.cli.demo")
    module.demo = demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "samphony.cli.demo", module)
    monkeypatch.setattr(cli, "_known_verbs", lambda: ["demo"])
    return told


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    for verb in ("segment", "models", "download", "demo"):
        assert f"\n  {verb} " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("samphony 0.")


def test_every_listed_command_can_be_imported_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in cli._known_verbs():
        assert run(verb, "--help") == 0
        assert f"samphony {verb}" in capsys.readouterr().out


def test_help_needs_neither_torch_nor_typer() -> None:
    code = (
        "import sys\nfrom samphony.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'typer', 'numpy'} & set(sys.modules)))"
    )
    before = os.times()
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
    after = os.times()
    # Processor time, since tests run beside others: 0.05 s on an idle machine, where 0.3 s is the promise.
    assert after.children_user - before.children_user + after.children_system - before.children_system < 0.3


def test_segment_helps_without_torch() -> None:
    code = (
        "import sys\nfrom samphony.cli.main import main\n"
        "try: main(['segment', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segmant",), "there is no command 'segmant'; did you mean 'segment'?"),
        (("xyzzy",), "samphony --help lists the commands"),
        (("segment",), "(see samphony segment --help)"),
        (("segment", "a.jpg", "--pint", "3,4"), "--pint"),
    ],
)
def test_wrong_calls_leave_with_2(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PromptError("box is\nwrong"), 2, "error: box is wrong\n"),
        (MediaError("no photo"), 1, "error: no photo\n"),
        (CheckpointError("no weights"), 1, "error: no weights\n"),
        (KeyError("bug"), 1, "error: KeyError: 'bug' (unexpected; --traceback shows where)\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_errors_are_one_line(
    failing: dict[str, BaseException],
    error: BaseException,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing["error"] = error
    assert run("demo") == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("by_flag", [True, False])
def test_traceback_on_request(
    failing: dict[str, BaseException],
    by_flag: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing["error"] = MediaError("no photo")
    if not by_flag:
        monkeypatch.setenv("SAMPHONY_DEBUG", "1")
    assert run("demo", *(["--traceback"] if by_flag else [])) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: no photo\n")

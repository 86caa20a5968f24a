"""``samphony``: one command, a verb for each use. A verb's module is imported only when the verb is called.

A verb ``v`` lives in ``samphony/cli/v.py`` as a function ``v`` with typer's annotations, or, when it has verbs of its
own, as a ``typer.Typer`` named ``app``. This module needs neither typer nor torch, so that ``samphony --help`` answers
at once.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

from samphony import __version__
from samphony.errors import ConfigError, PromptError, SamphonyError

VERBS = {
    "segment": "Segment objects in a photo from clicks and boxes.",
    "everything": "Find every object in a photo or a folder of photos.",
    "track": "Track objects through a video.",
    "demo": "Segment and track in the samples that ship with samphony.",
    "models": "List the models, their sizes, and what is on this machine.",
    "download": "Fetch the weights of a model.",
    "evaluate": "Measure a model on data with known masks.",
    "train": "Train or fine-tune a model by a recipe.",
}
_TRACEBACK = "--traceback"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with 0, 2 for a wrong call or prompt, 1 for anything else that went wrong."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    debug = _TRACEBACK in given or os.environ.get("SAMPHONY_DEBUG", "") not in ("", "0")
    # Accepted anywhere on the line: people add it to the end of a call that has just failed.
    sys.exit(_run([argument for argument in given if argument != _TRACEBACK], debug))


def _run(arguments: list[str], debug: bool) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"samphony {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in _known_verbs():
        close = difflib.get_close_matches(verb, _known_verbs(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "samphony --help lists the commands"
        return _failed(f"there is no command {verb!r}; {hint}", 2)
    try:
        outcome = _command(verb).main(rest, prog_name=f"samphony {verb}", standalone_mode=False)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        return _failed(*_explain(error, verb))
    if outcome == 130:  # what typer makes of Ctrl-C
        return _failed("interrupted", 130)
    return outcome if isinstance(outcome, int) else 0


def _known_verbs() -> list[str]:
    return [verb for verb in VERBS if importlib.util.find_spec(f"samphony.cli.{verb}")]


def _command(verb: str) -> Any:
    """The command of a verb, as typer makes it."""
    import typer

    module = importlib.import_module(f"samphony.cli.{verb}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(verb, help=getattr(module, verb).__doc__ or VERBS[verb])(getattr(module, verb))
    return typer.main.get_command(app)


def _explain(error: Exception, verb: str) -> tuple[str, int]:
    """One line for people, and the exit code."""
    if isinstance(error, SamphonyError):
        return str(error), 2 if isinstance(error, (PromptError, ConfigError)) else 1
    if hasattr(error, "format_message"):  # a wrong call, told by click, or by the copy of it inside newer typers
        return f"{error.format_message()} (see samphony {verb} --help)", 2
    if type(error).__name__ == "Abort":  # Ctrl-C, turned by click into an error of its own
        return "interrupted", 130
    return f"{type(error).__name__}: {error} (unexpected; {_TRACEBACK} shows where)", 1


def _failed(message: str, code: int) -> int:
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}error:{plain} {' '.join(message.split())}", file=sys.stderr)
    return code


def _help() -> str:
    verbs = _known_verbs()
    width = max(map(len, verbs))
    return "\n".join(
        [
            f"samphony {__version__}: segment anything in photos and videos, with SAM 2.",
            "",
            "Usage: samphony COMMAND [OPTIONS]      samphony COMMAND --help",
            "",
            "Commands:",
            *(f"  {verb:<{width}}  {VERBS[verb]}" for verb in verbs),
            "",
            "Options:",
            "  --version    Show the version.",
            f"  {_TRACEBACK}  Show the whole traceback of an error (also: SAMPHONY_DEBUG=1).",
            "  --help       Show this.",
            "",
            "Start with: samphony demo",
        ]
    )


if __name__ == "__main__":
    main()

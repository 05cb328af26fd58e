"""The command ``osnet``: gathers the command groups and turns errors into one line and an exit code.

Exit codes: 0; 1 when a check failed; 2 when used wrongly or input was refused; 130 after Ctrl-C.
"""

import contextlib
import logging
import os
import sys
import traceback
import warnings
from typing import Annotated, NoReturn, Optional

import click
import typer

from osnet._version import __version__
from osnet.cli import checkpoints, demo, embed, evaluate, hub, models, train
from osnet.errors import OsnetError

app = typer.Typer(
    name="osnet",
    help="OSNet person re-identification: card, verified file, weights, features, ranks.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (models, checkpoints, embed, evaluate, hub, train, demo):
    group.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        Optional[bool], typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """OSNet person re-identification: card, verified file, weights, features, ranks."""


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _quieten(debug)
    try:
        code = app(arguments or ["--help"], prog_name="osnet", standalone_mode=False) or 0
        sys.stdout.flush()
        if code == 130:  # newer typer catches Ctrl-C itself
            _leave("osnet: interrupted", 130)
    except (KeyboardInterrupt, click.Abort):
        _leave("osnet: interrupted", 130)
    except BrokenPipeError:  # `osnet list | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except click.ClickException as error:
        _leave(f"osnet: {error.format_message()} (osnet --help lists what there is)", 2)
    except (OsnetError, OSError) as error:
        if debug:
            traceback.print_exc()
        _leave(f"osnet: {_one_line(error)}", 2)
    sys.exit(code)


def _one_line(error: Exception) -> str:
    if isinstance(error, OsnetError) or not isinstance(error, OSError) or not error.filename:
        return " ".join(str(error).split())
    return f"{error.filename}: {error.strerror}"


def _leave(message: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError, AttributeError, ValueError):  # stderr may be closed
        print(message, file=sys.stderr)
        sys.stderr.flush()
    sys.exit(code)


def _quieten(debug: bool) -> None:
    """One line a warning, and none of other people's."""
    if debug:
        logging.basicConfig(level=logging.INFO)
        return
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"osnet(\.|$)")
    warnings.showwarning = lambda message, *_, **__: print(f"osnet: warning: {message}", file=sys.stderr)

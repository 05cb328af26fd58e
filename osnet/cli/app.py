"""The command ``osnet``: gathers the command groups and turns errors into one line and an exit code.

Exit codes: 0; 1 when a check failed; 2 when used wrongly, input was refused or the result could not be printed; 130
after Ctrl-C; 141 when the reader of the output left (``osnet list | head -1``), as a shell says it.
"""

import contextlib
import io
import logging
import os
import re
import sys
import traceback
import warnings
from typing import Annotated, NoReturn, Optional, TextIO

import click
import typer

from osnet import progress
from osnet._version import __version__
from osnet.cli import bench, checkpoints, cluster, demo, embed, evaluate, export, gallery, hub, models, serve, train
from osnet.cli.options import NOBODY_READS, say
from osnet.errors import OsnetError
from osnet.escaping import printable

app = typer.Typer(
    name="osnet",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (models, checkpoints, embed, export, bench, evaluate, cluster, gallery, hub, train, demo, serve):
    group.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        Optional[bool], typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Person re-identification with OSNet: embed, evaluate, train and export. `osnet list` shows the models."""


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _steady_streams()
    _quieten(debug)
    progress.lines_by_default = True
    try:
        code = app(arguments or ["--help"], prog_name="osnet", standalone_mode=False) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
        if code in (130, NOBODY_READS):  # newer typer catches Ctrl-C itself
            _leave("interrupted" if code == 130 else None, code)
    except (KeyboardInterrupt, click.Abort):
        _leave("interrupted", 130)
    except BrokenPipeError:
        _leave(None, NOBODY_READS)
    except click.ClickException as error:
        _leave(f"{error.format_message()} (osnet --help lists what there is)", 2)
    except (OsnetError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "start new thread" not in str(error):
            raise
        if debug:
            for line in traceback.format_exc().splitlines():
                say(line, err=True)
        _leave(_message(error), 2)
    sys.exit(code)


def _message(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, OsnetError):
        reason = error.strerror or text
        text = f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, (str, bytes)) else reason
    return re.sub(r"\s*[\r\n]\s*", " ", text.strip())


def _leave(message: Optional[str], code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # stderr may lead nowhere too
        if message is not None:
            say(f"osnet: {message}", err=True)
    _finish(sys.stdout)
    _finish(sys.stderr)
    sys.exit(code)


def _finish(stream: Optional[TextIO]) -> None:
    """Write what is left, or drop it: else Python tries again at the very end and complains."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _steady_streams() -> None:
    """Make standard streams that are closed, or cannot hold every character, no reason to fail."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file that is opened gets what libraries print
        pass
    os.close(spare)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(super().formatMessage(record))


def _quieten(debug: bool) -> None:
    """One line a warning, and none of other people's."""
    warnings.showwarning = lambda message, *_, **__: say(f"osnet: warning: {message}", err=True)
    if debug:
        handler = logging.StreamHandler()
        handler.setFormatter(_OneLine(logging.BASIC_FORMAT))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        return
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"osnet(\.|$)")

"""Options that several commands share, and how results are printed."""

import errno
import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.escaping import printable, text_of_name
from osnet.progress import write_line

_A_MODEL = "osnet, an alias (osnet_market1501), a hub uid, a card (.md) or weights (.ckpt .pth ...)."
Model = Annotated[str, typer.Option("--model", "-m", help=_A_MODEL)]
ModelArgument = Annotated[str, typer.Argument(help=_A_MODEL)]
Device = Annotated[str, typer.Option(help="auto (cpu), or cuda:0, tensorrt:0, ascend:0, ... by backend.")]
Input = Annotated[Optional[str], typer.Option(help="For an exported file from elsewhere: normalized, unit or bytes.")]
Backend = Annotated[str, typer.Option(help="auto (openvino), openvino, onnxruntime or mindspore.")]
Precision = Annotated[str, typer.Option(help="auto (fp32), fp32, bf16, or fast: bf16 where the processor has it.")]
Flip = Annotated[bool, typer.Option("--flip", help="Average with the mirror image; takes twice as long.")]
Size = Annotated[
    Optional[str],
    typer.Option(
        "--size",
        metavar="HxW",
        help="Height and width that images are resized to; default: what the checkpoint was trained at.",
    ),
]
Calibration = Annotated[
    Optional[Path],
    typer.Option("--calibration", metavar="FILE", help="Take the threshold from osnet eval --calibrate FILE."),
]
Fpr = Annotated[
    Optional[float], typer.Option(help="False positive rate whose threshold --calibration gives; default: 0.001.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
CacheDir = Annotated[Optional[Path], typer.Option("--cache-dir", help="Folder of the cache (OSNET_CACHE).")]

_FETCH_OPTIONS = {
    "cache_dir": CacheDir,
    "offline": Annotated[Optional[bool], typer.Option("--offline", help="Never use the network (OSNET_OFFLINE).")],
    "mirrors": Annotated[
        Optional[list[str]],
        typer.Option(
            "--mirror", metavar="URL|PATH", help="Try this address or folder first; may be repeated (OSNET_MIRROR)."
        ),
    ],
    "allow_hosts": Annotated[
        Optional[list[str]],
        typer.Option("--allow-host", metavar="HOST[:PORT]", help="Allow this host in links (OSNET_ALLOW_HOST)."),
    ],
    "allow_http": Annotated[
        Optional[bool], typer.Option("--allow-http", help="Allow plain http:// links (OSNET_ALLOW_HTTP).")
    ],
    "timeout": Annotated[
        Optional[float],
        typer.Option("--timeout", metavar="SECONDS", help="Seconds for the whole download (OSNET_TIMEOUT)."),
    ],
}
"""Each keyword of `osnet.fetch` that is an option of the commands."""


def with_fetch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options for fetching. Its argument `fetch` gets those that were used, as keywords of
    `osnet.fetch`."""

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        fetch = {name: value for name in _FETCH_OPTIONS if (value := given.pop(name)) is not None}
        return command(**given, fetch=fetch)

    parameters = []
    for own in inspect.signature(command).parameters.values():
        parameters += (
            [own]
            if own.name != "fetch"
            else [own.replace(name=name, annotation=option, default=None) for name, option in _FETCH_OPTIONS.items()]
        )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def read_size(size: Optional[str]) -> Optional[tuple[int, int]]:
    """(height, width) that ``--size`` gives; None where it is not given."""
    from osnet.variants import parse_size

    return None if size is None else parse_size(size, "--size")


NOBODY_READS = 141
"""Exit code when the reader of standard output has left: what a shell says of a program that SIGPIPE ended."""


def say(line: object = "", *, err: bool = False) -> None:
    """Print one line, the only way in which a command prints text: whatever a card, a file name or a server puts into
    it, it stays one line that the terminal does not obey."""
    _print(printable(line), err)


def print_json(value: Any) -> None:
    """`value` on standard output, indented, text as it is; names that are not UTF-8 as `text_of_name` writes them."""
    text = json.dumps(_valid(value), indent=2, ensure_ascii=False)
    _print(
        re.sub(
            r"[^\x20-\x7e\n]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text
        )
    )


def print_columns(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table: text left-aligned, figures right-aligned."""
    table = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    left = [not any(row[i][:1].isdigit() for row in rows) for i in range(len(heads))]
    for row in table:
        cells = (cell.ljust(w) if to_left else cell.rjust(w) for cell, w, to_left in zip(row, widths, left))
        say("  ".join(cells).rstrip())


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return text_of_name(value)
    if isinstance(value, Mapping):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, (list, tuple)) else value


def _print(text: str, err: bool = False) -> None:
    """`text` and a line end, at once: what comes after may fail."""
    if err:
        write_line(text)
        return
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        print(text, flush=True)
    except BrokenPipeError:
        raise typer.Exit(NOBODY_READS) from None  # typer would leave with code 1
    except OSError as error:
        raise OSError(error.errno, f"cannot write to standard output: {error.strerror}") from error

"""Options that several commands share, and how results are printed."""

import errno
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.escaping import printable, text_of_name

Precision = Annotated[str, typer.Option(help="auto (fp32), fp32, bf16, or fast: bf16 where the processor has it.")]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="osnet, an alias (osnet_market1501), a hub uid, a card (.md) or weights (.ckpt .pth ...)."
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(help="osnet, an alias (osnet_market1501), a hub uid, a card (.md) or weights (.ckpt .pth ...).")
]
Size = Annotated[
    Optional[str],
    typer.Option(
        "--size",
        metavar="HxW",
        help="Height and width that images are resized to; default: what the checkpoint was trained at.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
CacheDir = Annotated[Optional[Path], typer.Option("--cache-dir", help="Folder of the cache (OSNET_CACHE).")]
Offline = Annotated[Optional[bool], typer.Option("--offline", help="Never use the network (OSNET_OFFLINE).")]
Mirror = Annotated[
    Optional[list[str]],
    typer.Option(
        "--mirror", metavar="URL|PATH", help="Ask this address, or look here, first; may be repeated (OSNET_MIRROR)."
    ),
]
AllowHost = Annotated[
    Optional[list[str]],
    typer.Option("--allow-host", metavar="HOST[:PORT]", help="Trust this host in links too (OSNET_ALLOW_HOST)."),
]
AllowHttp = Annotated[
    Optional[bool], typer.Option("--allow-http", help="Accept plain http:// links (OSNET_ALLOW_HTTP).")
]
Timeout = Annotated[
    Optional[float], typer.Option("--timeout", metavar="SECONDS", help="For a whole download (OSNET_TIMEOUT).")
]


def fetch_keywords(
    cache_dir: Optional[Path],
    offline: Optional[bool],
    mirror: Optional[list[str]],
    allow_host: Optional[list[str]],
    allow_http: Optional[bool],
    timeout: Optional[float],
) -> dict[str, Any]:
    """The options above as keywords of `osnet.fetch`."""
    return {
        "cache_dir": cache_dir,
        "offline": offline,
        "mirrors": tuple(mirror or ()),
        "allow_hosts": tuple(allow_host or ()),
        "allow_http": allow_http,
        "timeout": timeout,
    }


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


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return text_of_name(value)
    if isinstance(value, Mapping):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, (list, tuple)) else value


def _print(text: str, err: bool = False) -> None:
    """`text` and a line end, at once: what comes after may fail."""
    if err:
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
        return
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        print(text, flush=True)
    except BrokenPipeError:
        raise typer.Exit(NOBODY_READS) from None  # typer would leave with code 1
    except OSError as error:
        raise OSError(error.errno, f"cannot write to standard output: {error.strerror}") from error

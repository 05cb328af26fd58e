"""Options that several commands share, and how results are printed."""

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="osnet, an alias (osnet_market1501), a hub uid, a card (.md) or weights (.ckpt .pth ...)."
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(help="osnet, an alias (osnet_market1501), a hub uid, a card (.md) or weights (.ckpt .pth ...).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
CacheDir = Annotated[Optional[Path], typer.Option("--cache-dir", help="Folder of the cache (OSNET_CACHE).")]
Offline = Annotated[Optional[bool], typer.Option("--offline", help="Never use the network (OSNET_OFFLINE).")]
Mirror = Annotated[
    Optional[list[str]],
    typer.Option("--mirror", metavar="URL", help="Ask this address first; may be repeated (OSNET_MIRROR)."),
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


def print_json(value: Any) -> None:
    """`value` on standard output, indented, text as it is."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))

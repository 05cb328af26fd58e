"""``osnet serve``: a gallery over HTTP, and its page."""

import os
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional
from urllib.parse import quote

import typer

from osnet.cli.demo import BUILT_IN
from osnet.cli.options import Backend, say, with_fetch_options
from osnet.errors import DependencyError, OptionError

if TYPE_CHECKING:
    from osnet.gallery.gallery import Gallery

TOKEN = "OSNET_TOKEN"  # noqa: S105 - the name of the variable that has it


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("serve")(serve)


@with_fetch_options
def serve(
    gallery: Annotated[
        Optional[str],
        typer.Argument(metavar="GALLERY", help="A file, or the address of a Milvus, that osnet gallery create made."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token (OSNET_TOKEN).")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 for a free one.")] = 8765,
    allow_name: Annotated[
        Optional[list[str]],
        typer.Option("--allow-name", metavar="NAME", help="A name under which browsers reach it; may be repeated."),
    ] = None,
    model: Annotated[
        Optional[str], typer.Option("--model", "-m", help="Where the gallery's model is, if it is not found.")
    ] = None,
    backend: Backend = "auto",
    calibration: Annotated[
        Optional[Path],
        typer.Option("--calibration", metavar="FILE", help="Thresholds that osnet eval --calibrate measured."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse enrolling and removing.")] = False,
    audit: Annotated[
        Optional[Path],
        typer.Option("--audit", metavar="FILE", help="Append a line for each enrolment and removal; default: stderr."),
    ] = None,
    max_mb: Annotated[int, typer.Option("--max-mb", help="Megabytes of a picture.")] = 16,
    max_megapixels: Annotated[int, typer.Option("--max-megapixels", help="Megapixels of a picture.")] = 50,
    demo: Annotated[
        bool, typer.Option("--demo", help="Draw people, enrol them in a gallery for this run only, and serve it.")
    ] = False,
    *,
    fetch: dict[str, Any],
) -> None:
    """Serve a gallery to programs and browsers of this machine: search, enrol, remove.

    The schema of the API is at /openapi.json, figures for Prometheus at /metrics. Ctrl-C and SIGTERM stop it; accepted
    requests are answered first.
    """
    try:
        from osnet.server.drawn_people import calibrate_drawn
        from osnet.server.run import Server
        from osnet.server.settings import Settings
    except ImportError as error:
        raise DependencyError(
            f"osnet serve needs FastAPI and uvicorn ({error.name} is missing): pip install 'osnet[serve]'"
        ) from error
    from osnet.gallery.gallery import Gallery

    if (gallery is None) != demo:
        raise OptionError("expected a gallery, or --demo: osnet serve people.gallery, osnet serve --demo")
    settings = Settings(
        host=host, port=port, token=os.environ.get(TOKEN, ""), allow_names=tuple(allow_name or ()),
        calibration=calibration, audit=audit, read_only=read_only, max_bytes=max_mb << 20,
        max_pixels=max_megapixels * 1_000_000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="osnet-demo-") as folder:
        if demo:
            opened = _drawn_gallery(Path(folder) / "drawn people", model or BUILT_IN, backend, fetch)
            if calibration is None and find_spec("numba"):  # of the extra eval
                calibrate_drawn(opened, Path(folder) / "calibration.json")
                settings = replace(settings, calibration=Path(folder) / "calibration.json")
        else:
            opened = Gallery(gallery or "", model, backend=backend, **fetch)
        name = Path(opened.where).name if demo else opened.where
        Server(opened, settings, lambda address: _say_where(address, settings, name)).run()


def _drawn_gallery(path: Path, model: str, backend: str, fetch: dict[str, Any]) -> "Gallery":
    from osnet.gallery.gallery import Gallery
    from osnet.server.drawn_people import NAMES, enrol

    say(f"Drawing {len(NAMES)} people ...")
    gallery = Gallery.create(path, model, thumbnails=(128, 64), backend=backend, **fetch)
    enrol(gallery)
    return gallery


def _say_where(address: str, settings: Any, gallery: str) -> None:
    link = f"{address}#token={quote(settings.token, safe='')}" if settings.token else address
    say(f"{gallery}: {link}")
    if settings.is_loopback:
        say("Only programs of this machine reach it. Ctrl-C stops it.")
        return
    say(
        f"Every machine that reaches this address can send requests. Each needs the token ({TOKEN}), which travels "
        "unencrypted: put a proxy with TLS before it. Ctrl-C stops it."
    )

"""The FastAPI app: a gallery's routes, the page, and which answer an error becomes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from osnet._version import __version__
from osnet.errors import DataError, DiskError, GalleryError, ImageError, LockError, OptionError
from osnet.gallery.gallery import Gallery
from osnet.server import routes
from osnet.server.batching import BusyError
from osnet.server.guard import PICTURES, Guard, RefusalError
from osnet.server.metrics import Metrics
from osnet.server.settings import Settings
from osnet.server.work import ReadOnlyError, Work

_log = logging.getLogger(__name__)

_DESCRIPTION = """A gallery of people: embed pictures, search, enrol and remove.

A picture is the body of its request, as it is in its file (JPEG, PNG, WebP, BMP, GIF, TIFF or PPM); everything else is
a parameter. Every error is `{"detail": "one line"}`. With 429 and 503, try again after the seconds of `Retry-After`."""


def create_app(gallery: Gallery, settings: Settings | None = None) -> FastAPI:
    """The app that serves `gallery`; it closes the gallery when it stops.

    Args:
        gallery: with a model that can be loaded; its network is compiled now.
        settings: None for those of a server on the loopback.

    Raises:
        OptionError, DataError: the gallery's model cannot be loaded, or the calibration is for another one.
    """
    settings = settings or Settings()
    metrics = Metrics()
    work = Work(gallery, settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        work.start()
        yield
        work.stop()

    app = FastAPI(
        title="osnet gallery", version=__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None,
        openapi_url="/openapi.json", lifespan=lifespan, redirect_slashes=False,
    )  # fmt: skip
    app.state.work = work
    _add_errors(app)
    routes.add_pictures(app, work)
    routes.add_entries(app, work)
    routes.add_status(app, work)
    routes.add_drawn(app, work)
    _add_page(app)

    def full(path: str, client: str) -> None:
        if path in PICTURES:
            try:
                work.batcher.check(client)
            except BusyError as error:
                status, headers = (429 if error.client else 503), {"retry-after": "1"}
                raise RefusalError(status, f"{error}; try again", "busy", **headers) from None

    app.add_middleware(Guard, settings=settings, metrics=metrics, full=full)
    return app


_KINDS = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip


def _add_page(app: FastAPI) -> None:
    """Serve the files of the page from memory: they are read now, and a request names one of them or none."""
    held: dict[str, tuple[bytes, str]] = {}
    for file in files("osnet.server").joinpath("page").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _KINDS:
            held[file.name] = (file.read_bytes(), _KINDS[suffix])

    def answer(name: str) -> Response:
        content, kind = routes.found_or_404(held.get(name), "file")
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return answer("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        return answer(name)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return answer("icon.svg")


_PLAINER = {
    "Not Found": "no such path; /openapi.json lists those that there are",
    "Method Not Allowed": "this path does not take this method; /openapi.json lists those that it takes",
    "There was an error parsing the body": "the body is not valid JSON",
}
"""What FastAPI says, and what is said instead."""


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _problem(400, "the body is not valid JSON")
        if first["loc"] == ("body",):
            return _problem(422, "expected a JSON object as the body, with Content-Type: application/json")
        place = ".".join(str(part) for part in first["loc"] if part not in ("query", "body", "path"))
        return _problem(422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        return _problem(error.status_code, _PLAINER.get(detail, detail), **(error.headers or {}))

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> Response:
        return _problem(429 if error.client else 503, f"{error}; try again", **{"retry-after": "1"})

    @app.exception_handler(ReadOnlyError)
    async def unchangeable(*_: Any) -> Response:
        return _problem(403, "this server is read-only")

    for kind in (ImageError, OptionError, DataError):

        @app.exception_handler(kind)
        async def unusable(_: Request, error: Exception) -> Response:
            return _problem(422, str(error))

    @app.exception_handler(LockError)
    async def locked(*_: Any) -> Response:
        return _problem(503, "another process is writing to the gallery; try again", **{"retry-after": "5"})

    @app.exception_handler(DiskError)
    async def disk(_: Request, error: DiskError) -> Response:
        _log.error("%s", error)
        return _problem(507, "the server's disk is full or refuses to write; nothing was changed")

    @app.exception_handler(GalleryError)
    async def damaged(_: Request, error: GalleryError) -> Response:
        _log.error("%s", error)
        return _problem(500, "the gallery cannot be read; the server's log has the reason")


def _problem(status: int, detail: str, **headers: str) -> Response:
    return JSONResponse({"detail": detail}, status, headers)

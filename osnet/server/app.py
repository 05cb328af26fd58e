"""The FastAPI app: routes, their parameters and their errors."""

# Without annotations from __future__: FastAPI reads those of the routes, on Python 3.9 too.

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, Optional

import numpy as np
from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from osnet._version import __version__
from osnet.errors import DataError, DiskError, GalleryError, ImageError, LockError, OptionError
from osnet.gallery.gallery import Gallery
from osnet.server import drawn_people, schemas
from osnet.server.batching import BusyError
from osnet.server.guard import PICTURES, Guard, RefusalError, client_of
from osnet.server.metrics import Metrics
from osnet.server.settings import Settings
from osnet.server.work import ReadOnlyError, Work

_log = logging.getLogger(__name__)

_DESCRIPTION = """A gallery of people: embed pictures, search, enrol and remove.

A picture is the body of its request, as it is in its file (JPEG, PNG, WebP, BMP, GIF, TIFF or PPM); everything else is
a parameter. Every error is `{"detail": "one line"}`. With 429 and 503, try again after the seconds of `Retry-After`."""

_PICTURE = {
    "requestBody": {
        "required": True,
        "description": "An image file.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
        },
    }
}
_REFUSALS: dict[int, str] = {
    400: "Not HTTP, or not JSON.",
    401: "No token, or a wrong one.",
    403: "Another host or site, or the server is read-only.",
    408: "The body took too long.",
    413: "The body is too large.",
    422: "A parameter or picture cannot be used.",
    429: "This client has too many requests waiting.",
    500: "A fault of the server; its log has the reason.",
    503: "Too many requests, or the gallery is being written to for too long.",
}


def _also(*further: tuple[int, str]) -> dict[Any, dict[str, Any]]:
    every = {**_REFUSALS, **dict(further)}
    return {status: {"model": schemas.Problem, "description": told} for status, told in every.items()}


Box = Annotated[
    Optional[str],
    Query(
        pattern=r"^-?\d{1,7}(\.\d{1,3})?(,-?\d{1,7}(\.\d{1,3})?){3}$",
        description="x1,y1,x2,y2 in pixels of the picture: only this part of it is used.",
    ),
]
Several = Annotated[Optional[list[str]], Query(max_length=100)]
Moment = Annotated[
    Optional[str], Query(max_length=40, description="ISO 8601, UTC without a time zone; or seconds since 1970.")
]
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
AttributesText = Annotated[
    Optional[str], Query(max_length=10_000, description='A JSON object of texts, numbers and bools: {"site": "north"}.')
]


def _filters(
    identity: Several = None,
    camera: Several = None,
    since: Moment = None,
    until: Moment = None,
    attributes: AttributesText = None,
) -> dict[str, Any]:
    """Conditions that an entry must meet; of several persons or cameras, any."""
    where = _attributes(attributes)
    return {
        "identity": identity or None, "camera": camera or None, "since": _moment(since), "until": _moment(until),
        "where": where or None,
    }  # fmt: skip


def _options(
    limit: Annotated[int, Query(ge=1, le=1000, description="Matches at most.")] = 20,
    threshold: Annotated[
        Optional[float], Query(ge=-1, le=1, description="Least similarity that counts as the same person.")
    ] = None,
    group: Annotated[bool, Query(description="Only the best match of each person.")] = False,
    rerank: Annotated[bool, Query(description="Order the first 100 by k-reciprocal re-ranking.")] = False,
) -> dict[str, Any]:
    return {"limit": limit, "threshold": threshold, "group": group, "rerank": rerank}


Filters = Annotated[dict[str, Any], Depends(_filters)]
Options = Annotated[dict[str, Any], Depends(_options)]


def create_app(gallery: Gallery, settings: Optional[Settings] = None) -> FastAPI:
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
    _add_pictures(app, work)
    _add_entries(app, work)
    _add_status(app, work)
    _add_drawn(app, work)
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


def _add_pictures(app: FastAPI, work: Work) -> None:
    pictures = _also((415, "Not a picture."))

    @app.post(
        "/api/embed", response_model=schemas.Feature, responses=pictures, openapi_extra=_PICTURE, tags=["pictures"]
    )
    async def embed(request: Request, box: Box = None) -> Response:
        """Compute the feature of a picture."""
        feature, _ = await work.embed(await _picture(request), client_of(request.scope), _box(box))
        return _json({"feature": _numbers(feature), "signature": work.gallery.signature.to_dict()})

    @app.post(
        "/api/search", response_model=schemas.Answer, responses=pictures, openapi_extra=_PICTURE, tags=["pictures"]
    )
    async def search(request: Request, filters: Filters, options: Options, box: Box = None) -> Response:
        """Find the entries that are most similar to a picture."""
        feature, _ = await work.embed(await _picture(request), client_of(request.scope), _box(box))
        return _json(schemas.answer_dict(await work.search(feature, **filters, **options)))

    @app.post("/api/search/feature", response_model=schemas.Answer, responses=_also(), tags=["pictures"])
    async def search_feature(query: schemas.FeatureQuery, filters: Filters, options: Options) -> Response:
        """Find the entries that are most similar to a feature, which was made with the gallery's model."""
        feature = np.array(query.feature, np.float32)
        return _json(schemas.answer_dict(await work.search(feature, **filters, **options)))

    @app.post(
        "/api/entries", response_model=schemas.Enrolled, status_code=201, openapi_extra=_PICTURE, tags=["entries"],
        responses={**pictures, **_also((507, "The disk is full.")), 200: {
            "model": schemas.Enrolled, "description": "It was there already."}},
    )  # fmt: skip
    async def enrol(
        request: Request,
        identity: Annotated[str, Query(min_length=1, max_length=1000)],
        camera: Annotated[Optional[str], Query(min_length=1, max_length=1000)] = None,
        time: Moment = None,
        source: Annotated[
            Optional[str], Query(min_length=1, max_length=1000, description="Where the picture came from.")
        ] = None,
        attributes: AttributesText = None,
        box: Box = None,
    ) -> Response:
        """Add a picture of a person. It is on the disk when the answer comes; the same again changes nothing."""
        id, new = await work.enrol(
            await _picture(request), client_of(request.scope), _box(box), identity=identity, camera=camera,
            time=_moment(time), source=source, attributes=_attributes(attributes),
        )  # fmt: skip
        return _json({"id": id, "new": new}, 201 if new else 200)


def _add_entries(app: FastAPI, work: Work) -> None:
    missing = _also((404, "No such entry."))

    @app.get("/api/entries", response_model=schemas.Entries, responses=_also(), tags=["entries"])
    async def entries(
        filters: Filters,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Response:
        """List entries in the order in which they were enrolled."""
        found, more = await work.entries(limit, offset, **filters)
        return _json({"entries": found, "more": more})

    @app.delete(
        "/api/entries", response_model=schemas.Removed, responses=_also((507, "The disk is full.")), tags=["entries"]
    )
    async def remove_some(request: Request, filters: Filters) -> Response:
        """Remove all entries that meet the conditions; at least one condition is needed."""
        if not any(value is not None for value in filters.values()):
            raise OptionError("expected at least one condition: identity, camera, since, until or attributes")
        return _json(schemas.removed_dict(await work.remove(client_of(request.scope), **filters)))

    @app.get("/api/entries/{id}", response_model=schemas.EntryModel, responses=missing, tags=["entries"])
    async def entry(id: Id) -> Response:
        """Show one entry."""
        return _json(schemas.entry_dict(_found(await work.entry(id))))

    @app.delete("/api/entries/{id}", response_model=schemas.Removed, responses=missing, tags=["entries"])
    async def remove(request: Request, id: Id) -> Response:
        """Remove one entry, with its feature and thumbnail."""
        receipt = await work.remove(client_of(request.scope), ids=[id])
        return _json(schemas.removed_dict(_found(receipt if receipt.ids else None)))

    @app.get(
        "/api/entries/{id}/thumbnail", response_class=Response, tags=["entries"],
        responses={**missing, 200: {"description": "The thumbnail.", "content": {"image/jpeg": {}}}},
    )  # fmt: skip
    async def thumbnail(id: Id) -> Response:
        """The small picture of an entry."""
        image = _found(await work.read(lambda: work.gallery.thumbnail(id)))
        return Response(image, media_type="image/jpeg")

    @app.get("/api/entries/{id}/similar", response_model=schemas.Answer, responses=missing, tags=["entries"])
    async def similar(id: Id, filters: Filters, options: Options) -> Response:
        """Find the entries that are most similar to one of the gallery, itself among them."""
        _found(await work.entry(id))
        feature = await work.read(lambda: work.gallery.features([id]))
        return _json(schemas.answer_dict(await work.search(feature[0], **filters, **options)))

    @app.get("/api/people", response_model=schemas.People, responses=_also(), tags=["entries"])
    async def people(
        name: Annotated[str, Query(max_length=1000, description="A part of the name.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Response:
        """List the persons of the gallery by name."""
        found, more = await work.people(limit, offset, name)
        return _json({"people": found, "more": more})


def _add_status(app: FastAPI, work: Work) -> None:
    @app.get("/api/gallery", response_model=schemas.About, responses=_also(), tags=["server"])
    async def about() -> Response:
        """What the gallery holds, and the thresholds of its model."""
        return _json(await work.read(work.about))

    @app.get("/health", response_model=schemas.Status, tags=["server"])
    async def health() -> Response:
        """Whether the process answers."""
        return _json({"status": "ok"})

    @app.get("/ready", response_model=schemas.Status, tags=["server"],
             responses={503: {"model": schemas.Problem, "description": "Not ready."}})  # fmt: skip
    async def ready() -> Response:
        """Whether pictures would be answered: the network runs and the gallery can be read."""
        if not work.batcher.alive:
            return _problem(503, "the network does not run")
        await work.read(lambda: list(work.gallery.list(limit=1)))
        return _json({"status": "ready"})

    @app.get("/metrics", response_class=Response, tags=["server"],
             responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}})  # fmt: skip
    async def metrics() -> Response:
        """Figures for Prometheus."""
        await work.read(work.measure)
        return Response(generate_latest(work.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_drawn(app: FastAPI, work: Work) -> None:
    @app.get("/api/drawn", response_model=schemas.Drawn, responses=_also(), tags=["drawn people"])
    async def drawn() -> Response:
        """What there is to try the gallery with."""
        labels = [sample.label for sample in await work.draw(drawn_people.samples)]
        return _json({"samples": labels, "enrolled": await work.has_drawn()})

    @app.get(
        "/api/drawn/{number}", response_class=Response, tags=["drawn people"],
        responses={**_also((404, "No such picture.")), 200: {"description": "It.", "content": {"image/jpeg": {}}}},
    )  # fmt: skip
    async def sample(number: Annotated[int, Path(ge=0, le=99)]) -> Response:
        """A picture of a drawn person to search for."""
        found = await work.draw(drawn_people.samples)
        return Response(_found(found[number] if number < len(found) else None).content, media_type="image/jpeg")

    @app.post("/api/drawn", response_model=schemas.EnrolledDrawn, status_code=201, tags=["drawn people"],
              responses=_also((409, "The gallery is not empty.")))  # fmt: skip
    async def enrol_drawn(request: Request) -> Response:
        """Enrol drawn people into an empty gallery, with the attribute `drawn`."""
        ids = await work.enrol_drawn(client_of(request.scope))
        if ids is None:
            raise HTTPException(409, "the gallery is not empty; drawn people go into an empty one only")
        return _json({"ids": ids}, 201)


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
        content, kind = _found(held.get(name))
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


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _problem(400, "the body is not valid JSON")
        place = ".".join(str(part) for part in first["loc"] if part not in ("query", "body", "path"))
        return _problem(422, f"{place or 'body'}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, str(error.detail), **(error.headers or {}))

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


async def _picture(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise HTTPException(415, "expected a picture as the body: Content-Type image/jpeg, image/png, ...")
    content = await request.body()
    if not content:
        raise ImageError("the body is empty; expected an image file")
    return content


def _box(text: Optional[str]) -> Optional[tuple[float, float, float, float]]:
    if text is None:
        return None
    x1, y1, x2, y2 = map(float, text.split(","))
    return x1, y1, x2, y2


def _moment(text: Optional[str]) -> Any:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _attributes(text: Optional[str]) -> Optional[dict[str, Any]]:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise OptionError("attributes: not valid JSON") from None
    if not isinstance(found, dict):
        raise OptionError('attributes: expected a JSON object, such as {"site": "north"}')
    return found


def _found(thing: Any) -> Any:
    if thing is None:
        raise HTTPException(404, "there is no such thing here")
    return thing


def _numbers(feature: Any) -> list[float]:
    return [round(value, 9) for value in feature.tolist()]


def _json(content: Any, status: int = 200) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), status, media_type="application/json")


def _problem(status: int, detail: str, **headers: str) -> Response:
    return JSONResponse({"detail": detail}, status, headers)

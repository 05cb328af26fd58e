"""The routes: pictures, entries, the server itself, drawn people."""

# Without annotations from __future__: FastAPI reads those of the routes, on Python 3.9 too.

import json
from typing import Annotated, Any, Optional

import numpy as np
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from osnet.errors import GalleryError, OptionError
from osnet.server import drawn_people, schemas
from osnet.server.guard import client_of
from osnet.server.parameters import (
    PICTURE,
    AttributesText,
    Box,
    Filters,
    Id,
    Moment,
    Options,
    attributes_of,
    corners,
    moment,
    picture_of,
)
from osnet.server.work import Work

Unnamed = Annotated[bool, Query(description="Only entries that are not named.")]
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


def add_pictures(app: FastAPI, work: Work) -> None:
    """Embedding, searching and enrolling."""
    pictures = _also((415, "Not a picture."))

    @app.post(
        "/api/embed", response_model=schemas.Feature, responses=pictures, openapi_extra=PICTURE, tags=["pictures"]
    )
    async def embed(request: Request, box: Box = None) -> Response:
        """Compute the feature of a picture."""
        feature, _ = await work.embed(await picture_of(request), client_of(request.scope), corners(box))
        return _json({"feature": _numbers(feature), "signature": work.gallery.signature.to_dict()})

    @app.post(
        "/api/search", response_model=schemas.Answer, responses=pictures, openapi_extra=PICTURE, tags=["pictures"]
    )
    async def search(request: Request, filters: Filters, options: Options, box: Box = None) -> Response:
        """Find the entries that are most similar to a picture."""
        feature, _ = await work.embed(await picture_of(request), client_of(request.scope), corners(box))
        return _json(schemas.answer_dict(await work.search(feature, **filters, **options)))

    @app.post("/api/search/feature", response_model=schemas.Answer, responses=_also(), tags=["pictures"])
    async def search_feature(query: schemas.FeatureQuery, filters: Filters, options: Options) -> Response:
        """Find the entries that are most similar to a feature, which was made with the gallery's model."""
        with np.errstate(over="ignore"):  # what is infinite is refused by the gallery
            feature = np.array(query.feature, np.float32)
        return _json(schemas.answer_dict(await work.search(feature, **filters, **options)))

    @app.post(
        "/api/entries", response_model=schemas.Enrolled, status_code=201, openapi_extra=PICTURE, tags=["entries"],
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
            await picture_of(request), client_of(request.scope), corners(box), identity=identity, camera=camera,
            time=moment(time), source=source, attributes=attributes_of(attributes),
        )  # fmt: skip
        return _json({"id": id, "new": new}, 201 if new else 200)


def add_entries(app: FastAPI, work: Work) -> None:
    """Listing, showing and removing."""
    missing = _also((404, "No such entry."))
    changing = _also((404, "No such entry."), (507, "The disk is full."))

    @app.get("/api/entries", response_model=schemas.Entries, responses=_also(), tags=["entries"])
    async def entries(
        filters: Filters,
        unnamed: Unnamed = False,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Response:
        """List entries in the order in which they were enrolled."""
        found, more = await work.entries(limit, offset, unnamed=unnamed, **filters)
        return _json({"entries": found, "more": more})

    @app.delete(
        "/api/entries", response_model=schemas.Removed, responses=_also((507, "The disk is full.")), tags=["entries"]
    )
    async def remove_some(request: Request, filters: Filters, unnamed: Unnamed = False) -> Response:
        """Remove all entries that meet the conditions; at least one condition is needed."""
        if not unnamed and not any(value is not None for value in filters.values()):
            raise OptionError("expected at least one condition: identity, camera, since, until, attributes or unnamed")
        return _json(schemas.removed_dict(await work.remove(client_of(request.scope), unnamed=unnamed, **filters)))

    @app.get("/api/entries/{id}", response_model=schemas.EntryModel, responses=missing, tags=["entries"])
    async def entry(id: Id) -> Response:
        """Show one entry."""
        return _json(schemas.entry_dict(found_or_404(await work.entry(id))))

    @app.patch("/api/entries/{id}", response_model=schemas.Renamed, responses=changing, tags=["entries"])
    async def rename(
        request: Request,
        id: Id,
        identity: Annotated[
            Optional[str], Query(min_length=1, max_length=1000, description="The person; without it, nobody.")
        ] = None,
    ) -> Response:
        """Name the person of an entry, which gets another id: ids are made from all that is known of an entry."""
        return _json({"id": found_or_404(await work.rename(client_of(request.scope), id, identity))})

    @app.delete("/api/entries/{id}", response_model=schemas.Removed, responses=changing, tags=["entries"])
    async def remove(request: Request, id: Id) -> Response:
        """Remove one entry, with its feature and thumbnail."""
        receipt = await work.remove(client_of(request.scope), ids=[id])
        return _json(schemas.removed_dict(found_or_404(receipt if receipt.ids else None)))

    @app.get(
        "/api/entries/{id}/thumbnail", response_class=Response, tags=["entries"],
        responses={**missing, 200: {"description": "The thumbnail.", "content": {"image/jpeg": {}}}},
    )  # fmt: skip
    async def thumbnail(id: Id) -> Response:
        """The small picture of an entry."""
        image = found_or_404(await work.read(lambda: work.gallery.thumbnail(id)), "entry with a thumbnail")
        return Response(image, media_type="image/jpeg")

    @app.get("/api/entries/{id}/similar", response_model=schemas.Answer, responses=missing, tags=["entries"])
    async def similar(id: Id, filters: Filters, options: Options) -> Response:
        """Find the entries that are most similar to one of the gallery, itself among them."""
        found_or_404(await work.entry(id))
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


def add_status(app: FastAPI, work: Work) -> None:
    """What the gallery and the server are like."""

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
            raise HTTPException(503, "the network does not run")
        try:
            await work.read(lambda: list(work.gallery.list(limit=1)))
        except GalleryError as error:
            raise HTTPException(503, "the gallery cannot be read") from error
        return _json({"status": "ready"})

    @app.get("/metrics", response_class=Response, tags=["server"],
             responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}})  # fmt: skip
    async def metrics() -> Response:
        """Figures for Prometheus."""
        await work.read(work.measure)
        return Response(generate_latest(work.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def add_drawn(app: FastAPI, work: Work) -> None:
    """People to try it with."""

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
        picture = found_or_404(found[number] if number < len(found) else None, "picture")
        return Response(picture.content, media_type="image/jpeg")

    @app.post("/api/drawn", response_model=schemas.EnrolledDrawn, status_code=201, tags=["drawn people"],
              responses=_also((409, "The gallery is not empty.")))  # fmt: skip
    async def enrol_drawn(request: Request) -> Response:
        """Enrol drawn people into an empty gallery, with the attribute `drawn`."""
        ids = await work.enrol_drawn(client_of(request.scope))
        if ids is None:
            raise HTTPException(409, "the gallery is not empty; drawn people go into an empty one only")
        return _json({"ids": ids}, 201)


def found_or_404(thing: Any, what: str = "entry") -> Any:
    if thing is None:
        raise HTTPException(404, f"no such {what}")
    return thing


def _numbers(feature: Any) -> list[float]:
    return [round(value, 9) for value in feature.tolist()]


def _json(content: Any, status: int = 200) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), status, media_type="application/json")

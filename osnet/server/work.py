"""What the server does with a gallery, off the event loop: decode, embed, search, enrol, remove."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from osnet.evaluation.calibration import read_calibration_for
from osnet.gallery.gallery import Gallery
from osnet.gallery.store import Entry, Receipt, Result
from osnet.server import drawn_people
from osnet.server.audit import Audit
from osnet.server.batching import Batcher, BusyError
from osnet.server.metrics import Metrics
from osnet.server.pictures import Box, Picture, read_picture
from osnet.server.schemas import calibration_dict, entry_dict
from osnet.server.settings import Settings

Floats = NDArray[np.float32]
T = TypeVar("T")

_WRITES = 64
"""Changes that may wait for the gallery."""


class ReadOnlyError(Exception):
    """The server was told not to change the gallery."""


class Work:
    """Runs requests against one gallery.

    Args:
        gallery: with a model that can be loaded.
        settings: limits.
        metrics: counts.

    Raises:
        OptionError, DataError: the gallery's model cannot be loaded, or the calibration is for another one.
    """

    def __init__(self, gallery: Gallery, settings: Settings, metrics: Metrics) -> None:
        self.gallery, self.settings, self.metrics = gallery, settings, metrics
        self.calibration = None
        if settings.calibration is not None:
            self.calibration = calibration_dict(read_calibration_for(settings.calibration, gallery.signature))
        self.audit = Audit(settings.audit)
        self.batcher = Batcher(gallery.embedder, gather=settings.gather, max_wait=settings.max_wait, metrics=metrics)
        cores = max(1, min(8, os.cpu_count() or 1))
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="osnet-decode")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="osnet-read")
        self._artist = ThreadPoolExecutor(1, thread_name_prefix="osnet-draw")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="osnet-write")
        self._writes = 0

    def start(self) -> None:
        """Begin, in the running event loop."""
        self.batcher.start()

    def stop(self) -> None:
        """Finish what was begun, then close the gallery."""
        self.batcher.stop()
        for pool in (self._decoders, self._readers, self._artist, self._writer):
            pool.shutdown()
        self.gallery.close()
        self.audit.close()

    async def embed(
        self, content: bytes, client: str, box: Box | None, *, keep: bool = False
    ) -> tuple[Floats, Picture]:
        """Feature (512,) of a picture, and the picture as the network takes it, with a thumbnail if `keep`.

        Raises:
            BusyError, ImageError: no place for it, or it cannot be used.
        """
        signature = self.gallery.signature
        with self.batcher.place(client) as place:
            picture = await self._in(
                self._decoders,
                lambda: read_picture(
                    content,
                    size=(signature.height, signature.width),
                    max_pixels=self.settings.max_pixels,
                    box=box,
                    thumbnail=self.gallery.about.thumbnails if keep else None,
                ),
            )
            return await place.features(picture.pixels), picture

    async def search(self, feature: Floats, **conditions: Any) -> Result:
        """What `Gallery.search` finds."""
        found = await self.read(lambda: self.gallery.search(feature, **conditions))
        return found[0]

    async def enrol(self, content: bytes, client: str, box: Box | None, **told: Any) -> tuple[str, bool]:
        """Add a picture to the gallery: its id, and whether it is new. It is on the disk when this returns."""
        feature, picture = await self.embed(content, client, box, keep=True)

        def add() -> tuple[str, bool]:
            before = time.time()
            (id,) = self.gallery.add(picture.pixels, features=feature, thumbnail=picture.thumbnail, box=box, **told)
            new = any(entry.added >= before for entry in self.gallery.list(ids=[id]))
            if new:
                self.audit.write("enrol", client, ids=[id], identity=told.get("identity"))
                self.metrics.enrolled.inc()
            return id, new

        return await self._write(add)

    async def remove(self, client: str, *, unnamed: bool = False, **conditions: Any) -> Receipt:
        """Remove entries from the gallery; with `unnamed` those of them that are not named."""

        def remove() -> Receipt:
            chosen = {"ids": [entry.id for entry in self._list(unnamed, **conditions)]} if unnamed else conditions
            receipt = self.gallery.remove(**chosen)
            if receipt.ids:
                self.audit.write("remove", client, ids=list(receipt.ids), identities=list(receipt.identities))
                self.metrics.removed.inc(len(receipt.ids))
            return receipt

        return await self._write(remove)

    async def rename(self, client: str, id: str, identity: str | None) -> str | None:
        """Make an entry one of another person, or of nobody: its new id; None where it is not there."""

        def rename() -> str | None:
            entry = next(iter(self.gallery.list(ids=[id])), None)
            new = self.gallery.rename(id, identity)
            if entry is not None and new is not None and new != id:
                self.audit.write("rename", client, ids=[id, new], identities=[entry.identity, identity])
            return new

        return await self._write(rename)

    def _list(self, unnamed: bool, **conditions: Any) -> Iterator[Entry]:
        found = self.gallery.list(**conditions)
        return (entry for entry in found if entry.identity is None) if unnamed else found

    async def entry(self, id: str) -> Entry | None:
        """The entry of an id; None where there is none."""
        return await self.read(lambda: next(iter(self.gallery.list(ids=[id])), None))

    async def entries(
        self, limit: int, offset: int, *, unnamed: bool = False, **conditions: Any
    ) -> tuple[list[dict[str, Any]], bool]:
        """Some entries, with `unnamed` only those that are not named, and whether there are more."""

        def some() -> tuple[list[dict[str, Any]], bool]:
            found = list(itertools.islice(self._list(unnamed, **conditions), offset, offset + limit + 1))
            return [entry_dict(entry) for entry in found[:limit]], len(found) > limit

        return await self.read(some)

    async def people(self, limit: int, offset: int, name: str) -> tuple[list[dict[str, Any]], bool]:
        """Persons whose name holds `name`, in any case, sorted, and whether there are more."""

        def all_people() -> tuple[list[dict[str, Any]], bool]:
            found: dict[str, dict[str, Any]] = {}
            for entry in self.gallery.list():
                if entry.identity is not None and name.casefold() in entry.identity.casefold():
                    _count(found, entry)
            names = sorted(found, key=lambda one: (one.casefold(), one))[offset : offset + limit + 1]
            people = [{**found[one], "cameras": sorted(found[one]["cameras"])} for one in names]
            return people[:limit], len(people) > limit

        return await self.read(all_people)

    def about(self) -> dict[str, Any]:
        """What `osnet.server.schemas.About` says."""
        stats = self.gallery.stats()
        size = stats.about.thumbnails
        return {
            "name": Path(stats.where).name, "entries": stats.entries, "identities": stats.identities,
            "unidentified": stats.unidentified, "cameras": dict(stats.cameras), "first": stats.first,
            "last": stats.last, "thumbnail": None if size is None else list(size),
            "signature": self.gallery.signature.to_dict(), "calibration": self.calibration,
            "read_only": self.settings.read_only, "max_bytes": self.settings.max_bytes,
            "max_pixels": self.settings.max_pixels,
        }  # fmt: skip

    def measure(self) -> None:
        """Set the figures that are not counted as they come."""
        stats = self.gallery.stats()
        self.metrics.entries.set(stats.entries)
        self.metrics.identities.set(stats.identities)
        self.metrics.waiting.set(self.batcher.waiting)

    async def draw(self, work: Callable[[], T]) -> T:
        """The result of something that draws."""
        return await self._in(self._artist, work)

    async def has_drawn(self) -> bool:
        """Whether drawn people are in the gallery."""
        return bool(await self.read(lambda: list(self.gallery.list(where=drawn_people.DRAWN, limit=1))))

    async def enrol_drawn(self, client: str) -> list[str] | None:
        """Add drawn people to an empty gallery: their ids; None where it is not empty."""

        def enrol() -> list[str] | None:
            if list(self.gallery.list(limit=1)):
                return None
            ids = drawn_people.enrol(self.gallery)
            self.audit.write("enrol", client, ids=ids, identity="drawn people")
            self.metrics.enrolled.inc(len(ids))
            return ids

        return await self._write(enrol)

    async def read(self, work: Callable[[], T]) -> T:
        """The result of something that reads the gallery."""
        return await self._in(self._readers, work)

    async def _write(self, work: Callable[[], T]) -> T:
        if self.settings.read_only:
            raise ReadOnlyError
        if self._writes >= _WRITES:
            raise BusyError(client=False, what="changes")
        self._writes += 1
        try:
            return await self._in(self._writer, work)
        finally:
            self._writes -= 1

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _count(found: dict[str, dict[str, Any]], entry: Entry) -> None:
    who = entry.identity or ""
    person = found.setdefault(who, {"identity": who, "entries": 0, "cameras": set(), "last": None})
    person["entries"] += 1
    person["cameras"].update([] if entry.camera is None else [entry.camera])
    if entry.time is not None and (person["last"] is None or entry.time > person["last"]):
        person["last"] = entry.time
    person["cover"] = entry.id

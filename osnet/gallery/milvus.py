"""A gallery in a collection of a Milvus server, for what outgrows one machine.

The index of the server finds candidates; their similarities are computed here, from the stored features, so that they
are exact and thresholds hold. A change that the server has answered is in its log, and later requests see it
(consistency level Strong).
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.errors import DependencyError, DiskError, ExistsError, GalleryError
from osnet.escaping import printable
from osnet.gallery.filters import Filter
from osnet.gallery.milvus_address import INDEXES, TOKEN, Address
from osnet.gallery.milvus_rows import (
    ABOUT,
    ENTRIES,
    ENTRY,
    WHOLE,
    checksum_of,
    condition_of,
    entry_of,
    is_one_of,
    make_schema,
    requests,
    stored_row,
)
from osnet.gallery.store import FORMAT, About, Entry, Match, Receipt, Row, Stats, check_format, first_of_each
from osnet.inference.embedder import normalise
from osnet.variants import FEATURE_DIM

Floats = npt.NDArray[np.float32]

TIMEOUT = 10.0
"""Seconds in which the server must answer a request."""

RESCORED = 100
"""Candidates that are taken from the index for each query at least."""

MAX_CANDIDATES = 16_384
"""Candidates of a query at most, as Milvus limits them."""

_AT_ONCE = 500  # rows of a request
_CANDIDATES_AT_ONCE = 50_000  # of all queries of a request


class MilvusStore:
    """See `osnet.gallery.store.Store` for the methods. What differs from a file:

    - the index may miss candidates (`Address.index`); ``FLAT`` does not;
    - a request of over 16 MB is sent in parts, so `add` and `remove` can end half done if the server fails between
      them: the same call again does the rest;
    - `remove` leaves it to Milvus when it compacts its files, so `Receipt.erased` is False;
    - an entry has at most 65,535 bytes of attributes and source, and as many of a thumbnail in base64.

    Args:
        where: address of a gallery; see `Address`.
        token: ``user:password`` or an API key; None takes that of the environment variable `TOKEN`, if it is set.
        timeout: seconds in which the server must answer a request.

    Raises:
        GalleryError: the server does not answer or refuses, or has no such gallery.
        DependencyError: pymilvus is missing.
    """

    def __init__(self, where: str, *, token: str | None = None, timeout: float = TIMEOUT) -> None:
        self._open(Address.parse(where), token, timeout)
        try:
            self.about = self._read_about()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, where: str, about: About, *, token: str | None = None, timeout: float = TIMEOUT) -> MilvusStore:
        """Make a new collection and open it.

        Raises:
            ExistsError: there is such a collection.
            GalleryError: the server does not answer or refuses.
        """
        self = cls.__new__(cls)
        self._open(Address.parse(where), token, timeout)
        try:
            self._create(about)
        except BaseException:
            self.close()
            raise
        self.about = about
        return self

    def _open(self, address: Address, token: str | None, timeout: float) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise DependencyError(f'a gallery on a Milvus needs pymilvus ({error}): pip install "osnet[milvus]"') from (
                error
            )
        # it raises its errors, and writes each of them to stderr with a traceback
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self.where, self._address, self._closed = str(address), address, False
        self._timeout = check_number("timeout", timeout, above=0, most=3600)
        self._lock, self._last = threading.Lock(), 0
        self._index, self._partition = address.index, address.partition
        with self._errors():
            self._client = pymilvus.MilvusClient(
                uri=address.server, token=token or os.environ.get(TOKEN, ""), db_name=address.database or "",
                timeout=self._timeout,
            )  # fmt: skip

    def _create(self, about: About) -> None:
        index = self._client.prepare_index_params()
        params = dict(INDEXES[self._index])
        index.add_index("feature", index_type=self._index, metric_type="COSINE", params=params)
        told = {**about.to_dict(), "format": FORMAT, "partition": self._partition}
        row = stored_row(Row(Entry(ABOUT), np.eye(1, FEATURE_DIM, dtype=np.float32)[0]), -1, self._partition)
        row["told"] = json.dumps(told)
        with self._errors():
            if self._client.has_collection(self._address.collection, timeout=self._timeout):
                raise ExistsError(f"{self.where} exists; expected the name of a collection that does not")
            name, schema = self._address.collection, make_schema(self._partition)
            self._client.create_collection(name, schema=schema, consistency_level="Strong", timeout=self._timeout)
            self._client.create_index(name, index, sync=False, timeout=self._timeout)  # there is nothing to index yet
            self._client.load_collection(name, timeout=self._timeout)
            self._client.upsert(self._address.collection, [row], timeout=self._timeout)

    def _read_about(self) -> About:
        name = self._address.collection
        with self._errors():
            if not self._client.has_collection(name, timeout=self._timeout):
                raise GalleryError(f"{self.where}: no such gallery; make one with `osnet gallery create`")
            fields = {
                field["name"] for field in self._client.describe_collection(name, timeout=self._timeout)["fields"]
            }
            if not {"id", "moment", *WHOLE} <= fields:
                raise GalleryError(f"{self.where}: another collection; expected one that `osnet gallery create` made")
            self._client.load_collection(name, timeout=self._timeout)
            index = self._client.describe_index(name, "feature", timeout=self._timeout) or {}
        rows = self._rows([ABOUT], ["told"])
        if not rows:
            raise GalleryError(f"{self.where}: its description is missing; drop the collection and make it again")
        told = json.loads(rows[0]["told"])
        check_format(self.where, told["format"])
        self._index, self._partition = index.get("index_type", "AUTOINDEX"), told["partition"]
        return About.from_dict(told)

    def add(self, rows: Sequence[Row]) -> int:
        with self._lock:
            unique = {row.entry.id: row for row in reversed(rows)}
            there = {found["id"] for found in self._rows(list(unique), ["number"])}
            new = [unique[id] for id in dict.fromkeys(row.entry.id for row in rows) if id not in there]
            first = max(self._last + 1, time.time_ns())
            self._last = first + len(new)
            stored = [stored_row(row, number, self._partition) for number, row in enumerate(new, first)]
            with self._errors():
                for some in requests(stored):
                    self._client.upsert(self._address.collection, some, timeout=self._timeout)
        return len(new)

    def search(self, queries: Floats, *, limit: int, filter: Filter, group: bool = False) -> list[list[Match]]:
        found: dict[int, list[Match]] = {}
        pending, depth = list(range(len(queries))), max(8 * limit if group else limit, RESCORED)
        while pending:
            depth = min(depth, MAX_CANDIDATES - 1)
            unfinished = []
            for query, matches in zip(pending, self._candidates(queries[pending], depth, filter)):
                kept = first_of_each(matches) if group else matches
                found[query] = kept[:limit]
                if group and len(kept) < limit and len(matches) >= depth and depth < MAX_CANDIDATES - 1:
                    unfinished.append(query)
            pending, depth = unfinished, 4 * depth
        return [found[query] for query in range(len(queries))]

    def _candidates(self, queries: Floats, depth: int, filter: Filter) -> Iterator[list[Match]]:
        """Of each query the `depth` entries that the index takes for the most similar ones, by exact similarity."""
        condition = "" if filter.is_empty else condition_of(filter, self._partition)
        params: dict[str, int] = {}
        if "HNSW" in self._index:
            params = {"ef": min(max(2 * depth, 256), 32_768)}
        elif self._index.startswith("IVF"):
            params = {"nprobe": 128}
        at_once = max(1, _CANDIDATES_AT_ONCE // depth)
        for start in range(0, len(queries), at_once):
            some = queries[start : start + at_once]
            with self._errors():
                hits = self._client.search(
                    self._address.collection, data=list(some), anns_field="feature", filter=condition,
                    limit=depth + 1, search_params={"metric_type": "COSINE", "params": params}, timeout=self._timeout,
                )  # fmt: skip
            ids = [[hit["id"] for hit in found if hit["id"] != ABOUT] for found in hits]
            rows = self._rows(list(dict.fromkeys(id for found in ids for id in found)), [*ENTRY, "feature"])
            places = {row["id"]: place for place, row in enumerate(rows)}
            entries = [entry_of(row) for row in rows]
            numbers = np.array([row["number"] for row in rows], np.int64)
            features = normalise(np.array([row["feature"] for row in rows], np.float32).reshape(-1, FEATURE_DIM))
            for query, found in zip(some, ids):
                mine = np.array([places[id] for id in found if id in places], np.int64)  # else it was removed meanwhile
                exact = features[mine] @ query
                order = np.lexsort((numbers[mine], -exact))[:depth]
                yield [
                    Match(entries[place], score) for place, score in zip(mine[order].tolist(), exact[order].tolist())
                ]

    def features(self, ids: Sequence[str]) -> Floats:
        rows = self._rows([id for id in dict.fromkeys(ids) if id != ABOUT], ["feature"])
        found = {row["id"]: row["feature"] for row in rows}
        missing = np.full(FEATURE_DIM, np.nan, np.float32)
        return np.array([found.get(id, missing) for id in ids], np.float32).reshape(-1, FEATURE_DIM)

    def thumbnail(self, id: str) -> bytes | None:
        for row in self._rows([id], ["thumbnail"]):
            return None if row["thumbnail"] is None else base64.b64decode(row["thumbnail"])
        return None

    def entries(self, filter: Filter, *, limit: int | None = None) -> Iterator[Entry]:
        for row in self._pages(filter, ENTRY, limit):
            yield entry_of(row)

    def rows(self, filter: Filter) -> Iterator[Row]:
        for row in self._pages(filter, WHOLE):
            image = row["thumbnail"]
            yield Row(
                entry_of(row), np.array(row["feature"], np.float32), None if image is None else base64.b64decode(image)
            )

    def remove(self, filter: Filter, *, compact: bool = True) -> Receipt:
        thumbnails = self._count(f"({condition_of(filter, self._partition)}) and thumbnail is not null")
        found = sorted((row["number"], row["id"], row["identity"]) for row in self._scan(filter, ["identity"]))
        for start in range(0, len(found), _AT_ONCE):
            ids = [id for _, id, _ in found[start : start + _AT_ONCE]]
            with self._errors():
                self._client.delete(self._address.collection, ids=ids, timeout=self._timeout)
        if compact and found:
            self.compact()
        remaining = self._count(ENTRIES)
        return Receipt.of(self.where, found, thumbnails=thumbnails, remaining=remaining, erased=False)

    def compact(self) -> bool:
        """Ask Milvus to write its files anew without what was removed. It does so later, so this returns False."""
        with self._errors():
            self._client.compact(self._address.collection, timeout=self._timeout)
        return False

    def count(self) -> int:
        return self._count(ENTRIES)

    def stats(self) -> Stats:
        identities: set[str] = set()
        cameras: dict[str, int] = {}
        entries = unidentified = 0
        first, last = math.inf, -math.inf
        for row in self._scan(Filter(), ["identity", "camera", "time"]):
            entries += 1
            if row["identity"] is None:
                unidentified += 1
            else:
                identities.add(row["identity"])
            if row["camera"] is not None:
                cameras[row["camera"]] = cameras.get(row["camera"], 0) + 1
            if row["time"] is not None:
                first, last = min(first, row["time"]), max(last, row["time"])
        timed = first <= last
        return Stats(
            self.where, self.about, entries, len(identities), unidentified, dict(sorted(cameras.items())),
            self._count(f"{ENTRIES} and thumbnail is not null"), first if timed else None, last if timed else None,
            None,
        )  # fmt: skip

    def check(self) -> list[str]:
        return [
            f"{self.where}: entry {row['id']} is damaged: it does not have its checksum; remove it (osnet gallery "
            f"remove --id {row['id']}) and add it again"
            for row in self._pages(Filter(), WHOLE)
            if checksum_of(row) != row["checksum"]
        ]

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if hasattr(self, "_client"):
                self._client.close()

    # Requests

    def _rows(self, ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
        """Rows with these ids that are there, in any order."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(ids), _AT_ONCE):
            with self._errors():
                found += self._client.query(
                    self._address.collection, filter=is_one_of("id", ids[start : start + _AT_ONCE]),
                    output_fields=["id", *fields], timeout=self._timeout,
                )  # fmt: skip
        return found

    def _scan(self, filter: Filter, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows of `filter` in no order: their ``id``, ``number`` and `fields`."""
        with self._errors():
            pages = self._client.query_iterator(
                self._address.collection, batch_size=5000, filter=condition_of(filter, self._partition),
                output_fields=["id", "number", *fields], timeout=self._timeout,
            )  # fmt: skip
        try:
            while True:
                with self._errors():
                    page = pages.next()
                if not page:
                    return
                yield from page
        finally:
            pages.close()

    def _pages(self, filter: Filter, fields: Sequence[str], limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows of `filter` in the order in which they were added; only their ids are all in memory."""
        found = sorted((row["number"], row["id"]) for row in self._scan(filter, []))[:limit]
        for start in range(0, len(found), _AT_ONCE):
            page = self._rows([id for _, id in found[start : start + _AT_ONCE]], ["number", *fields])
            yield from sorted(page, key=lambda row: row["number"])

    def _count(self, condition: str) -> int:
        with self._errors():
            found = self._client.query(
                self._address.collection, filter=condition, output_fields=["count(*)"], timeout=self._timeout
            )
        return int(found[0]["count(*)"])

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        import grpc
        from pymilvus.exceptions import MilvusException

        if self._closed:
            raise GalleryError(f"{self.where}: this gallery was closed; open it again")
        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> Exception:
        text = printable(str(getattr(error, "message", "") or error))
        if isinstance(cause := error.__cause__ or error, Exception):
            text = f"{text} {printable(str(cause))}"
        short = f"{text:.200}"
        if re.search("auth check|UNAUTHENTICATED|[Uu]nauthenticated|permission denied|PermissionDenied", text):
            return GalleryError(
                f"{self.where}: the server refuses the token; set {TOKEN} to user:password or an API key that may use "
                "this collection"
            )
        if re.search("UNAVAILABLE|DEADLINE_EXCEEDED|[Ff]ail connecting|[Rr]etry timeout|closed channel", text):
            return GalleryError(
                f"{self.where}: no Milvus server answers within {self._timeout:g} s; check that it runs and can be "
                "reached, then do it again: what is there already is not added twice"
            )
        if re.search("quota|memory limit|disk", text):
            return DiskError(f"{self.where}: the server has no room ({short}); give it more, or remove entries")
        return GalleryError(f"{self.where}: the server refuses this ({short})")

"""A gallery in one SQLite file, and an exact search over its features in memory.

The file is all there is. Each change is one transaction, synced to the disk before the call returns (WAL,
``synchronous=FULL``). What is deleted is overwritten (``secure_delete``), the file is written anew (``VACUUM``), and
the log is emptied. Each row carries a CRC-32, since SQLite itself does not notice a changed byte of a value.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.errors import DiskError, GalleryError, LockError
from osnet.files import PathLike, atomic_file
from osnet.gallery.filters import Filter
from osnet.gallery.matrix import Matrix, Snapshot
from osnet.gallery.search import best_rows
from osnet.gallery.sqlite_rows import (
    ENTRY,
    FEATURE,
    SCHEMA,
    WHOLE,
    WITH_ALL,
    WITH_FEATURE,
    as_json,
    check_entry,
    condition_of,
    entry_of,
    feature_of,
    insert,
    problems_of,
    thumbnail_of,
)
from osnet.gallery.store import FORMAT, About, Entry, Match, Receipt, Row, Stats, check_format
from osnet.variants import FEATURE_DIM

Floats = npt.NDArray[np.float32]

TIMEOUT = 10.0
"""Seconds that a writer waits for another one."""

_APPLICATION = 0x6F736E67  # "osng", in the header of the file
_PAGE = 16384  # of 7 features
_AT_ONCE = 2048


class FileStore:
    """See `osnet.gallery.store.Store` for the methods.

    Args:
        path: an existing gallery; see `FileStore.create`.
        timeout: seconds that a change waits while another process writes.

    Raises:
        GalleryError: no such file, not a gallery, damaged, or of a newer version.
        DiskError: the file or its folder refuses to be read or written.
    """

    def __init__(self, path: PathLike, *, timeout: float = TIMEOUT) -> None:
        self.where = os.fspath(path)
        self._timeout = check_number("timeout", timeout, least=0, most=3600)
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        self._matrix: Matrix | None = None
        self._version = self._removals = -1
        self._closed = False
        with self._errors():
            self._writer = self._connect()
            try:
                self.about = self._read_about()
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise

    @classmethod
    def create(cls, path: PathLike, about: About, *, timeout: float = TIMEOUT) -> FileStore:
        """Make a new, empty gallery at `path` and open it.

        Raises:
            ExistsError: something is there.
            DiskError: the folder is missing or refuses to be written, or the disk is full.
        """
        content = json.dumps(about.to_dict())
        with atomic_file(path, overwrite=False) as private:
            try:
                with contextlib.closing(sqlite3.connect(private, isolation_level=None)) as new:
                    new.execute("PRAGMA journal_mode = OFF")  # `atomic_file` syncs the file when it is whole
                    new.execute("PRAGMA synchronous = OFF")
                    new.execute(f"PRAGMA page_size = {_PAGE}")
                    new.execute(f"PRAGMA application_id = {_APPLICATION}")
                    new.execute(f"PRAGMA user_version = {FORMAT}")
                    new.executescript(SCHEMA)
                    new.execute("INSERT INTO about VALUES (?, ?)", (content, zlib.crc32(content.encode())))
                    new.execute("INSERT INTO removals VALUES (0, 0)")
            except sqlite3.Error as error:
                raise DiskError(
                    f"cannot write {os.fspath(path)!r}: {error}; expected a folder with room to write in"
                ) from error
        return cls(path, timeout=timeout)

    def add(self, rows: Sequence[Row]) -> int:
        with self._changing() as database:
            new = [row for row in rows if insert(database, row)]
        return len(new)

    def search(self, queries: Floats, *, limit: int, filter: Filter, group: bool = False) -> list[list[Match]]:
        snapshot, others = self._snapshot(filter)
        penalty = snapshot.penalty(filter, others)
        found: dict[int, tuple[npt.NDArray[Any], Floats]] = {}
        pending, depth = list(range(len(queries))), 8 * limit if group else limit
        while pending:
            results = best_rows(snapshot.blocks, queries[pending], depth, penalty)
            unfinished = []
            for query, (places, scores) in zip(pending, results):
                exhausted = len(places) < depth
                if group:
                    kept = _first_of_each(snapshot.identities[places])[:limit]
                    places, scores = places[kept], scores[kept]
                found[query] = places, scores
                if len(places) < limit and not exhausted:
                    unfinished.append(query)
            pending, depth = unfinished, 4 * depth
        numbers = [snapshot.numbers[found[query][0]].tolist() for query in range(len(queries))]
        entries = self._entries_of(sorted({number for some in numbers for number in some}))
        return [
            [
                Match(entries[number], float(score))
                for number, score in zip(some, found[query][1].tolist())
                if number in entries  # else it was removed meanwhile
            ]
            for query, some in enumerate(numbers)
        ]

    def features(self, ids: Sequence[str]) -> Floats:
        rows = self._pages(FEATURE, WITH_FEATURE, Filter(ids=tuple(ids)))
        found = {row[1]: np.frombuffer(feature_of(row, self.where), "<f4") for row in rows}
        missing = np.full(FEATURE_DIM, np.nan, np.float32)
        return np.array([found.get(id, missing) for id in ids], np.float32).reshape(-1, FEATURE_DIM)

    def thumbnail(self, id: str) -> bytes | None:
        for row in self._pages(WHOLE, WITH_ALL, Filter(ids=(id,))):
            return thumbnail_of(row, self.where)
        return None

    def entries(self, filter: Filter, *, limit: int | None = None) -> Iterator[Entry]:
        for row in self._pages(ENTRY, "", filter, limit):
            yield entry_of(row, self.where)

    def rows(self, filter: Filter) -> Iterator[Row]:
        for row in self._pages(WHOLE, WITH_ALL, filter):
            entry, feature = entry_of(row, self.where), np.frombuffer(feature_of(row, self.where), "<f4")
            yield Row(entry, feature, thumbnail_of(row, self.where))

    def remove(self, filter: Filter, *, compact: bool = True) -> Receipt:
        with self._changing() as database:
            conditions, values = condition_of(filter)
            rows = database.execute(
                f"SELECT row, id, identity FROM entries e WHERE {conditions} ORDER BY row", values
            ).fetchall()
            numbers = [(row[0],) for row in rows]
            before = database.total_changes
            database.executemany("DELETE FROM thumbnails WHERE row = ?", numbers)
            thumbnails = database.total_changes - before
            database.executemany("DELETE FROM features WHERE row = ?", numbers)
            database.execute("DELETE FROM attributes WHERE row IN (SELECT value FROM json_each(?))", as_json(numbers))
            database.executemany("DELETE FROM entries WHERE row = ?", numbers)
            if rows:
                database.execute("UPDATE removals SET count = count + 1")
            remaining = database.execute("SELECT count(*) FROM entries").fetchone()[0]
            erased = database.execute("SELECT count = erased FROM removals").fetchone()[0] == 1
        if not erased:
            with contextlib.suppress(DiskError, LockError):  # what was asked for is removed; the receipt says the rest
                if compact:
                    erased = self.compact()
                else:
                    self._empty_log()
        return Receipt.of(self.where, rows, thumbnails=thumbnails, remaining=remaining, erased=erased)

    def compact(self) -> bool:
        # secure_delete overwrites what is deleted, but a page may keep a copy of a row that had been moved from it
        with self._write_lock, self._errors():
            self._check_open()
            count = self._writer.execute("SELECT count FROM removals").fetchone()[0]
            self._writer.execute("VACUUM")
            done = self._empty_log()
            if done:
                self._writer.execute("UPDATE removals SET erased = max(erased, ?)", (count,))
            return done

    def count(self) -> int:
        with self._reading() as database:
            entries: int = database.execute("SELECT count(*) FROM entries").fetchone()[0]
        return entries

    def stats(self) -> Stats:
        with self._reading() as database:
            entries, identities, identified, first, last = database.execute(
                "SELECT count(*), count(DISTINCT identity), count(identity), min(time), max(time) FROM entries"
            ).fetchone()
            cameras = database.execute(
                "SELECT camera, count(*) FROM entries WHERE camera IS NOT NULL GROUP BY camera ORDER BY camera"
            ).fetchall()
            thumbnails = database.execute("SELECT count(*) FROM thumbnails").fetchone()[0]
        sizes = [path.stat().st_size for path in map(Path, (self.where, f"{self.where}-wal")) if path.exists()]
        return Stats(
            self.where, self.about, entries, identities, entries - identified, dict(cameras), thumbnails, first, last,
            sum(sizes),
        )  # fmt: skip

    def check(self) -> list[str]:
        problems: list[str] = []
        try:
            for row in self._pages(WHOLE, WITH_ALL, Filter()):
                problems += problems_of(row, self.where)
            with self._reading() as database:
                lines = [line for (line,) in database.execute("PRAGMA integrity_check(20)")]
            problems += [f"{self.where}: {' '.join(line.split())}" for line in lines if line != "ok"]
        except GalleryError as error:  # pages that SQLite cannot read
            problems.append(str(error))
        return problems

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            if not self._closed:
                self._closed = True
                self._matrix = None
                self._reader.close()
                self._writer.close()

    # Connections and transactions

    def _connect(self) -> sqlite3.Connection:
        path = Path(self.where)
        if not path.is_file():
            raise GalleryError(f"{self.where}: no such gallery; expected a file that `osnet gallery create` made")
        if path.stat().st_size == 0:
            raise GalleryError(f"{self.where}: an empty file; expected a gallery that `osnet gallery create` made")
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
            timeout=self._timeout,
        )  # fmt: skip
        try:
            application = database.execute("PRAGMA application_id").fetchone()[0]
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if application != _APPLICATION:
                raise GalleryError(f"{self.where}: another SQLite file; expected one that `osnet gallery create` made")
            check_format(self.where, version)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")
        except BaseException:
            database.close()
            raise
        return database

    def _read_about(self) -> About:
        content, checksum = self._writer.execute("SELECT content, checksum FROM about").fetchone() or ("", 0)
        if zlib.crc32(content.encode()) != checksum or not content:
            raise GalleryError(f"{self.where}: its description is damaged; restore the file from a backup")
        return About.from_dict(json.loads(content))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, self._errors():
            self._check_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # of some errors SQLite has rolled back itself
                    self._writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the file, whatever others write meanwhile."""
        with self._read_lock, self._errors():
            self._check_open()
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._reader.execute("COMMIT")

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"{self.where}: this gallery was closed; open it again")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise LockError(
                    f"{self.where}: another process has been writing to this gallery for {self._timeout:g} s; try "
                    "again when it has finished"
                ) from error
            if any(word in text for word in ("full", "disk I/O", "readonly", "unable to open", "too big")):
                raise DiskError(
                    f"{self.where}: cannot be read or written ({text}); expected a folder with room to write in, which "
                    "SQLite needs for reading too; nothing was changed"
                ) from error
            raise GalleryError(f"{self.where}: damaged, or not a gallery ({text}); restore it from a backup") from error

    def _empty_log(self) -> bool:
        """Write the log back into the file and empty it; False while another process still reads from it."""
        with self._write_lock, self._read_lock, self._errors():
            busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    # Reading

    def _pages(self, columns: str, joins: str, filter: Filter, limit: int | None = None) -> Iterator[Any]:
        """Rows in their order, read some at a time, so that no transaction stays open between them."""
        conditions, values = condition_of(filter)
        last, left = 0, limit
        at_once = _AT_ONCE if "image" not in columns else 256
        while left is None or left > 0:
            some = at_once if left is None else min(left, at_once)
            with self._reading() as database:
                page = database.execute(
                    f"SELECT {columns} FROM entries e {joins} WHERE {conditions} AND e.row > ? ORDER BY e.row LIMIT ?",
                    (*values, last, some),
                ).fetchall()
            yield from page
            if len(page) < some:
                return
            last = page[-1][0]
            left = None if left is None else left - len(page)

    def _entries_of(self, numbers: Sequence[int]) -> dict[int, Entry]:
        with self._reading() as database:
            rows = database.execute(
                f"SELECT {ENTRY} FROM entries e WHERE e.row IN (SELECT value FROM json_each(?))", as_json(numbers)
            ).fetchall()
        return {row[0]: entry_of(row, self.where) for row in rows}

    # The matrix

    def _snapshot(self, filter: Filter) -> tuple[Snapshot, npt.NDArray[np.int64] | None]:
        """The matrix as the file is now, and the rows that meet the conditions which need the file."""
        with self._read_lock:
            with self._errors():
                self._check_open()
                version = self._reader.execute("PRAGMA data_version").fetchone()[0]
            matrix = self._matrix
            if matrix is None or version != self._version:
                matrix = self._load()
                self._version = version
            snapshot = matrix.snapshot()
            if filter.ids is None and not filter.where:
                return snapshot, None
            conditions, values = condition_of(Filter(ids=filter.ids, where=filter.where))
            with self._reading() as database:
                rows = database.execute(f"SELECT row FROM entries e WHERE {conditions} ORDER BY row", values).fetchall()
            return snapshot, np.array(rows, np.int64).reshape(-1)

    def _load(self) -> Matrix:
        """The matrix with the rows that are new, and without those that are gone."""
        matrix = self._matrix or Matrix()
        with self._reading() as database:
            removals = database.execute("SELECT count FROM removals").fetchone()[0]
            if matrix.live and removals != self._removals:
                there = np.array(database.execute("SELECT row FROM entries ORDER BY row").fetchall(), np.int64)
                matrix.remove(np.setdiff1d(matrix.numbers(), there.reshape(-1), assume_unique=True))
            found = database.execute(
                f"SELECT {FEATURE} FROM entries e {WITH_FEATURE} WHERE e.row > ? ORDER BY e.row", (matrix.last,)
            )
            while rows := found.fetchmany(_AT_ONCE):
                for row in rows:
                    check_entry(row, self.where)
                features = np.frombuffer(b"".join([feature_of(row, self.where) for row in rows]), "<f4")
                columns = list(zip(*rows))
                matrix.add(
                    columns[0], features.reshape(-1, FEATURE_DIM), columns[2], columns[3], columns[4], columns[8]
                )
        self._matrix, self._removals = matrix, removals
        return matrix


def _first_of_each(codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Places of the first of each code, rising; negative codes all count."""
    _, first = np.unique(codes, return_index=True)
    return np.union1d(first, np.flatnonzero(codes < 0))

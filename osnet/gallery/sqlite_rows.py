"""Rows and conditions as SQLite reads them: tables, columns of a query, checksums, and a `Filter` as SQL."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from osnet.errors import GalleryError
from osnet.escaping import name_of_text, text_of_name
from osnet.gallery.filters import Filter, value_text
from osnet.gallery.store import Entry, Row
from osnet.variants import FEATURE_DIM

SCHEMA = """
CREATE TABLE about (content TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE removals (count INTEGER NOT NULL, erased INTEGER NOT NULL);
CREATE TABLE entries (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, identity TEXT, camera TEXT, time REAL, source TEXT,
    box TEXT, attributes TEXT, added REAL NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE features (row INTEGER PRIMARY KEY, feature BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE thumbnails (row INTEGER PRIMARY KEY, image BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE attributes (name TEXT, value TEXT, row INTEGER, PRIMARY KEY (name, value, row)) WITHOUT ROWID;
CREATE INDEX attributes_row ON attributes (row);
"""
# Columns of a query; the functions below take a row of them.
ENTRY = "e.row, e.id, e.identity, e.camera, e.time, e.source, e.box, e.attributes, e.added, e.checksum"
FEATURE = f"{ENTRY}, f.feature, f.checksum"
WHOLE = f"{FEATURE}, t.image, t.checksum"
WITH_FEATURE = "LEFT JOIN features f ON f.row = e.row"
WITH_ALL = f"{WITH_FEATURE} LEFT JOIN thumbnails t ON t.row = e.row"


def insert(database: sqlite3.Connection, row: Row) -> bool:
    """Insert `row` with all that belongs to it; False if its id is there already."""
    entry = row.entry
    source = None if entry.source is None else text_of_name(entry.source)
    box = None if entry.box is None else json.dumps(entry.box)
    attributes = json.dumps(dict(entry.attributes)) if entry.attributes else None
    values = (entry.id, entry.identity, entry.camera, entry.time, source, box, attributes, entry.added)
    done = database.execute(
        "INSERT OR IGNORE INTO entries (id, identity, camera, time, source, box, attributes, added, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, _entry_checksum(values)),
    )
    if done.rowcount != 1:
        return False
    number, feature = done.lastrowid, np.ascontiguousarray(row.feature, "<f4").tobytes()
    database.execute("INSERT INTO features VALUES (?, ?, ?)", (number, feature, _blob_checksum(entry.id, feature)))
    if row.thumbnail is not None:
        image = row.thumbnail
        database.execute("INSERT INTO thumbnails VALUES (?, ?, ?)", (number, image, _blob_checksum(entry.id, image)))
    database.executemany(
        "INSERT INTO attributes VALUES (?, ?, ?)",
        [(name, value_text(name, value), number) for name, value in entry.attributes.items()],
    )
    return True


def entry_of(row: Any, where: str) -> Entry:
    """The entry in a row of `ENTRY`, `FEATURE` or `WHOLE`.

    Raises:
        GalleryError: it does not have its checksum; the message names the gallery `where`.
    """
    _, id, identity, camera, when, source, box, attributes, added, _ = check_entry(row, where)[:10]
    return Entry(
        id, identity, camera, when, None if source is None else name_of_text(source),
        None if box is None else tuple(json.loads(box)),
        {} if attributes is None else json.loads(attributes), added,
    )  # fmt: skip


def check_entry(row: Any, where: str) -> Any:
    """`row`, whose entry must have its checksum, as in `entry_of`."""
    if _entry_checksum(row[1:9]) != row[9]:
        raise _damaged(row, where, "what is told of it")
    return row


def feature_of(row: Any, where: str) -> bytes:
    """The feature in a row of `FEATURE` or `WHOLE`, as the bytes of 512 floats.

    Raises:
        GalleryError: it is missing or does not have its checksum.
    """
    feature, checksum = row[10:12]
    if feature is None or len(feature) != 4 * FEATURE_DIM or _blob_checksum(row[1], feature) != checksum:
        raise _damaged(row, where, "its feature")
    return bytes(feature)


def thumbnail_of(row: Any, where: str) -> bytes | None:
    """The thumbnail in a row of `WHOLE`; None where there is none.

    Raises:
        GalleryError: it does not have its checksum.
    """
    image, checksum = row[12:14]
    if image is not None and _blob_checksum(row[1], image) != checksum:
        raise _damaged(row, where, "its thumbnail")
    return None if image is None else bytes(image)


def problems_of(row: Any, where: str) -> list[str]:
    """A line for each part of a row of `WHOLE` that is damaged."""
    found = (_problem(part, row, where) for part in (check_entry, feature_of, thumbnail_of))
    return [problem for problem in found if problem is not None]


def _problem(check: Callable[[Any, str], object], row: Any, where: str) -> str | None:
    try:
        check(row, where)
    except GalleryError as error:
        return str(error)
    return None


def condition_of(filter: Filter) -> tuple[str, list[Any]]:
    """`filter` as a condition of SQL, whose values are passed apart from the text."""
    conditions: list[str] = []
    values: list[Any] = []
    for column, several in (("id", filter.ids), ("identity", filter.identities), ("camera", filter.cameras)):
        if several is not None:
            conditions.append(f"e.{column} IN (SELECT value FROM json_each(?))")
            values += as_json(several)
    for condition, value in (
        ("e.time >= ?", filter.since),
        ("e.time < ?", filter.until),
        ("coalesce(e.time, e.added) < ?", filter.before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    for name, texts in filter.where.items():
        conditions.append(
            "e.row IN (SELECT row FROM attributes WHERE name = ? AND value IN (SELECT value FROM json_each(?)))"
        )
        values += [name, *as_json(texts)]
    return " AND ".join(conditions) or "1", values


def as_json(values: Sequence[Any]) -> tuple[str]:
    """`values`, or rows of one value, as a parameter for ``json_each``."""
    return (json.dumps([value[0] if isinstance(value, tuple) else value for value in values]),)


def _entry_checksum(values: Sequence[Any]) -> int:
    return zlib.crc32("\x1f".join(map(str, values)).encode())


def _blob_checksum(id: str, blob: bytes) -> int:
    return zlib.crc32(blob, zlib.crc32(id.encode()))


def _damaged(row: Any, where: str, what: str) -> GalleryError:
    return GalleryError(
        f"{where}: entry {row[1]} (row {row[0]}) is damaged: {what} does not have its checksum; restore the "
        f"file from a backup, or remove the entry (osnet gallery remove --id {row[1]})"
    )

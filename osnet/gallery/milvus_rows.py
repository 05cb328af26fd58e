"""Rows of a gallery as a collection of Milvus holds them, and conditions as Milvus reads them.

Attributes are searched by a digest of name and value, and other texts of a condition are quoted, so no text of a user
is read as a part of it. The row ``about``, with a negative number, says what the gallery is made with.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from osnet.errors import DataError
from osnet.escaping import name_of_text, text_of_name
from osnet.gallery.filters import Filter, value_text
from osnet.gallery.store import Entry, Row
from osnet.variants import FEATURE_DIM

ABOUT = "about"
ENTRIES = "number >= 0"
"""Condition of all rows but `ABOUT`."""

ENTRY = ["number", "identity", "camera", "time", "told"]
WHOLE = [*ENTRY, "feature", "thumbnail", "checksum"]
MAX_VALUE = 65_535
"""Bytes of a value, as Milvus limits them."""

REQUEST_BYTES = 16 << 20
_TEXT_BYTES = 4 * 1000  # of an identity or camera


def make_schema(partition: str | None) -> Any:
    """Fields of a collection."""
    import pymilvus

    schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", pymilvus.DataType.VARCHAR, max_length=32, is_primary=True)
    schema.add_field("number", pymilvus.DataType.INT64)
    schema.add_field("identity", pymilvus.DataType.VARCHAR, max_length=_TEXT_BYTES, nullable=True)
    schema.add_field("camera", pymilvus.DataType.VARCHAR, max_length=_TEXT_BYTES, nullable=True)
    schema.add_field("time", pymilvus.DataType.DOUBLE, nullable=True)
    schema.add_field("moment", pymilvus.DataType.DOUBLE)
    schema.add_field("told", pymilvus.DataType.VARCHAR, max_length=MAX_VALUE)
    schema.add_field(
        "attributes", pymilvus.DataType.ARRAY, element_type=pymilvus.DataType.VARCHAR, max_capacity=64, max_length=32
    )
    schema.add_field("thumbnail", pymilvus.DataType.VARCHAR, max_length=MAX_VALUE, nullable=True)
    schema.add_field("checksum", pymilvus.DataType.INT64)
    schema.add_field("feature", pymilvus.DataType.FLOAT_VECTOR, dim=FEATURE_DIM)
    if partition:
        schema.add_field("part", pymilvus.DataType.VARCHAR, max_length=_TEXT_BYTES, is_partition_key=True)
    return schema


def stored_row(row: Row, number: int, partition: str | None) -> dict[str, Any]:
    """A row as the collection holds it.

    Args:
        row: an entry with its feature and thumbnail.
        number: its place in the order of adding.
        partition: of the gallery, see `osnet.gallery.milvus_address.Address`.

    Raises:
        DataError: a value is larger than Milvus allows.
    """
    entry = row.entry
    told = json.dumps(
        {
            "source": None if entry.source is None else text_of_name(entry.source), "box": entry.box,
            "attributes": dict(entry.attributes), "added": entry.added,
        },
        ensure_ascii=False,
    )  # fmt: skip
    image = None if row.thumbnail is None else base64.b64encode(row.thumbnail).decode()
    for what, value, advice in (
        ("attributes and source", told, "keep less of it"),
        ("thumbnail in base64", image or "", "make the gallery with smaller thumbnails"),
    ):
        if len(value.encode()) > MAX_VALUE:
            raise DataError(
                f"entry {entry.id}: expected at most {MAX_VALUE:,} bytes of {what} of an entry, got "
                f"{len(value.encode()):,}; {advice}, or keep the gallery in a file"
            )
    feature = np.ascontiguousarray(row.feature, "<f4")
    stored = {
        "id": entry.id, "number": number, "identity": entry.identity, "camera": entry.camera, "time": entry.time,
        "moment": entry.added if entry.time is None else entry.time, "told": told,
        "attributes": [_digest(name, value_text(name, value)) for name, value in entry.attributes.items()],
        "thumbnail": image, "feature": feature,
    }  # fmt: skip
    stored["checksum"] = checksum_of(stored)
    if partition == "camera":
        stored["part"] = entry.camera or ""
    elif partition == "day":
        stored["part"] = "" if entry.time is None else _day(entry.time)
    return stored


def condition_of(filter: Filter, partition: str | None) -> str:
    """`filter` as Milvus reads it, for a gallery with this `partition`."""
    parts = [ENTRIES]
    for field, values in (("id", filter.ids), ("identity", filter.identities), ("camera", filter.cameras)):
        if values is not None:
            parts.append(is_one_of(field, values))
    for condition, moment in (("time >=", filter.since), ("time <", filter.until), ("moment <", filter.before)):
        if moment is not None:
            parts.append(f"{condition} {moment!r}")
    for name, texts in filter.where.items():
        digests = json.dumps([_digest(name, text) for text in texts])
        parts.append(f"array_contains_any(attributes, {digests})")
    if partition == "camera" and filter.cameras is not None:
        parts.append(is_one_of("part", filter.cameras))
    if partition == "day" and filter.since is not None and filter.until is not None:
        days = range(int(_day(filter.since)), int(_day(filter.until)) + 1)
        if len(days) <= 366:
            parts.append(is_one_of("part", [str(day) for day in days]))
    return " and ".join(parts)


def is_one_of(field: str, values: Sequence[str]) -> str:
    """The condition that `field` has one of these texts, each of them quoted."""
    return f"{field} in {json.dumps(list(values), ensure_ascii=False)}"


def _digest(name: str, text: str) -> str:
    """32 hexadecimal digits for an attribute and its value, as `osnet.gallery.filters.value_text` writes it."""
    return hashlib.sha256(f"{name}\0{text}".encode()).hexdigest()[:32]


def _day(moment: float) -> str:
    return str(math.floor(moment / 86_400))


def checksum_of(row: Mapping[str, Any]) -> int:
    """CRC-32 of a row with the fields `WHOLE`."""
    texts = json.dumps([row[name] for name in ("id", "identity", "camera", "time", "told", "thumbnail")])
    return zlib.crc32(np.asarray(row["feature"], "<f4").tobytes(), zlib.crc32(texts.encode()))


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a row with the fields `ENTRY`."""
    told = json.loads(row["told"])
    return Entry(
        row["id"], row["identity"], row["camera"], row["time"],
        None if told["source"] is None else name_of_text(told["source"]),
        None if told["box"] is None else tuple(told["box"]), told["attributes"], told["added"],
    )  # fmt: skip


def requests(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """`rows` in requests of some MB."""
    size = 0
    part: list[dict[str, Any]] = []
    for row in rows:
        length = 4 * FEATURE_DIM + len(row["told"]) + len(row["thumbnail"] or "") + 1000
        if part and size + length > REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part:
        yield part

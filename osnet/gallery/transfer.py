"""Galleries and Parquet files: features of ``osnet embed`` into a gallery, and a whole gallery out and in again.

An exported file is also a feature file: `osnet.read_features`, ``osnet cluster`` and others read it.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from osnet.errors import DataError, GalleryError, OptionError
from osnet.escaping import name_of_text, printable, text_of_name
from osnet.files import PathLike, atomic_file, open_regular
from osnet.gallery.enrol import label
from osnet.gallery.entries import check_signature, check_vectors, make_entries
from osnet.gallery.file_store import FileStore
from osnet.gallery.filters import make_filter
from osnet.gallery.gallery import Gallery
from osnet.gallery.milvus_address import is_address
from osnet.gallery.store import About, Entry, Row
from osnet.gallery.thumbnails import make_thumbnail, parse_thumbnails
from osnet.inference.embedder import Signature
from osnet.inference.feature_files import read_features
from osnet.variants import FEATURE_DIM, size_text

_BATCH = 2048
_BOX = ("x1", "y1", "x2", "y2")
_KNOWN = ("file", "feature", "identity", "person", "camera", "time", *_BOX, "attributes", "id", "added", "thumbnail")
_ID = re.compile("[0-9a-f]{32}")


class Added(NamedTuple):
    """Rows that were read, and how many of them were new in the gallery."""

    read: int
    new: int


def add_features(
    gallery: Gallery,
    path: PathLike,
    *,
    labels: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    **told: Any,
) -> Added:
    """Add the features of a file or folder of ``osnet embed``, or of `export_gallery`, to a gallery.

    The columns ``file`` (the source), ``identity`` or ``person``, ``camera``, ``time`` and ``x1`` to ``y2`` (the box)
    are used; further columns become attributes. Rows are added in batches, each whole or not at all: after an
    interruption the same call goes on, for what is there already is not added again.

    Args:
        gallery: to add to.
        path: ``.parquet``, ``.npz`` or ``.csv``, or a folder of parts.
        labels: as for `osnet.gallery.enrol.label`, where there is no column of identities.
        progress: called with rows done, and all rows where their number is known.
        **told: ``identity``, ``camera``, ``time`` or ``attributes`` of all rows, for columns that the file lacks.

    Returns:
        Rows read and added.

    Raises:
        OptionError: not a feature file, or a value that makes no sense.
        DataError: features of another signature, or that are not finite.
    """
    read, new = 0, 0
    for table, signature, total in _tables(Path(path)):
        check_signature(signature, gallery.signature, os.fspath(path))
        told = {**told, **_labels(table, labels)}
        rows = _rows(gallery, table, told, f"{os.fspath(path)}, rows from {read}")
        new += gallery._store.add(rows)
        read += len(rows)
        if progress:
            progress(read, total)
    return Added(read, new)


def export_gallery(gallery: Gallery, path: PathLike, *, overwrite: bool = False, **conditions: Any) -> int:
    """Write entries with their features and thumbnails to a Parquet file, whole or not at all.

    Args:
        gallery: to read from.
        path: of the file, ends in ``.parquet``.
        overwrite: replace an existing file.
        **conditions: as for `Gallery.list`.

    Returns:
        Number of entries.

    Raises:
        OptionError: another ending.
        ExistsError, DiskError: as `osnet.files.atomic_file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if Path(path).suffix.lower() != ".parquet":
        raise OptionError(f"{os.fspath(path)}: expected a name that ends in .parquet")
    about = gallery.about
    size = "" if about.thumbnails is None else size_text(about.thumbnails)
    texts = {**gallery.signature.to_dict(), "thumbnails": size, "reference": about.model or ""}
    numbers = [(name, pa.float64()) for name in ("time", *_BOX, "added")]
    schema = pa.schema(
        [
            ("file", pa.string()), ("feature", pa.list_(pa.float32(), FEATURE_DIM)), ("id", pa.string()),
            ("identity", pa.string()), ("camera", pa.string()), *numbers, ("attributes", pa.string()),
            ("thumbnail", pa.binary()),
        ],
        metadata={f"osnet.{key}": text_of_name(value) for key, value in texts.items()},
    )  # fmt: skip
    count = 0
    with atomic_file(path, overwrite=overwrite) as private, pq.ParquetWriter(str(private), schema) as out:
        for rows in _batches(gallery._store.rows(make_filter(**conditions))):
            features = pa.array(np.concatenate([row.feature for row in rows]), pa.float32())
            columns = {
                name: pa.array([_told(row, name) for row in rows], schema.field(name).type)
                for name in schema.names
                if name != "feature"
            }
            columns["feature"] = pa.FixedSizeListArray.from_arrays(features, FEATURE_DIM)
            out.write_batch(pa.record_batch([columns[name] for name in schema.names], schema=schema))
            count += len(rows)
    return count


def import_gallery(
    where: PathLike, path: PathLike, *, progress: Callable[[int, int | None], None] | None = None
) -> Added:
    """Add what `export_gallery` wrote to a gallery. Entries keep their ids. A file that is not there is made.

    Raises:
        As `add_features`, `Gallery` and `Gallery.create`.
    """
    if not is_address(where) and not os.path.lexists(where):
        texts = _texts(Path(path))
        kept = texts.get("thumbnails")
        size = parse_thumbnails(kept, f"{os.fspath(path)}: thumbnails") if kept else None
        about = About(Signature.from_dict(texts), texts.get("reference") or None, size, time.time())
        FileStore.create(where, about).close()
    with Gallery(where) as gallery:
        return add_features(gallery, path, progress=progress)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _told(row: Row, name: str) -> Any:
    entry = row.entry
    if name == "file":
        return "" if entry.source is None else text_of_name(entry.source)
    if name in _BOX:
        return None if entry.box is None else entry.box[_BOX.index(name)]
    if name == "attributes":
        return json.dumps(dict(entry.attributes)) if entry.attributes else None
    return row.thumbnail if name == "thumbnail" else getattr(entry, name)


def _texts(path: Path) -> dict[str, str]:
    for _, about in _parquet(path, columns=[]):
        return about
    raise OptionError(f"{path}: holds no rows; expected a file of osnet gallery export")


def _tables(path: Path) -> Iterator[tuple[dict[str, list[Any]], Signature, int | None]]:
    """Columns of `_BATCH` rows at most, signature, and the number of all rows where it is known."""
    if path.is_dir():
        from osnet.inference.feature_folder import whole_parts

        for part in whole_parts(path):
            for table, signature, _ in _tables(cast(Path, part)):
                yield table, signature, None
    elif path.suffix.lower() == ".parquet":
        for table, about in _parquet(path):
            yield table, Signature.from_dict(about), None
    else:
        names, features, about = read_features(path)
        for start in range(0, len(names), _BATCH):
            some = slice(start, start + _BATCH)
            yield {"file": names[some], "feature": list(features[some])}, Signature.from_dict(about), len(names)


def _parquet(path: Path, columns: list[str] | None = None) -> Iterator[tuple[dict[str, list[Any]], dict[str, str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(path) as file, pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            kinds = [pa.list_(kind, FEATURE_DIM) for kind in (pa.float32(), pa.float16())]
            if "file" not in schema.names or "feature" not in schema.names or schema.field("feature").type not in kinds:
                raise OptionError(f"{path}: expected the columns file and feature, the latter of {FEATURE_DIM} floats")
            stored = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
            about = {key[6:]: name_of_text(value) for key, value in stored.items() if key.startswith("osnet.")}
            for batch in parquet.iter_batches(batch_size=_BATCH, columns=columns):
                table: dict[str, list[Any]] = {}
                for name, column in zip(batch.schema.names, batch.columns):
                    if name != "feature":
                        table[name] = column.to_pylist()
                        continue
                    if column.null_count:
                        raise DataError(f"{path}: a row without a feature; embed its picture again")
                    table[name] = list(np.asarray(column.flatten(), np.float32).reshape(-1, FEATURE_DIM))
                if table or columns == []:
                    yield table, about
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: not a Parquet file of features ({printable(error):.200})") from error


def _labels(table: Mapping[str, list[Any]], labels: str | None) -> dict[str, Any]:
    if labels is None:
        return {}
    names = [label(Path(name_of_text(name or "")), labels) for name in table["file"]]
    found: dict[str, Any] = {"identity": [who for who, _ in names]}
    if labels == "market":
        found["camera"] = [where for _, where in names]
    return found


def _rows(gallery: Gallery, table: Mapping[str, list[Any]], told: Mapping[str, Any], where: str) -> list[Row]:
    features = check_vectors(np.stack(table["feature"]), gallery.signature, where)
    count = len(features)
    columns = {name: values for name, values in table.items() if any(value is not None for value in values)}
    further = [name for name in columns if name not in _KNOWN]
    boxes = zip(*(columns.get(name, [None] * count) for name in _BOX))
    attributes = []
    for row in range(count):
        free = {name: _plain(columns[name][row]) for name in further if columns[name][row] is not None}
        if "attributes" in columns and columns["attributes"][row] is not None:
            free.update(_json(columns["attributes"][row], where))
        attributes.append({**(told.get("attributes") or {}), **free})
    try:
        entries = make_entries(
            [feature.tobytes() for feature in features],
            source=[name_of_text(name) if name else None for name in table["file"]],
            identity=columns.get("identity", columns.get("person", told.get("identity"))),
            camera=columns.get("camera", told.get("camera")),
            time=[_plain(value) for value in columns["time"]] if "time" in columns else told.get("time"),
            box=[None if None in box else box for box in boxes],
            attributes=attributes,
            added=time.time(),
        )
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from None
    thumbnails: list[bytes | None] = [None] * count
    size = gallery.about.thumbnails
    if size is not None and "thumbnail" in columns:
        thumbnails = [None if image is None else make_thumbnail(image, size) for image in columns["thumbnail"]]
    if "id" in columns:
        entries = [_kept(entry, columns, row, where) for row, entry in enumerate(entries)]
    return [Row(*parts) for parts in zip(entries, features, thumbnails)]


def _kept(entry: Entry, columns: Mapping[str, list[Any]], row: int, where: str) -> Entry:
    """`entry` with the id and the moment that it had in the gallery which was exported."""
    id = columns["id"][row]
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise DataError(f"{where}: expected an id of 32 hexadecimal digits in each row, got {id!r:.80}")
    added = columns["added"][row] if "added" in columns else None
    return Entry(**{**vars(entry), "id": id, "added": float(added) if isinstance(added, float) else entry.added})


def _json(text: Any, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{where}: expected attributes as a JSON object, got {text!r:.80}")
    return found


def _plain(value: Any) -> Any:
    """Times of Parquet have a type of their own, with or without a zone; without one it is UTC."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.timezone.utc).timestamp()
    return value


def rebuild_gallery(
    gallery: Gallery,
    out: PathLike,
    model: Any,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    **options: Any,
) -> Added:
    """Make a gallery with features of another model from the thumbnails of `gallery`. Entries keep their ids.

    Args:
        gallery: with thumbnails.
        out: path of the new gallery, which must not exist. It appears whole at the end.
        model, **options: as for `Gallery.create`.
        progress: called with entries done and all entries.

    Returns:
        Entries of `gallery`, and how many of them are in the new one: those that have a thumbnail.

    Raises:
        GalleryError: `gallery` keeps no thumbnails.
        ExistsError, DiskError: as `osnet.files.atomic_file`.
    """
    size = gallery.about.thumbnails
    if size is None:
        raise GalleryError(
            f"{gallery.where}: keeps no thumbnails to embed anew; create a gallery and add the pictures again"
        )
    read, new, total = 0, 0, len(gallery)
    with atomic_file(out, overwrite=False) as private:
        private.unlink()
        with Gallery.create(private, model, thumbnails=size, **options) as other:
            for rows in _batches(gallery._store.rows(make_filter())):
                kept = [row for row in rows if row.thumbnail is not None]
                if kept:
                    features, _ = other._model.embed([_decoded(row) for row in kept])
                    new += other._store.add([row._replace(feature=one) for row, one in zip(kept, features)])
                read += len(rows)
                if progress:
                    progress(read, total)
    return Added(read, new)


def _decoded(row: Row) -> Any:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(row.thumbnail or b""), formats=["JPEG"]) as image:
        return image.convert("RGB")

"""Tables of images (``.csv``, ``.parquet``) as a stream of rows: the column ``path``, a box, and further columns."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osnet.errors import DataError, OsnetError
from osnet.escaping import name_of_text, text_of_name
from osnet.locations import Location, join, open_file

if TYPE_CHECKING:
    import pyarrow as pa

PATH, FILE, FEATURE = "path", "file", "feature"
BOX = ("x1", "y1", "x2", "y2")
HIDDEN = "_osnet."
TAR, OFFSET, SIZE = (f"{HIDDEN}{name}" for name in ("tar", "offset", "size"))
"""Columns of rows on their way: the tar file that an image is in, and where; null for a file of its own. For a video,
the offset is the number of the frame."""

_AT_ONCE = 4096


@dataclass(frozen=True)
class Table:
    """A table that is open.

    Attributes:
        schema: of its rows, with ``file`` in the place of ``path``.
        rows: gives them, some thousands at a time.
    """

    schema: pa.Schema
    rows: Callable[[], Iterator[pa.Table]]


def place_fields() -> list[pa.Field]:
    """The columns that say where in a tar file an image is."""
    import pyarrow as pa

    return [pa.field(TAR, pa.string()), pa.field(OFFSET, pa.int64()), pa.field(SIZE, pa.int64())]


@contextlib.contextmanager
def open_table(path: Location) -> Iterator[Table]:
    """Open the table at `path`; its paths are relative to its folder.

    Cells of a ``.csv`` stay texts, but for the box. Columns of a ``.parquet`` keep their types.

    Raises:
        DataError: not a table, columns that are missing, repeated, or named as the output names its own; a row without
            a path.
    """
    import pyarrow as pa

    with contextlib.ExitStack() as stack, _errors(path):
        schema, batches = (_parquet if path.suffix.lower() == ".parquet" else _csv)(path, stack)
        _check_columns(schema.names, path)
        columns = pa.schema([(FILE, pa.string()), *(field for field in schema if field.name != PATH)])

        def rows() -> Iterator[pa.Table]:
            first = 1
            with _errors(path):
                for batch in batches:
                    names = _names(batch.column(schema.names.index(PATH)), path, first)
                    rest = [batch.column(i) for i, name in enumerate(schema.names) if name != PATH]
                    yield pa.table([pa.array(names, pa.string()), *rest], schema=columns)
                    first += len(names)

        yield Table(columns, rows)


@contextlib.contextmanager
def _errors(path: Location) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OsnetError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(f"table {str(path)!r} cannot be read: {' '.join(reason.split()):.300}") from None


def _csv(path: Location, stack: contextlib.ExitStack) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    import pyarrow as pa

    csv: Any = importlib.import_module("pyarrow.csv")
    parse = csv.ParseOptions(newlines_in_values=True)
    names = csv.open_csv(_opened(path, stack), parse_options=parse).schema.names
    _check_columns([name.strip() for name in names], path)
    own = {PATH: pa.binary(), **dict.fromkeys(BOX, pa.float64())}  # names need not be UTF-8
    types = {name: own.get(name.strip(), pa.string()) for name in names}
    convert = csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False)
    reader = csv.open_csv(_opened(path, stack), parse_options=parse, convert_options=convert)
    return pa.schema([field.with_name(field.name.strip()) for field in reader.schema]), iter(reader)


def _parquet(path: Location, stack: contextlib.ExitStack) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(_opened(path, stack))
    return parquet.schema_arrow.remove_metadata(), parquet.iter_batches(batch_size=_AT_ONCE)


def _opened(path: Location, stack: contextlib.ExitStack) -> Any:
    file = stack.enter_context(open_file(path))
    if not isinstance(path, Path):
        return file
    # pyarrow's threads read ahead, also after an error. In a file of Python they would abort a process that ends.
    return stack.enter_context(importlib.import_module("pyarrow").OSFile(os.fsencode(path)))


def _check_columns(names: list[str], path: Location) -> None:
    table = f"table {str(path)!r}"
    has = f"it has {', '.join(names)}"
    if PATH not in names:
        raise DataError(f"{table} lacks the column {PATH}; {has}")
    boxes = [name for name in BOX if name in names]
    if boxes and len(boxes) < len(BOX):
        missing = [name for name in BOX if name not in names]
        raise DataError(f"{table} lacks {', '.join(missing)}; a box needs the columns {', '.join(BOX)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{table} has repeated columns: {', '.join(repeated)}")
    taken = [name for name in names if name in (FILE, FEATURE) or name.startswith(HIDDEN)]
    if taken:
        raise DataError(f"{table} has the column {taken[0]}, which the output uses for its own; rename it")


def _names(column: pa.Array, path: Location, first: int) -> list[str]:
    """The column of paths as the output names them."""
    names = []
    for number, cell in enumerate(column.to_pylist(), first):
        if not isinstance(cell, (str, bytes)) or not cell:
            raise DataError(f"table {str(path)!r}, row {number}: path is empty, or not a text")
        name = os.fsdecode(cell) if isinstance(cell, bytes) else cell
        names.append(text_of_name(join(str(path.parent), name_of_text(name))))
    return names

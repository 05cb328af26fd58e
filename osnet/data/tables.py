"""Read a csv or parquet table with the columns ``path``, ``person``, ``camera``, ``split``, ``tracklet``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from osnet.data.layouts import Image, divide, numbered
from osnet.data.records import SPLITS, DataSet
from osnet.errors import DataError
from osnet.escaping import name_of_text

COLUMNS = ("path", "person", "camera", "split", "tracklet")
REQUIRED = ("path", "person")


def read_table(file: Path, *, seed: int = 0, split: str | None = None) -> DataSet:
    """Read a table, one image in each row. Paths are relative to its folder; ``path`` and ``person`` are required.

    A path that is not UTF-8 may be written as it is in a csv, or as `osnet.escaping.text_of_name` writes it.
    People and cameras may be numbers or names. Without a ``split`` column all images go to `split`, or are divided
    between query and gallery by `seed`.

    Raises:
        DataError: not a table, a missing or unknown column, a cell that is empty or invalid.
    """
    name = "parquet" if file.suffix.lower() == ".parquet" else "csv"
    rows, columns = (_parquet if name == "parquet" else _csv)(file)
    missing = [column for column in REQUIRED if column not in columns]
    unknown = [column for column in columns if column not in COLUMNS]
    if missing or unknown or len(set(columns)) != len(columns):
        problem = f"lacks {', '.join(missing)}" if missing else f"has unknown or repeated columns: {', '.join(unknown)}"
        raise DataError(
            f"table {str(file)!r} {problem}. Known: {', '.join(COLUMNS)}; {', '.join(REQUIRED)} are required."
        )
    images, seen_by = [], []
    for number, row in enumerate(rows, 2):
        cells = {column: cell_text(row.get(column)) for column in COLUMNS}
        for column in (*REQUIRED, *(("split",) if "split" in columns else ())):
            if not cells[column]:
                raise DataError(f"table {str(file)!r}, row {number}: {column} is empty")
        if "split" in columns and cells["split"] not in SPLITS:
            raise DataError(
                f"table {str(file)!r}, row {number}: unknown split {cells['split']!r}. Known: {', '.join(SPLITS)}."
            )
        seen_by.append(cells["camera"])
        path = file.parent / name_of_text(cells["path"])
        images.append(Image(path, cells["person"], None, cells["split"] or split, cells["tracklet"] or None))
    cameras = iter(numbered([camera for camera in seen_by if camera])[0])
    images = [image._replace(camera=next(cameras) if camera else None) for image, camera in zip(images, seen_by)]
    people, names = numbered([image.person for image in images])
    return DataSet(name, file, *divide(images, people, seed), person_names=names)


def cell_text(cell: Any) -> str:
    """A cell as text; integers that a table stores as floats (a column with gaps) lose their point."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()


def _csv(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        with open(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
            reader = csv.DictReader(lines, strict=True)
            rows = list(reader)
            columns = [column.strip() for column in reader.fieldnames or []]
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read table {str(file)!r}: {error}") from error
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataError(f"table {str(file)!r}, row {number}: expected {len(columns)} cells")
    return [dict(zip(columns, row.values())) for row in rows], columns


def _parquet(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        read: Any = pyarrow.parquet.read_table
        table = read(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read table {str(file)!r}: {' '.join(str(error).split())}") from error
    return table.to_pylist(), table.column_names

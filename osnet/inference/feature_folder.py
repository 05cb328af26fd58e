"""A folder of features: ``part-00000000.parquet`` and so on, ``manifest.json``, and ``failed.parquet``.

Each part holds the features of the rows with consecutive numbers, and in its metadata what they were made with, the
SHA-256 of the rows that it was made from, and the rows whose image could not be read. A part appears whole or not at
all. What is in the folder follows from the parts alone, so processes that share no more than it can fill it together.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osnet.errors import DataError, DiskError, ExistsError, StoreError
from osnet.escaping import name_of_text, printable
from osnet.files import is_private
from osnet.locations import Location, make_folder, names_in, open_file, remove, whole_file, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST, FAILED = "manifest.json", "failed.parquet"
STORES = ("float32", "float16")
PART_SIZE = 10_000
MAX_PART_SIZE = 25_000
"""Rows of a part; one of the largest has 51 MB and is held in memory."""

_FORMAT = "osnet features 1"
_PART = re.compile(r"part-(\d{8})\.parquet")
_MAX_MANIFEST = 1 << 20
_ABANDONED = 3600.0
"""Seconds after which a private file that nobody has written to was left by a process that was killed."""


@dataclass(frozen=True)
class Failure:
    """A row whose image could not be read: its number among all rows, its file and the reason."""

    row: int
    file: str
    reason: str


@dataclass(frozen=True)
class Part:
    """What a part holds: SHA-256 of its rows as text, number of features, failures, what it was made with."""

    inputs: str
    features: int
    failures: tuple[Failure, ...]
    made_with: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """How the parts of a folder are made.

    Attributes:
        made_with: signature of the features, and where they came from.
        part_size: rows of a part, but for the last.
        store: ``float32`` or ``float16``.
        parts: number of all parts; None until a process has come to the end of the inputs.
    """

    made_with: Mapping[str, str]
    part_size: int
    store: str
    parts: int | None = None

    def text(self) -> bytes:
        """As the file holds it."""
        fields = {"format": _FORMAT, **vars(self), "made_with": dict(self.made_with)}
        return json.dumps(fields, indent=2).encode() + b"\n"


def part_name(number: int) -> str:
    """Name of the part with this number."""
    return f"part-{number:08d}.parquet"


def read_manifest(folder: Location) -> Manifest | None:
    """The manifest in `folder`; None where there is none.

    Raises:
        DataError: it was not written by `osnet embed`.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        with open_file(path) as file:
            found = json.loads(file.read(_MAX_MANIFEST))
        if found.pop("format") != _FORMAT:
            raise ValueError("of another format")
        manifest = Manifest(**found)
        sizes = [manifest.part_size, *([] if manifest.parts is None else [manifest.parts])]
        if manifest.store not in STORES or any(type(size) is not int or size < 1 for size in sizes):
            raise ValueError("makes no sense")
        texts = {str(key): str(value) for key, value in manifest.made_with.items()}
    except StoreError:
        raise
    except Exception as error:  # json and the classes raise many types
        raise DataError(
            f"{path}: not a manifest of osnet embed ({printable(error):.200}); use another folder"
        ) from error
    return Manifest(texts, manifest.part_size, manifest.store, manifest.parts)


def begin(folder: Location, wanted: Manifest) -> Manifest:
    """The manifest of `folder`, which is made, and is written to hold `wanted`, if it is new.

    Raises:
        DataError: the folder holds features that were made differently, or files of others.
        DiskError, StoreError: it cannot be written.
    """
    try:
        make_folder(folder)
        names = [name for name in names_in(folder) if not name.startswith(".")]
        for path in folder.iterdir() if isinstance(folder, Path) else ():
            with contextlib.suppress(FileNotFoundError):  # another process has published it
                if is_private(path) and time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise DiskError(f"{folder}: cannot be used ({reason}); expected a folder to write to") from None
    found = read_manifest(folder)
    if found is None and names:
        raise DataError(
            f"{folder}: has {names[0]} in it and no {MANIFEST}; expected a new or empty folder, or one that osnet "
            "embed has begun"
        )
    if found is None:
        with contextlib.suppress(ExistsError):  # another process was quicker
            write_whole(folder / MANIFEST, wanted.text(), overwrite=False)
        found = read_manifest(folder) or wanted
    before = {**signature_part(found.made_with), "part_size": found.part_size, "store": found.store}
    now = {**signature_part(wanted.made_with), "part_size": wanted.part_size, "store": wanted.store}
    check_same(before, now, str(folder))
    return found


def signature_part(made_with: Mapping[str, str]) -> dict[str, Any]:
    """`made_with` without what two parts may differ in: name of the file and backend."""
    return {key: value for key, value in made_with.items() if key not in ("source", "backend")}


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Check that features in `where` were made as those of `now`.

    Raises:
        DataError: they were not; the message names each difference.
    """
    different = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if different:
        shown = "; ".join(f"{key} {before.get(key)}, now {now.get(key)}" for key in different)
        raise DataError(f"{where}: holds features that were made differently ({shown}); use another folder")


def finish(folder: Location, manifest: Manifest, parts: int) -> None:
    """Note the number of all parts, and write `FAILED` from what the parts say.

    Several processes may do it at once: each writes what is there until nothing has come since, so the last one has
    all.

    Raises:
        DataError: the folder has more parts than that.
    """
    more = [number for number in part_numbers(folder) if number >= parts]
    if more or (manifest.parts is not None and manifest.parts != parts):
        before = manifest.parts or more[-1] + 1
        raise DataError(
            f"{folder}: was made from {before} parts of inputs, now there are {parts}: the inputs have changed; use "
            "another folder"
        )
    if manifest.parts is None:
        write_whole(folder / MANIFEST, Manifest(manifest.made_with, manifest.part_size, manifest.store, parts).text())
    numbers: list[int] | None = None
    while numbers != (numbers := part_numbers(folder)):
        _write_failed(folder, numbers)


def part_numbers(folder: Location) -> list[int]:
    """Numbers of the parts that are there."""
    return sorted(int(found[1]) for name in names_in(folder) if (found := _PART.fullmatch(name)))


def _write_failed(folder: Location, numbers: list[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("path", pa.string()), ("reason", pa.string()), ("row", pa.int64())])
    by_part = filter(None, (read_part(folder / part_name(number)).failures for number in numbers))
    first = next(by_part, None)
    if first is None:
        remove(folder / FAILED)
        return
    with whole_file(folder / FAILED) as private, pq.ParquetWriter(str(private), schema, compression="zstd") as out:
        for failures in itertools.chain([first], by_part):
            columns = zip(*((one.file, one.reason, one.row) for one in failures))
            out.write_table(pa.table(list(map(list, columns)), schema=schema))


def write_part(path: Location, rows: pa.Table, part: Part) -> None:
    """Write `rows` (``file``, ``feature`` and further columns) and what `part` says of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    failures = [[one.row, one.file, one.reason] for one in part.failures]
    about = {f"osnet.{key}": value for key, value in part.made_with.items()}
    own = {"part.inputs": part.inputs, "part.failures": json.dumps(failures)}
    plain = [name for name in rows.column_names if name != "feature"]
    with whole_file(path) as private, pa.OSFile(str(private), "wb") as file:
        pq.write_table(
            rows.replace_schema_metadata({**about, **own}), file, compression="zstd", use_dictionary=plain,
            write_statistics=plain,
        )  # fmt: skip


def read_part(path: Location) -> Part:
    """What the part at `path` says of itself; its features are not read.

    Raises:
        DataError: not a part that `write_part` wrote.
    """
    import pyarrow.parquet as pq

    try:
        with open_file(path) as file, pq.ParquetFile(file) as parquet:
            stored = {key.decode(): value.decode() for key, value in (parquet.schema_arrow.metadata or {}).items()}
            failures = tuple(Failure(*one) for one in json.loads(stored["part.failures"]))
            made_with = {key[6:]: name_of_text(value) for key, value in stored.items() if key.startswith("osnet.")}
            return Part(stored["part.inputs"], parquet.metadata.num_rows, failures, made_with)
    except StoreError:
        raise
    except Exception as error:  # pyarrow and json raise many types for bytes that make no sense
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, KeyError) else f"{error} is missing"
        raise DataError(
            f"{path}: not a part of osnet embed ({printable(reason):.200}); remove it and run the command again"
        ) from error


def whole_parts(folder: Location) -> Iterator[Location]:
    """The parts of `folder` in order.

    Raises:
        DataError: no folder of `osnet embed`, one that is not finished, or a part that was made differently.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: no {MANIFEST} in it; expected a folder that osnet embed wrote")
    there = part_numbers(folder)
    if manifest.parts is None or there != list(range(manifest.parts)):
        of = "" if manifest.parts is None else f" of {manifest.parts}"
        raise DataError(f"{folder}: not finished, {len(there)}{of} parts are there; run the same osnet embed again")
    for number in there:
        path = folder / part_name(number)
        check_same(signature_part(read_part(path).made_with), signature_part(manifest.made_with), str(path))
        yield path

"""Features on disk: ``.npz``, ``.parquet`` or ``.csv``, written as they come, published whole.

Each holds for every picture its name and its feature, and once: model, SHA-256 of the checkpoint, precision, whether
normalised and flip-averaged, and the version of this package. Whoever compares features of two files can see whether
they may be compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from osnet.errors import OptionError
from osnet.files import publishing
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = (".npz", ".parquet", ".csv")
_NAMES_AT_ONCE = 4096


class FeatureWriter(Protocol):
    """Takes batches of names and features."""

    def write(self, names: Sequence[str], features: NDArray[np.float32]) -> None:
        """`names` (B) and `features` float32 (B, 512) of a batch."""
        ...


def check_format(path: str | os.PathLike[str]) -> Path:
    """`path`, if features can be written there.

    Raises:
        OptionError: an unknown ending, or the folder is missing.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise OptionError(f"{target}: expected a name ending in one of {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise OptionError(f"{target}: the folder {target.parent} does not exist; make it first")
    if target.is_dir():
        raise OptionError(f"{target}: is a folder; expected the name of a file to write")
    return target


@contextlib.contextmanager
def feature_writer(path: str | os.PathLike[str], about: Mapping[str, str]) -> Iterator[FeatureWriter]:
    """A writer whose file appears at `path`, whole, when the block ends well, and not at all otherwise.

    Args:
        path: ends in ``.npz`` (arrays ``files`` (N) text and ``features`` float32 (N, 512), and one text array for each
            key of `about`), ``.parquet`` (columns ``file``, ``feature``; `about` in the schema's metadata) or ``.csv``
            (columns ``file``, ``f0`` to ``f511`` with 9 digits, which keep a float32 exactly; `about` in a first line
            that starts with ``#``).
        about: what the features were made with.

    Raises:
        OptionError: an unknown ending or missing folder.
        DiskError: the disk is full or refuses.
    """
    target = check_format(path)
    opener = {".npz": _npz, ".parquet": _parquet, ".csv": _csv}[target.suffix.lower()]
    with publishing(target) as private, opener(private, about) as writer:
        yield writer


@contextlib.contextmanager
def _npz(private: Path, about: Mapping[str, str]) -> Iterator[FeatureWriter]:
    # An array's header holds its length, which is known at the end only: so the rows wait in a file beside.
    with tempfile.TemporaryFile(dir=private.parent) as rows, tempfile.TemporaryFile(dir=private.parent) as names:
        writer = _Spool(rows, names)
        yield writer
        with zipfile.ZipFile(private, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("features.npy", "w", force_zip64=True) as member:
                _npy_header(member, "<f4", (writer.count, FEATURE_DIM))
                rows.seek(0)
                shutil.copyfileobj(rows, member, 1 << 20)
            width = max(writer.longest, 1)
            with archive.open("files.npy", "w", force_zip64=True) as member:
                _npy_header(member, f"<U{width}", (writer.count,))
                names.seek(0)
                for chunk in _chunks(names):
                    member.write(np.array(chunk, dtype=f"<U{width}").tobytes())
            for key, value in about.items():
                with archive.open(f"{key}.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(value), allow_pickle=False)


def _npy_header(member: IO[bytes], dtype: str, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})


def _chunks(names: IO[bytes]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for line in names:
        chunk.append(json.loads(line))
        if len(chunk) == _NAMES_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Spool:
    """Rows and names in files, so that memory does not grow with their number."""

    def __init__(self, rows: IO[bytes], names: IO[bytes]) -> None:
        self._rows, self._names = rows, names
        self.count = 0
        self.longest = 0

    def write(self, names: Sequence[str], features: NDArray[np.float32]) -> None:
        self._rows.write(np.ascontiguousarray(features, "<f4").tobytes())
        for name in names:
            self._names.write(json.dumps(name).encode() + b"\n")
            self.longest = max(self.longest, len(name))
        self.count += len(names)


@contextlib.contextmanager
def _parquet(private: Path, about: Mapping[str, str]) -> Iterator[FeatureWriter]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("file", pa.string()), ("feature", pa.list_(pa.float32(), FEATURE_DIM))],
        metadata={f"osnet.{key}": value for key, value in about.items()},
    )

    class Writer:
        def write(self, names: Sequence[str], features: NDArray[np.float32]) -> None:
            column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel(), pa.float32()), FEATURE_DIM)
            out.write_batch(pa.record_batch([pa.array(names, pa.string()), column], schema=schema))

    with pq.ParquetWriter(str(private), schema) as out:
        yield Writer()


@contextlib.contextmanager
def _csv(private: Path, about: Mapping[str, str]) -> Iterator[FeatureWriter]:
    class Writer:
        def write(self, names: Sequence[str], features: NDArray[np.float32]) -> None:
            for name, feature in zip(names, features):
                quoted = name.replace('"', '""')  # always in quotes: csv.writer leaves a lone carriage return bare
                file.write(f'"{quoted}",' + ",".join(f"{value:.9g}" for value in feature) + "\n")

    with open(private, "w", newline="", encoding="utf-8") as file:
        file.write("# " + json.dumps(dict(about)) + "\n")
        file.write(",".join(["file", *(f"f{i}" for i in range(FEATURE_DIM))]) + "\n")
        yield Writer()


def read_features(path: str | os.PathLike[str]) -> tuple[list[str], NDArray[np.float32], dict[str, str]]:
    """What `feature_writer` wrote: names (N), features float32 (N, 512), and what they were made with.

    Raises:
        OptionError: an unknown ending, or not such a file.
    """
    source = Path(path)
    reader = {".npz": _read_npz, ".parquet": _read_parquet, ".csv": _read_csv}.get(source.suffix.lower())
    if reader is None:
        raise OptionError(f"{source}: expected a name ending in one of {', '.join(FORMATS)}")
    try:
        return reader(source)
    except OSError as error:
        raise OptionError(f"{source}: cannot be read ({error.strerror or error})") from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise OptionError(f"{source}: not a feature file of this package ({error})") from error


def _read_npz(source: Path) -> tuple[list[str], NDArray[np.float32], dict[str, str]]:
    with np.load(source, allow_pickle=False) as archive:
        about = {key: str(archive[key]) for key in archive.files if key not in ("files", "features")}
        return [str(name) for name in archive["files"]], archive["features"], about


def _read_parquet(source: Path) -> tuple[list[str], NDArray[np.float32], dict[str, str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(source)
    stored: dict[bytes, bytes] = table.schema.metadata or {}
    about = {key.decode()[6:]: value.decode() for key, value in stored.items() if key.startswith(b"osnet.")}
    column = table["feature"].combine_chunks()
    features: NDArray[Any] = np.asarray(column.flatten(), np.float32).reshape(-1, FEATURE_DIM)
    return table["file"].to_pylist(), features, about


def _read_csv(source: Path) -> tuple[list[str], NDArray[np.float32], dict[str, str]]:
    import csv

    with open(source, newline="", encoding="utf-8") as file:
        about = json.loads(file.readline()[2:])
        rows = csv.reader(file)
        next(rows)
        names, values = [], []
        for row in rows:
            names.append(row[0])
            values.append(np.array(row[1:], np.float32))
    return names, np.stack(values) if values else np.empty((0, FEATURE_DIM), np.float32), about

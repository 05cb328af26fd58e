"""Features on disk: ``.npz``, ``.parquet`` or ``.csv``, written as they come, published whole.

Each holds for every picture its name and its feature, and once: model, SHA-256 of the checkpoint, precision, whether
normalised and flip-averaged, and the version of this package. Whoever compares features of two files can see whether
they may be compared.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, overload

import numpy as np

from osnet.errors import OptionError, StoreError
from osnet.escaping import cell_of_text, name_of_text, printable, text_of_cell, text_of_name
from osnet.files import atomic_file
from osnet.locations import Location, dataset_of, location, open_file
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = (".npz", ".parquet", ".csv")
_NAMES_AT_ONCE = 4096

_MOST_TIMES, _ALWAYS = 16, 64 << 20
"""A file that is read holds at most so many times its size, or so many bytes more, once unpacked."""


Features = tuple[list[str], "NDArray[np.float32]", dict[str, str]]
"""Names, features, and what they were made with."""


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
        raise OptionError(
            f"{target}: expected a name ending in one of {', '.join(FORMATS)}, or in / for a folder of parts"
        )
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
            that starts with ``#``). Names that are not UTF-8, and in ``.csv`` names that a spreadsheet would take for a
            formula, are escaped as `osnet.escaping` says; `read_features` gives them back.
        about: what the features were made with.

    Raises:
        OptionError: an unknown ending or missing folder.
        DiskError: the disk is full or refuses.
    """
    target = check_format(path)
    opener = {".npz": _npz, ".parquet": _parquet, ".csv": _csv}[target.suffix.lower()]
    valid = {key: text_of_name(value) for key, value in about.items()}
    with atomic_file(target) as private, opener(private, valid) as writer:
        yield _Named(writer)


class _Named:
    """Hands names on as text that UTF-8 can hold."""

    def __init__(self, writer: FeatureWriter) -> None:
        self._writer = writer

    def write(self, names: Sequence[str], features: NDArray[np.float32]) -> None:
        self._writer.write([text_of_name(name) for name in names], features)


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
                quoted = cell_of_text(name).replace(
                    '"', '""'
                )  # always in quotes: csv.writer leaves a lone carriage return bare
                file.write(f'"{quoted}",' + ",".join(f"{value:.9g}" for value in feature) + "\n")

    with open(private, "w", newline="", encoding="utf-8") as file:
        # No cell of this line may begin as a formula either, and a spreadsheet ends cells at "," or ";".
        first = re.sub(r"[,;](?=[=+\-@])", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(dict(about)))
        file.write(f"# {first}\n{','.join(_columns())}\n")
        yield Writer()


def _columns() -> list[str]:
    return ["file", *(f"f{i}" for i in range(FEATURE_DIM))]


@overload
def read_features(path: str | os.PathLike[str], *, lazy: Literal[False] = False) -> Features: ...
@overload
def read_features(path: str | os.PathLike[str], *, lazy: Literal[True]) -> Any: ...


def read_features(path: str | os.PathLike[str], *, lazy: bool = False) -> Features | Any:
    """Read a file of features, or a folder of parts.

    A damaged or hostile file is refused, and takes no more memory than some times its size: what it declares to hold is
    checked before it is read. (Of a ``.parquet``, that is what its footer declares.)

    Args:
        path: ``.npz``, ``.parquet`` or ``.csv``, or a folder, as `osnet embed` writes them; or the address of one in an
            object store (``s3://...``).
        lazy: of a folder or ``.parquet`` return a `pyarrow.dataset.Dataset`, which reads nothing yet, with all columns:
            ``file``, ``feature`` (512 numbers), and those that the table of images had.

    Returns:
        The names, float32 (N, 512) in the same order, and the settings as text (see `Signature.from_dict`).

    Raises:
        OptionError: an unknown ending, or not such a file.
        DataError: a folder that ``osnet embed`` did not write or has not finished, or a part of another checkpoint.
        StoreError: an object store does not answer, or refuses.
    """
    source = location(path)
    if source.is_dir():
        from osnet.inference.feature_folder import whole_parts

        parts = list(whole_parts(source))
        return _dataset(parts) if lazy else _joined([_read_file(part) for part in parts])
    if lazy:
        if source.suffix.lower() != ".parquet":
            raise OptionError(f"{source}: lazy=True reads a folder of parts or a .parquet file")
        return _dataset([source])
    return _read_file(source)


def _read_file(source: Location) -> Features:
    reader = {".npz": _read_npz, ".parquet": _read_parquet, ".csv": _read_csv}.get(source.suffix.lower())
    if reader is None:
        missing = "" if source.exists() else "no such file or folder; "
        raise OptionError(f"{source}: {missing}expected a name ending in one of {', '.join(FORMATS)}")
    try:
        with open_file(source) as file:
            names, features, about = reader(file)
        return [*map(name_of_text, names)], features, {key: name_of_text(value) for key, value in about.items()}
    except StoreError:
        raise
    except OSError as error:
        raise OptionError(f"{source}: cannot be read ({printable(error.strerror or error)})") from error
    except (
        Exception
    ) as error:  # zipfile, numpy, pyarrow, csv and json raise what they like for bytes that make no sense
        reason = f"{error}" if isinstance(error, (_BadFileError, csv.Error)) else f"{type(error).__name__}: {error}"
        raise OptionError(f"{source}: not a feature file of this package ({printable(reason):.300})") from error


def _joined(parts: list[Features]) -> Features:
    names = [name for part in parts for name in part[0]]
    features: NDArray[np.float32] = np.empty((len(names), FEATURE_DIM), np.float32)
    row = 0
    for place, (_, rows, _) in enumerate(parts):
        features[row : row + len(rows)] = rows
        row += len(rows)
        parts[place] = ([], rows[:0].copy(), parts[place][2])  # frees the rows
    return names, features, parts[0][2]


def _dataset(paths: list[Location]) -> Any:
    import pyarrow as pa

    try:
        return dataset_of(paths)
    except StoreError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise OptionError(f"{paths[0]}: not a feature file of this package ({printable(error):.300})") from error


class _BadFileError(Exception):
    """What is wrong with a file."""


def _check_size(declared: int, file: BinaryIO) -> None:
    """Names and features of a file that was compressed with reason are not much larger than the file."""
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    if declared > _MOST_TIMES * size + _ALWAYS:
        raise _BadFileError(f"{size:,} bytes that declare to hold {declared:,}")


def _read_npz(file: BinaryIO) -> Features:
    with zipfile.ZipFile(file) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()), file)
        arrays = {}
        for member in archive.infolist():
            if member.filename in arrays:
                raise _BadFileError(f"two arrays named {member.filename!r}")
            arrays[member.filename] = _read_npy(archive, member)
    features, names = arrays.pop("features.npy", None), arrays.pop("files.npy", None)
    if features is None or names is None:
        raise _BadFileError("expected the arrays files and features")
    if features.shape[1:] != (FEATURE_DIM,) or features.dtype.kind != "f" or features.dtype.itemsize != 4:
        raise _BadFileError(f"expected features float32 (N, {FEATURE_DIM}), got {features.dtype} {features.shape}")
    if names.dtype.kind != "U" or names.shape != features.shape[:1]:
        raise _BadFileError(f"expected {len(features)} names, got {names.dtype} {names.shape}")
    about = {}
    for key, array in arrays.items():
        if array.dtype.kind != "U" or array.shape:
            raise _BadFileError(f"expected a text for {key}, got {array.dtype} {array.shape}")
        about[key[: -len(".npy")]] = str(array[()])
    return names.tolist(), features.astype(np.float32), about


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """The array of `member`, if that has the size that the array's header declares."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack without a limit
        raise _BadFileError(f"{member.filename} is packed in way {member.compress_type}; expected stored or deflated")
    with archive.open(member) as data:
        if np.lib.format.read_magic(data) != (1, 0):
            raise _BadFileError(f"{member.filename} is not of version 1.0 of the npy format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(data)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "Uf" or fortran_order or not 0 <= size <= member.file_size:
            raise _BadFileError(f"{member.filename} declares to hold {dtype} {shape} in {member.file_size:,} bytes")
        raw = data.read(size)  # with a limit: what is packed may hold more than it declares
        if len(raw) != size or data.read(1):
            raise _BadFileError(f"{member.filename} has not the {size:,} bytes of {dtype} {shape}")
    return np.frombuffer(raw, dtype).reshape(shape)


def _read_parquet(file: BinaryIO) -> Features:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Names stay in a dictionary: a long one that each row points to would else be written out for each.
    with pq.ParquetFile(file, read_dictionary=["file"]) as parquet:
        footer, schema = parquet.metadata, parquet.schema_arrow
        kinds = [pa.list_(kind, FEATURE_DIM) for kind in (pa.float32(), pa.float16())]
        if schema.names[:2] != ["file", "feature"] or schema.field("feature").type not in kinds:
            raise _BadFileError(f"expected the columns file and feature, the latter of {FEATURE_DIM} floats")
        # Not by column: of damaged statistics pyarrow's `column` ends the process.
        unpacked = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
        _check_size(max(footer.num_rows * 4 * FEATURE_DIM, unpacked), file)
        table = parquet.read(columns=["file", "feature"])
    stored: dict[bytes, bytes] = table.schema.metadata or {}
    about = {key.decode()[6:]: value.decode() for key, value in stored.items() if key.startswith(b"osnet.")}
    if table["file"].null_count or table["feature"].null_count:
        raise _BadFileError("a row without a name or a feature")
    names: list[str] = []
    for chunk in table["file"].chunks:
        known = chunk.dictionary.to_pylist()
        names += [known[place] for place in chunk.indices.to_pylist()]
    column = table["feature"].combine_chunks()
    features: NDArray[Any] = np.asarray(column.flatten(), np.float32).reshape(len(names), FEATURE_DIM)
    return names, features, about


def _read_csv(file: BinaryIO) -> Features:
    lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
    first = lines.readline()
    about = json.loads(first[2:]) if first.startswith("# ") else None
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise _BadFileError("expected a first line that says what the features were made with")
    rows = csv.reader(lines, strict=True)
    if next(rows, None) != _columns():
        raise _BadFileError(f"expected the columns file, f0 to f{FEATURE_DIM - 1}")
    names: list[str] = []
    values: list[NDArray[np.float32]] = []
    for row in rows:
        if len(row) != 1 + FEATURE_DIM:
            raise _BadFileError(f"row {len(names) + 1} has {len(row)} cells; expected {1 + FEATURE_DIM}")
        names.append(text_of_cell(row[0]))
        values.append(np.array(row[1:], np.float32))
    return names, np.stack(values) if values else np.empty((0, FEATURE_DIM), np.float32), about

"""Where data is: a path of this machine, or an address in an object store (``s3://bucket/folder/name``).

This is the only home of the difference. Paths are handled by `osnet.files`, addresses by pyarrow's file systems.
An object appears whole or not at all: it is uploaded by one call, once all its bytes are known.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Union, cast

from osnet.errors import DiskError, OptionError, StoreError
from osnet.files import PathLike, atomic_file, open_regular

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
"""Those that pyarrow knows; ``s3`` is the one that is tested."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BUFFER = 1 << 20
"""Bytes that are asked for at once of an object that is read in small pieces."""


@dataclass(frozen=True)
class Remote:
    """An address in an object store: scheme, bucket (or account, or host), and key, which is taken as it is written.

    It has the few operations of `pathlib.Path` that folders of features need.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, name: str) -> Remote:
        return Remote(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> Remote:
        return Remote(self.scheme, self.bucket, posixpath.dirname(self.key))

    def exists(self) -> bool:
        """Whether it is an object, or the beginning of the names of some."""
        return bool(self._kind().name != "NotFound")

    def is_dir(self) -> bool:
        """Whether it is the beginning of the names of objects (a folder), and not an object."""
        return bool(self._kind().name == "Directory")

    def _kind(self) -> Any:
        with _errors(self, "read"):
            system, path = _system(self)
            return system.get_file_info(path).type


Location = Union[Path, Remote]


def is_address(text: str) -> bool:
    """Whether `text` begins like ``s3://``."""
    return _ADDRESS.match(text) is not None


def location(where: PathLike | Location) -> Location:
    """A text or path as a `Path`, or as a `Remote` if it is a text like ``s3://bucket/name``.

    Raises:
        OptionError: an address without a bucket, or of another kind.

    >>> location("s3://crops/2026/a.jpg").parent == location("s3://crops/2026/")
    True
    """
    if isinstance(where, (Path, Remote)):
        return where
    text = os.fspath(where)
    found = _ADDRESS.match(text)
    if not found:
        return Path(text)
    scheme = found[1].lower()
    bucket, _, key = text[found.end() :].partition("/")
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise OptionError(f"{text}: expected a path, or an address that begins with one of {known}")
    if not bucket:
        raise OptionError(f"{text}: names no bucket; expected {scheme}://BUCKET/NAME")
    return Remote(scheme, bucket, key.strip("/"))


def join(folder: str, name: str) -> str:
    """`name`, which is relative to `folder` unless it is a whole path or address, as seen from here."""
    if folder in ("", ".") or is_address(name):
        return name
    joined = os.path.join(folder, name)  # noqa: PTH118 - speed
    found = _ADDRESS.match(joined)
    if found and ".." in name:  # object stores know no parent folders
        return found[0] + posixpath.normpath(joined[found.end() :])
    return joined


def open_file(where: Location) -> io.BufferedReader:
    """The regular file or object at `where`, open for reading.

    Raises:
        OSError: as `osnet.files.open_regular`; FileNotFoundError for an object that is not there.
        StoreError: the object store does not answer, or refuses.
    """
    if isinstance(where, Path):
        return io.BufferedReader(cast(Any, open_regular(where)))
    with _errors(where, "read"):
        system, path = _system(where)
        return io.BufferedReader(_Object(system.open_input_file(path), where), _BUFFER)


def read_object(where: Remote, *, limit: int, offset: int = 0, size: int | None = None) -> bytes:
    """At most `limit` bytes of an object, or the `size` bytes at `offset` (fewer if it ends there), as one request.

    Raises:
        OSError, StoreError: as `open_file`; OSError also for more than `limit` bytes.
    """
    with _errors(where, "read"):
        system, path = _system(where)
        with system.open_input_file(path) as file:
            length = file.size()
            wanted = length if size is None else max(0, min(size, length - offset))
            if wanted > limit:
                raise OSError(errno.EFBIG, f"it has {wanted:,} bytes, over {limit:,}", str(where))
            return cast(bytes, file.read_at(wanted, offset)) if wanted else b""


@contextlib.contextmanager
def whole_file(where: Location, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a private, empty file to be written, which appears at `where` when the block ends well.

    Under a path this is `osnet.files.atomic_file`. To an object store, the file is uploaded by a single call at the
    end. A process that is killed meanwhile leaves no object, at most an unfinished multipart upload.

    Args:
        where: path or address.
        overwrite: for paths only: whether a file that is there may be replaced. Object stores always replace.

    Raises:
        ExistsError, DiskError: as `osnet.files.atomic_file`.
        StoreError: the object store does not answer, or refuses; nothing was written.
    """
    if isinstance(where, Path):
        with atomic_file(where, overwrite=overwrite) as private:
            yield private
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="osnet-")
    except OSError as error:
        raise DiskError(
            f"cannot write {where}: no temporary file can be made ({error.strerror or error}); set TMPDIR to a folder "
            "with room to write in"
        ) from error
    with folder as name:
        private = Path(name) / "object"
        try:
            private.touch()
            yield private
            data = private.read_bytes()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskError(f"cannot write {where}: {error.strerror}; set TMPDIR to a folder with more room") from error
        _upload(where, data)


def write_whole(where: Location, data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to `where`; see `whole_file`."""
    with whole_file(where, overwrite=overwrite) as private:
        private.write_bytes(data)


def _upload(where: Remote, data: bytes) -> None:
    def upload() -> None:
        with _errors(where, "written"):
            system, path = _system(where)
            stream = system.open_output_stream(path)
            stream.write(data)
            stream.close()

    # A stream that is closed, or forgotten, halfway publishes what it was given. Ctrl-C cannot get between these calls
    # in a thread, and after an upload that failed pyarrow publishes nothing.
    with ThreadPoolExecutor(1, thread_name_prefix="osnet-upload") as thread:
        thread.submit(upload).result()


def make_folder(where: Location) -> None:
    """Make the folder `where`, and those that it is in, if they are not there; in an object store, check that its
    bucket can be read.

    Raises:
        OSError, StoreError: it cannot be made, or is not a folder.
    """
    if isinstance(where, Path):
        where.mkdir(parents=True, exist_ok=True)
    else:
        names_in(where)


def names_in(where: Location) -> list[str]:
    """Names of the files and folders in the folder `where`; of an object store none where there is no such folder.

    Raises:
        OSError, StoreError: it cannot be listed.
    """
    if isinstance(where, Path):
        return [path.name for path in where.iterdir()]
    with contextlib.suppress(FileNotFoundError):
        return [name for _, folders, names in walk(where, deep=False) for name in (*folders, *names)]
    return []


def walk(where: Remote, *, deep: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield address, names of folders and names of files of each folder, as `os.walk` does, by one listing each.

    Raises:
        FileNotFoundError: there is no such folder.
        StoreError: it cannot be listed.
    """
    with _errors(where, "listed"):
        system, path = _system(where)
        found = system.get_file_info(_fs().FileSelector(path))
    folders = [one.base_name for one in found if not one.is_file]
    yield str(where), folders, [one.base_name for one in found if one.is_file]
    for name in folders if deep else ():
        yield from walk(where / name)


def remove(where: Location) -> None:
    """Remove the file `where`, if it is there.

    Raises:
        OSError, StoreError: it cannot be removed.
    """
    if isinstance(where, Path):
        where.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError), _errors(where, "removed"):
        system, path = _system(where)
        system.delete_file(path)


def dataset_of(parts: list[Location]) -> Any:
    """The Parquet files `parts`, all of one place, as a `pyarrow.dataset.Dataset`.

    Raises:
        OSError, pyarrow.ArrowException: as pyarrow raises them.
    """
    import pyarrow.dataset

    if isinstance(parts[0], Path):
        return pyarrow.dataset.dataset([str(path) for path in parts], format="parquet")
    with _errors(parts[0], "read"):
        systems = [_system(cast(Remote, part)) for part in parts]
        return pyarrow.dataset.dataset([path for _, path in systems], filesystem=systems[0][0], format="parquet")


def _system(where: Remote) -> tuple[Any, str]:
    """pyarrow's file system for `where`, and the path in it."""
    system, root = _system_of(where.scheme, where.bucket)
    return system, f"{root}/{where.key}" if where.key else root


def _fs() -> Any:
    return importlib.import_module("pyarrow.fs")


@lru_cache(maxsize=64)
def _system_of(scheme: str, bucket: str) -> tuple[Any, str]:
    system, root = _fs().FileSystem.from_uri(f"{scheme}://{bucket}/")
    return system, root.rstrip("/")


class _Object(io.RawIOBase):
    """An object as a raw file: each read is a request of its own, and an error names the object."""

    def __init__(self, file: Any, where: Remote) -> None:
        self._file, self._where = file, where
        self._size: int = file.size()
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._place))
        if wanted:
            with _errors(self._where, "read"):
                data = self._file.read_at(wanted, self._place)
            buffer[: len(data)] = data
            self._place += len(data)
            return len(data)
        return 0


_REASON = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during (\w+) operation: ?(.*)", re.DOTALL)
_NEXT = {
    "NO_SUCH_BUCKET": "there is no such bucket; check its name and AWS_ENDPOINT_URL",
    "ACCESS_DENIED": "access is denied; expected credentials that allow it, in AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (who may not list a bucket is also denied what is not in it)",
    "NETWORK_CONNECTION": "the store does not answer; check the network and AWS_ENDPOINT_URL, then run the same "
    "command again",
}


@contextlib.contextmanager
def _errors(where: Remote, done: str) -> Iterator[None]:
    """Raise what pyarrow raises as a FileNotFoundError, or as a `StoreError` of one line."""
    import pyarrow as pa

    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", str(where)) from error
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise
        text = " ".join(str(error).split())
        found = _REASON.search(text)
        if found:
            kind = "ACCESS_DENIED" if found[2] in ("401", "403") else found[1]
            said = re.split(r" \(Request ID|; Details", found[4])[0]
            text = f"{_NEXT.get(kind, 'the store failed; run the same command again')}; {found[3]}: {said}"
        raise StoreError(f"{where}: cannot be {done}: {text:.600}") from error

"""Atomic writes, and reading one regular file whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Union

from osnet.errors import CheckpointError, DiskError, ExistsError, OsnetError

PathLike = Union[str, "os.PathLike[str]"]

MAX_BYTES = 2 << 30
"""Default cap on a file that is read whole; the largest published OSNet has 31 MB."""


def read_whole(path: PathLike, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Every byte of the regular file at `path`.

    A FIFO, device or folder is refused without waiting for it, and what is checked is what is read: the file is
    opened once. Links are followed.

    Raises:
        CheckpointError: no such file, not a regular file, not readable, empty, or larger than `max_bytes`.
    """
    try:
        file = open_regular(path)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CheckpointError(f"cannot open {os.fspath(path)!r}: {reason}; expected a readable file") from error
    with file:
        state = os.fstat(file.fileno())
        if state.st_size > max_bytes:
            raise CheckpointError(
                f"{os.fspath(path)!r} has {state.st_size:,} bytes, more than the {max_bytes:,} that are read whole"
            )
        try:
            data = file.read(state.st_size)
        except OSError as error:
            raise CheckpointError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    if not data:
        raise CheckpointError(f"{os.fspath(path)!r} is empty; fetch or write it again")
    if len(data) != state.st_size:
        raise CheckpointError(
            f"{os.fspath(path)!r} shrank while it was read: expected {state.st_size:,} bytes, got {len(data):,}"
        )
    return data


def open_regular(path: PathLike) -> BinaryIO:
    """The regular file at `path`, open for reading, unbuffered; links are followed.

    Raises:
        OSError: it cannot be opened, or is a FIFO, device or folder: refused without waiting for it.
        ValueError: the path holds NUL.
    """
    # A FIFO without a writer would block an ordinary open for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            what = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
            raise OSError(errno.EINVAL, f"it is {what}", os.fspath(path))
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def atomic_file(path: PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a private, empty file beside `path` to be written; when the block ends well, fsync and rename it to `path`.

    Whoever opens `path` sees the old file or the whole new one. The mode follows the umask. When the block raises,
    or is killed by Ctrl-C, nothing is left.

    Raises:
        ExistsError: `path` is there and `overwrite` is false, also if another process created it meanwhile.
        DiskError: the folder is missing or not writable, or the disk is full.
    """
    final = Path(path)
    private = final.parent / f".{secrets.token_hex(8)}.part"
    try:
        os.close(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise _disk_error(final, error) from error
    try:
        yield private
        with open(private, "rb+", buffering=0) as file:
            os.fsync(file.fileno())
        _rename(private, final, overwrite)
    except OSError as error:
        if isinstance(error, OsnetError):
            raise
        if error.errno in _OF_THE_DISK or error.filename in (str(private), str(final)):
            raise _disk_error(final, error) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            private.unlink()
    sync_folder(final.parent)


def is_private(path: Path) -> bool:
    """Whether `path` is a file that a killed `atomic_file` left, by its name and kind."""
    return _PRIVATE.fullmatch(path.name) is not None and stat.S_ISREG(path.lstat().st_mode)


_PRIVATE = re.compile(r"\.[0-9a-f]{16}\.part")
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def _disk_error(final: Path, error: OSError) -> DiskError:
    return DiskError(f"cannot write {str(final)!r}: {error.strerror or error}; expected a folder with room to write in")


def atomic_write(path: PathLike, data: bytes | bytearray | memoryview, *, overwrite: bool = True) -> None:
    """Write `data` to `path` whole; see `atomic_file`.

    Raises:
        ExistsError, DiskError: as `atomic_file`.
    """
    with atomic_file(path, overwrite=overwrite) as private, open(private, "wb", buffering=0) as file:
        view = memoryview(data).cast("B")
        while view:
            view = view[file.write(view) :]


def _rename(private: Path, final: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(private, final)  # unlike rename, refuses a name that is taken
        except FileExistsError:
            raise _exists_error(final) from None
        except OSError:  # a file system without hard links
            refuse_existing(final)
        else:
            return
    private.replace(final)


def refuse_existing(path: Path) -> None:
    """Check that nothing exists at `path`.

    Raises:
        ExistsError: something does.
    """
    if os.path.lexists(path):
        raise _exists_error(path)


def _exists_error(path: Path) -> ExistsError:
    return ExistsError(f"{str(path)!r} exists; remove it or ask to overwrite it (--overwrite, overwrite=True)")


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""The cache folder: where a card's file belongs, what is there, and how a new file gets there whole.

The layout is mindspore_hub's: ``<cache>/<publisher>/<version>/<file name of the link>``. Beside the published files
are only private partial files (see `partial`) and, at the top, lock files; their names start with a dot and end in
``.part`` and ``.lock``, and a process that ends normally leaves none.

Nothing relies on a lock: each writer has a private file, the whole of it is hashed, and a rename publishes it. A lock
only avoids downloading twice.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from osnet.errors import CacheError, DiskError, LockError
from osnet.files import open_regular
from osnet.hub import catalog, urls
from osnet.hub.card import Card
from osnet.hub.settings import MAX_BYTES

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True)
class Content:
    """What a regular file holds: its SHA-256, its length, and the hashed bytes themselves when they were asked for."""

    sha256: str
    size: int
    data: bytes | None


def cache_path(cache: Path, card: Card) -> Path:
    """Where `card`'s checkpoint belongs.

    Raises:
        UrlError: the link names no usable file.
    """
    return cache / card.user_id.lower() / card.mindspore_version / urls.file_name(card.checkpoint.link)


def read(path: Path, *, keep: bool = False) -> Content | None:
    """Hash the regular file `path`; ``None`` when nothing is there.

    Args:
        path: links are followed.
        keep: return the hashed bytes as well.

    Raises:
        CacheError: a folder, FIFO or other special file, a dangling link, longer than `MAX_BYTES`, or not readable.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise CacheError(f"{path}: expected a file, got a link to nothing; remove the link") from None
        return None
    except OSError as error:
        raise CacheError(f"{path}: expected a readable file, got {error.strerror!r}; look at it or move it") from None
    with file:
        state = os.fstat(file.fileno())
        if state.st_size > MAX_BYTES:
            raise CacheError(f"{path}: expected at most {MAX_BYTES} bytes, got {state.st_size}; move it away")
        try:
            return hash_file(file, keep=keep)
        except OSError as error:
            raise CacheError(f"{path}: reading failed: {error.strerror}; check the disk") from None


def hash_file(file: BinaryIO, *, keep: bool = False) -> Content:
    """What the open `file` holds from its first byte on; with `keep`, the hashed bytes as well."""
    file.seek(0)
    if keep:
        data = file.read(os.fstat(file.fileno()).st_size)
        return Content(hashlib.sha256(data).hexdigest(), len(data), data)
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return Content(digest.hexdigest(), size, None)


class Search:
    """Looks for the file with one SHA-256, whatever its name, and hashes no file twice.

    Args:
        sha256: of the file that is looked for.
        keep: return the hashed bytes as well.
    """

    def __init__(self, sha256: str, *, keep: bool = False) -> None:
        self._sha256, self._keep = sha256, keep
        self._others: dict[tuple[int, ...], str] = {}

    def at(self, path: Path) -> tuple[Path, Content] | None:
        """The file `path`, if it is the one that is looked for. Errors as `read`."""
        stamp = _stamp(path)
        if stamp in self._others:
            return None
        content = read(path, keep=self._keep)
        if content is not None and content.sha256 == self._sha256:
            return path, content
        if content is not None:
            self._others[stamp] = content.sha256
        return None

    def among(self, paths: Iterable[Path]) -> tuple[Path, Content] | None:
        """The first of `paths` that is the file; those that cannot be read are passed over."""
        for path in paths:
            with contextlib.suppress(CacheError):
                found = self.at(path)
                if found is not None:
                    return found
        return None

    def other_at(self, path: Path) -> str | None:
        """The SHA-256 of the file `path`, where it was found to be another file."""
        return self._others.get(_stamp(path))


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when the file `path` does; empty without a file."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return ()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def published(cache: Path, sha256: str) -> list[Path]:
    """Where published cards put the file with this SHA-256."""
    return [cache_path(cache, card) for card in catalog.list_cards() if card.checkpoint.sha256 == sha256]


def files(cache: Path) -> Iterator[Path]:
    """Every regular file in the cache that may be a checkpoint, by name; no links, no partial or lock files."""
    for folder, folders, names in os.walk(cache):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and not name.endswith((".md", ".py", ".lock")):
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(path.lstat().st_mode):
                        yield path


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents.

    Raises:
        CacheError: it cannot be created; the message names the setting.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(folder, error)


def refuse(path: Path, error: OSError, needed: int | None = None) -> NoReturn:
    """Raise what an `error` at `path` means: DiskError for a full disk, else CacheError naming the setting."""
    if error.errno in _FULL:
        amount = "more" if needed is None else needed
        raise DiskError(
            f"{path}: {error.strerror}: {amount} bytes needed, {free_bytes(path)} free; "
            "make room, or set OSNET_CACHE (or cache_dir) to a folder on another disk"
        ) from error
    raise CacheError(
        f"{path}: the cache cannot be written: {error.strerror or error}; set OSNET_CACHE (or cache_dir) to a folder "
        "that can"
    ) from error


def free_bytes(path: Path) -> int:
    """Bytes free for this user on the disk that holds `path`."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


@contextlib.contextmanager
def lock(cache: Path, sha256: str, *, timeout: float) -> Iterator[None]:
    """Hold the lock for downloading these bytes; on a disk without locks, continue without one.

    Raises:
        LockError: another process held it for `timeout` seconds.
        CacheError: the lock file cannot be created.
    """
    import filelock

    path = cache / f".{sha256}.lock"
    held = filelock.FileLock(path, timeout=timeout, thread_local=False)
    try:
        try:
            held.acquire(timeout=min(timeout, 2.0))
        except filelock.Timeout:
            logger.warning("waiting for another process that downloads the same file (lock %s)", path)
            held.acquire(timeout=max(timeout - 2.0, 0))
    except filelock.Timeout:
        raise LockError(
            f"{path}: another process has held this lock for {timeout:g} s; end it, or remove the file if none runs"
        ) from None
    except (OSError, NotImplementedError) as error:
        # A disk without locks, or the lock file of another user: both only cost a second download.
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS and not path.exists():
            refuse(path, error)
        logger.warning("the lock %s cannot be taken (%s): continuing without it", path, error)
    try:
        yield
    finally:
        # Whoever still waits on this very file finds the published file when its turn comes.
        if held.is_locked:
            with contextlib.suppress(OSError):
                path.unlink()
        held.release()

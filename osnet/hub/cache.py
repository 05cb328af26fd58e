"""The cache folder: where a card's file belongs, what is there, and how a new file gets there whole.

The layout is mindspore_hub's: ``<cache>/<publisher>/<version>/<file name of the link>``. Beside the published files
stand only private partial files and, at the top, lock files; their names start with a dot and end in ``.part`` and
``.lock``, and a process that ends cleanly leaves none.

Nothing here trusts a lock: each writer has a private file, the whole of it is hashed, and a rename publishes it. A lock
only saves downloading twice.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from osnet.errors import CacheError, DiskError, LockError
from osnet.files import sync_folder
from osnet.hub import catalog, urls
from osnet.hub.card import Card

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
_PARTIAL = re.compile(r"\.([0-9a-f]{16})-[0-9a-f]{16}\.part")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Content:
    """What a regular file holds: its SHA-256, its length, and the hashed bytes themselves when they were asked for."""

    sha256: str
    size: int
    data: bytes | None


def place(cache: Path, card: Card) -> Path:
    """Where `card`'s checkpoint belongs.

    Raises:
        UrlError: the link names no usable file.
    """
    return cache / card.user_id.lower() / card.mindspore_version / urls.file_name(card.checkpoint.link)


def read(path: Path, *, max_bytes: int, keep: bool = False) -> Content | None:
    """Hash the regular file `path`; ``None`` when nothing is there.

    Args:
        path: links are followed.
        max_bytes: a longer file is refused unread.
        keep: give the hashed bytes as well.

    Raises:
        CacheError: a folder, FIFO or other special file, a dangling link, too long, or not readable.
    """
    try:
        # A FIFO would block a plain open for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        if path.is_symlink():
            raise CacheError(f"{path}: expected a file, got a link to nothing; remove the link") from None
        return None
    except OSError as error:
        raise CacheError(f"{path}: expected a readable file in the cache: {error.strerror}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "a FIFO or other special file"
            raise CacheError(f"{path}: expected a file, got {kind}; move it away")
        if state.st_size > max_bytes:
            raise CacheError(f"{path}: expected at most {max_bytes} bytes, got {state.st_size}; move it away")
        try:
            if keep:
                data = file.read(state.st_size)
                return Content(hashlib.sha256(data).hexdigest(), len(data), data)
            digest, size = hashlib.sha256(), 0
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        except OSError as error:
            raise CacheError(f"{path}: reading failed: {error.strerror}; check the disk") from None
    return Content(digest.hexdigest(), size, None)


def find(cache: Path, sha256: str, *, max_bytes: int, keep: bool = False) -> tuple[Path, Content] | None:
    """A file with this SHA-256 anywhere in the cache, whatever its name.

    Where published cards put these bytes is looked at first; then every other file is hashed, which still costs less
    than downloading it.
    """
    known = [place(cache, card) for card in catalog.list_cards() if card.checkpoint.sha256 == sha256]
    seen = set()
    for path in (*known, *files(cache)):
        if path in seen:
            continue
        seen.add(path)
        try:
            content = read(path, max_bytes=max_bytes, keep=keep)
        except CacheError:
            continue
        if content is not None and content.sha256 == sha256:
            return path, content
    return None


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
        CacheError: it cannot be created or written to; the message names the setting.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(folder, error)
    if not os.access(folder, os.W_OK | os.X_OK):
        refuse(folder, PermissionError(errno.EACCES, "no permission to write"))


def refuse(path: Path, error: OSError, needed: int | None = None) -> NoReturn:
    """Raise what an `error` at `path` means: DiskError for a full disk, else CacheError naming the setting."""
    if error.errno in _FULL:
        raise DiskError(
            f"{path}: {error.strerror}: {needed if needed is not None else 'more'} bytes needed, {free(path)} free; "
            "make room, or set OSNET_CACHE (or cache_dir) to a folder on another disk"
        ) from error
    raise CacheError(
        f"{path}: the cache cannot be written: {error.strerror or error}; set OSNET_CACHE (or cache_dir) to a folder "
        "that can"
    ) from error


def free(path: Path) -> int:
    """Bytes free for this user on the disk that holds `path`."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


@contextlib.contextmanager
def lock(cache: Path, sha256: str, *, timeout: float) -> Iterator[None]:
    """Hold the lock for downloading these bytes; where the disk knows no locks, go on without.

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
    except NotImplementedError:
        logger.warning("no file locks at %s: going on without", cache)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            refuse(path, error)
    try:
        yield
    finally:
        # Whoever still waits on this very file finds the published file when its turn comes.
        if held.is_locked:
            with contextlib.suppress(OSError):
                path.unlink()
        held.release()


class Partial:
    """A private file in the folder of `final`, published there by a rename or removed.

    Attributes:
        size: bytes written so far.
        adopted: bytes that were taken over from a download that was killed.
    """

    def __init__(self, final: Path, sha256: str) -> None:
        self.final = final
        self.sha256 = sha256
        self.size = 0
        self.adopted = 0
        self.path = final.parent / f".{sha256[:16]}-{secrets.token_hex(8)}.part"
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Partial:
        make_folder(self.final.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.fdopen(os.open(self.path, flags, 0o666), "r+b", buffering=0)
            self._adopt()
        except OSError as error:
            self.__exit__()
            refuse(self.path, error)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        with contextlib.suppress(OSError):
            self.path.unlink()

    def write(self, data: bytes, expected: int | None = None) -> None:
        """Append `data`; `expected` is the whole length, for the message.

        Raises:
            DiskError, CacheError: the disk is full or refuses.
        """
        assert self._file is not None  # noqa: S101 - open between __enter__ and __exit__
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            refuse(self.path, error, expected)
        self._digest.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Forget every byte."""
        assert self._file is not None  # noqa: S101
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.size = self.adopted = 0

    def hexdigest(self) -> str:
        """SHA-256 of every byte so far."""
        return self._digest.hexdigest()

    def matches(self) -> bool:
        """The bytes so far are the published ones, whole."""
        return self.hexdigest() == self.sha256

    def head(self, count: int) -> bytes:
        """The first `count` bytes."""
        assert self._file is not None  # noqa: S101
        self._file.seek(0)
        data = self._file.read(count)
        self._file.seek(0, os.SEEK_END)
        return data

    def publish(self) -> None:
        """Give the file its name: fsync, rename, fsync of the folder. Then the orphans of these bytes go.

        Raises:
            DiskError, CacheError: the disk is full or refuses.
        """
        assert self._file is not None  # noqa: S101
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
            # Where locks do nothing, a process that published the same bytes may have cleared ours away.
            with contextlib.suppress(FileNotFoundError):
                self.path.replace(self.final)
        except OSError as error:
            refuse(self.final, error)
        sync_folder(self.final.parent)
        for path in self._orphans():
            with contextlib.suppress(OSError):
                path.unlink()

    def _adopt(self) -> None:
        """Go on where a killed download of the same bytes stopped.

        Its bytes are copied and hashed, never written to: where locks do nothing its owner may be alive.
        """
        orphans = sorted(self._orphans(), key=_size, reverse=True)
        for path in orphans[:1]:
            try:
                with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK), "rb") as source:
                    while chunk := source.read(CHUNK):
                        self.write(chunk)
            except (OSError, DiskError, CacheError):
                self.restart()
            self.adopted = self.size

    def _orphans(self) -> list[Path]:
        found = []
        with contextlib.suppress(OSError):
            for path in self.final.parent.iterdir():
                match = _PARTIAL.fullmatch(path.name)
                if match and match[1] == self.sha256[:16] and path != self.path and not path.is_symlink():
                    found.append(path)
        return found


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1

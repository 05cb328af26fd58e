"""A download while it goes on: a private file that is published whole by a rename, or removed.

What is published is hashed as it stands on the disk, through the descriptor that wrote it: another process may have
changed the file since. Its name says whose it is, ``.<16 digits of the SHA-256>-<host>-<process>-<random>.part``, so
that the next process can go on where a killed one stopped. Nobody ever touches the file of a process that may be alive;
no lock is trusted here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
import stat
from pathlib import Path
from typing import BinaryIO

from osnet.errors import CacheError
from osnet.files import sync_folder
from osnet.hub.cache import Content, hash_file, make_folder, refuse

_NAME = re.compile(r"\.(?P<sha256>[0-9a-f]{16})-(?P<host>[0-9a-f]{8})-(?P<process>[0-9]{1,10})-[0-9a-f]{16}\.part")
_ours: set[str] = set()


class Partial:
    """A private file in the folder of `final`, open inside ``with``; leaving it removes what was not published.

    Attributes:
        final: where the file will stand.
        sha256: of the published bytes.
        size: bytes so far; those taken over from a killed download of the same bytes included.
    """

    def __init__(self, final: Path, sha256: str, max_bytes: int) -> None:
        self.final = final
        self.sha256 = sha256
        self.size = 0
        self._max_bytes = max_bytes
        self.path = final.parent / f".{sha256[:16]}-{_host()}-{os.getpid()}-{secrets.token_hex(8)}.part"
        self._file: BinaryIO | None = None

    def __enter__(self) -> Partial:
        make_folder(self.final.parent)
        _ours.add(self.path.name)
        try:
            if not self._adopt():
                self._file = _open(self.path, os.O_CREAT | os.O_EXCL)
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
        _ours.discard(self.path.name)

    @property
    def file(self) -> BinaryIO:
        """The open file."""
        if self._file is None:
            raise ValueError(f"{self.path} is not open")
        return self._file

    def write(self, data: bytes, expected: int | None = None) -> None:
        """Append `data`; `expected` is the whole length, for the message.

        Raises:
            DiskError, CacheError: the disk is full or refuses.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self.file.write(view) :]
        except OSError as error:
            refuse(self.path, error, None if expected is None else expected - self.size)
        self.size += len(data)

    def restart(self) -> None:
        """Forget every byte."""
        self.file.seek(0)
        self.file.truncate()
        self.size = 0

    def read(self, *, keep: bool = False) -> Content:
        """What the disk holds now, safe from a power cut.

        Raises:
            DiskError, CacheError: the disk is full or refuses.
        """
        try:
            os.fsync(self.file.fileno())
            content = hash_file(self.file, keep=keep)
            self.file.seek(self.size)
        except OSError as error:
            refuse(self.path, error)
        return content

    def head(self, count: int) -> bytes:
        """The first `count` bytes."""
        self.file.seek(0)
        data = self.file.read(count)
        self.file.seek(self.size)
        return data

    def publish(self) -> None:
        """Give the file that `read` has just found right its name: rename, fsync of the folder.

        Raises:
            DiskError, CacheError: the disk refuses, or another file stands at the partial file's path.
        """
        try:
            if not os.path.samestat(os.fstat(self.file.fileno()), self.path.lstat()):
                raise OSError(errno.ESTALE, "another process has replaced the partial file")
            self.file.close()  # Windows renames no open file
            self._file = None
            self.path.replace(self.final)
        except OSError as error:
            refuse(self.final, error)
        sync_folder(self.final.parent)

    def _adopt(self) -> bool:
        """Take over the longest file that a killed download of the same bytes left; the other ones go.

        Only a file that nobody else can have a hand in: a regular file of this user, with one name, and no longer than
        a download may be. A rename decides between two processes that want the same one.
        """
        orphans = [path for path in partials(self.final.parent, self.sha256) if is_orphan(path)]
        for orphan in sorted(orphans, key=_size, reverse=True):
            with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
                file = opened.enter_context(_open(orphan, 0))
                state = os.fstat(file.fileno())
                if not _is_private(state):
                    continue
                if self._file is not None or state.st_size > self._max_bytes:
                    orphan.unlink()
                    continue
                orphan.replace(self.path)
                opened.pop_all()
                self._file, self.size = file, file.seek(0, os.SEEK_END)
        return self._file is not None


def store(final: Path, data: bytes, sha256: str, max_bytes: int, *, keep: bool = False) -> Content:
    """Put `data`, which came from another place of this machine, at `final` as a download would be.

    Raises:
        CacheError: what stands on the disk then has another SHA-256.
        DiskError, CacheError: the disk is full or refuses.
    """
    with Partial(final, sha256, max_bytes) as partial:
        partial.restart()
        partial.write(data, len(data))
        content = partial.read(keep=keep)
        if content.sha256 != sha256:
            raise CacheError(f"{final}: expected SHA-256 {sha256}, got {content.sha256}, once written; check the disk")
        partial.publish()
    return content


def partials(folder: Path, sha256: str = "") -> list[Path]:
    """The partial files in `folder`, of these bytes when `sha256` is given."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match and (not sha256 or match["sha256"] == sha256[:16]) and path.is_file() and not path.is_symlink():
                found.append(path)
    return found


def is_orphan(path: Path) -> bool:
    """The process that wrote the partial file `path` ran on this host and runs no more."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["host"] != _host() or path.name in _ours:
        return False
    process = int(match["process"])
    if process == os.getpid():
        return True
    if os.name == "nt":  # signal 0 is no question there
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _open(path: Path, flags: int) -> BinaryIO:
    flags |= os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    # The mode is cut by the umask, as that of any new file.
    return os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)


def _is_private(state: os.stat_result) -> bool:
    """A regular file of this user that has no other name."""
    ours = not hasattr(os, "geteuid") or state.st_uid == os.geteuid()
    return stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and ours


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1

"""A download in progress: a private file that is published whole by a rename, or removed.

What is published is hashed as it is on the disk, through the descriptor that wrote it: another process may have
changed the file since. Its name says whose it is, ``.<16 digits of the SHA-256>-<host>-<process>-<random>.part``, so
that the next process can go on where a killed one stopped. The file of a process that may be alive is never touched;
no lock is relied on here.
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
from osnet.hub.settings import MAX_BYTES

_NAME = re.compile(r"\.[0-9a-f]{16}-(?P<host>[0-9a-f]{8})-(?P<process>[0-9]{1,10})-[0-9a-f]{16}\.part")
_ours: set[str] = set()


class Partial:
    """A private file in the folder of `final`, open inside ``with``; leaving it removes what was not published.

    Attributes:
        final: path of the finished file.
        sha256: of the published bytes.
        size: bytes so far; those taken over from a killed download of the same bytes included.
    """

    def __init__(self, final: Path, sha256: str, *, keep: bool = False) -> None:
        self.final = final
        self.sha256 = sha256
        self.size = 0
        self._keep = keep
        self.path = final.parent / f".{sha256[:16]}-{_host()}-{os.getpid()}-{secrets.token_hex(8)}.part"

    def __enter__(self) -> Partial:
        make_folder(self.final.parent)
        _ours.add(self.path.name)
        try:
            self.file = self._adopt() or _open(self.path, os.O_CREAT | os.O_EXCL)
        except BaseException as error:
            self._remove()
            if isinstance(error, OSError):
                refuse(self.path, error)
            raise
        self.size = self.file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()
        _ours.discard(self.path.name)

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            DiskError, CacheError: the disk is full or refuses.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self.file.write(view) :]
        except OSError as error:
            refuse(self.path, error)
        self.size += len(data)

    def restart(self) -> None:
        """Forget every byte."""
        self.file.seek(0)
        self.file.truncate()
        self.size = 0

    def read(self) -> Content:
        """What the disk holds now, safe from a power cut.

        Raises:
            DiskError, CacheError: the disk is full or refuses.
        """
        try:
            os.fsync(self.file.fileno())
            content = hash_file(self.file, keep=self._keep)
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
            DiskError, CacheError: the disk refuses, or another file is at the partial file's path.
        """
        try:
            if not os.path.samestat(os.fstat(self.file.fileno()), self.path.lstat()):
                raise OSError(errno.ESTALE, "another process has replaced the partial file")
            self.file.close()  # Windows renames no open file
            self.path.replace(self.final)
        except OSError as error:
            refuse(self.final, error)
        sync_folder(self.final.parent)

    def _adopt(self) -> BinaryIO | None:
        """Take over a file that a killed download of the same bytes left, and remove any others.

        Only a file that nobody else can write to: a regular file of this user, with one name, and no longer than a
        download may be. A rename decides between two processes that find the same one.
        """
        adopted = None
        for orphan in filter(is_orphan, partials(self.final.parent, self.sha256)):
            with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
                file = opened.enter_context(_open(orphan, 0))
                state = os.fstat(file.fileno())
                ours = not hasattr(os, "geteuid") or state.st_uid == os.geteuid()
                if not ours or not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
                    continue
                if adopted is not None or state.st_size > MAX_BYTES:
                    orphan.unlink()
                    continue
                orphan.replace(self.path)
                opened.pop_all()
                adopted = file
        return adopted


def store(final: Path, data: bytes, sha256: str, *, keep: bool = False) -> Content:
    """Put `data`, which came from another place of this machine, at `final` as a download would be.

    Raises:
        CacheError: what is on the disk then has another SHA-256.
        DiskError, CacheError: the disk is full or refuses.
    """
    with Partial(final, sha256, keep=keep) as partial:
        partial.restart()
        partial.write(data)
        content = partial.read()
        if content.sha256 != sha256:
            raise CacheError(f"{final}: expected SHA-256 {sha256}, got {content.sha256}, once written; check the disk")
        partial.publish()
    return content


def partials(folder: Path, sha256: str = "", *, recursive: bool = False) -> list[Path]:
    """The partial files in `folder`, or also below it; only those of these bytes when `sha256` is given."""
    pattern = f".{sha256[:16]}*.part"
    found = folder.rglob(pattern) if recursive else folder.glob(pattern)
    with contextlib.suppress(OSError):
        return [path for path in found if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink()]
    return []


def is_orphan(path: Path) -> bool:
    """Whether the process that wrote the partial file `path` ran on this host and has ended."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["host"] != _host() or path.name in _ours:
        return False
    process = int(match["process"])
    if process == os.getpid():
        return True
    if os.name == "nt":  # where signal 0 would end the process
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # a process of another user, or no process number
        pass
    return False


def _open(path: Path, flags: int) -> BinaryIO:
    flags |= os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    # The mode is cut by the umask, as that of any new file.
    return os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

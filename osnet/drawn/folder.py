"""A folder that appears complete or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from osnet.errors import DiskError, OptionError, OsnetError
from osnet.files import PathLike, sync_folder


def free_folder(out: PathLike) -> Path:
    """Return the absolute path of `out`, which must not exist or be an empty folder.

    Raises:
        OptionError: it is a file, a folder that is not empty, or cannot be looked at.
    """
    final = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow the link that `out` may be
    try:
        if final.is_dir():
            if any(final.iterdir()):
                raise OptionError(f"{str(out)!r} is not empty; name a new folder, or empty this one")
        elif os.path.lexists(final):
            raise OptionError(f"{str(out)!r} is a file; name a folder that does not exist yet")
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{str(out)!r} cannot be used as a folder: {error}; name another one") from error
    return final


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give a private folder beside `final`, a result of `free_folder`; it becomes `final` when the block ends.

    Raises:
        OptionError: another process filled `final` meanwhile; its files are kept.
        DiskError: the system refused a file, here or in the block. Nothing is left, as after every other exception.
    """
    private = final.parent / f".{final.name}.{secrets.token_hex(6)}.part"  # beside it, so that a rename publishes it
    try:
        private.mkdir(parents=True)
        yield private
        _publish(private, final)
    except OSError as error:
        if isinstance(error, OsnetError):
            raise
        raise DiskError(
            f"cannot draw into {str(final)!r}: {error.strerror or error}; expected a folder with room to write in"
        ) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _publish(private: Path, final: Path) -> None:
    if os.name == "nt" and final.is_dir():
        final.rmdir()
    try:
        private.rename(final)  # replaces an empty folder, but not one that was filled meanwhile
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OptionError(f"{str(final)!r} was filled by another process meanwhile; name a new folder") from error
        raise
    sync_folder(final.parent)

"""The folder that mindspore_hub takes a model's code from: what is there, and our files in it.

Our ``mindspore_hub_conf.py`` imports the installed osnet, so that an upgrade is used at once. Without an installed
osnet (uninstalled since, or another Python) it imports the copy of the package beside it. mindspore_hub puts the folder
first on ``sys.path``; the copy is one folder deeper, so that it hides no installed package. The copy lists its files
with their SHA-256: whatever is not in that list, or was changed since, is the user's and is never replaced or removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path

from osnet._version import __version__
from osnet.errors import CacheError
from osnet.files import atomic_write, open_regular
from osnet.hub import cache

ENTRY = "mindspore_hub_conf.py"
STANDALONE = "standalone"

_LIST = ".osnet-copy"
_PRIVATE = re.compile(r"\.[0-9a-f]{16}\.osnet-part")
_MARK = "# Laid out by `osnet hub install`; `osnet hub remove` takes it away.\n"
_ENTRY_TEXT = (
    _MARK
    + '''\
"""Gives mindspore_hub create_network: of the installed osnet, else of the copy beside this file."""

import importlib.util
import sys
from pathlib import Path

_installed = importlib.util.find_spec("osnet")
if _installed is None or _installed.origin is None:  # no package, or only a folder of that name
    sys.path.append(str(Path(__file__).resolve().parent / "standalone"))

from osnet.mshub.entry import create_network  # noqa: E402

__all__ = ["create_network"]
'''
)


def kind_of(folder: Path) -> str:
    """``nothing`` (no folder), ``bare`` (no entry point), ``ours``, ``clone`` of our repository, or ``other``."""
    if not os.path.lexists(folder):
        return "nothing"
    entry = folder / ENTRY
    if entry.is_symlink():
        return "other"
    if folder.is_dir() and not os.path.lexists(entry):
        return "other" if folder.is_symlink() else "bare"
    if (folder / "hub_conf.py").is_file() and (folder / "osnet" / "variants.py").is_file():
        return "clone"
    with contextlib.suppress(OSError, ValueError), open_regular(entry) as file:
        if file.read(len(_MARK)).decode() == _MARK:
            return "ours"
    return "other"


def refuse_other_files(folder: Path) -> None:
    """Raise unless `lay` may write into `folder`.

    Raises:
        CacheError: `lay` would replace something that it did not put there.
    """
    if kind_of(folder) == "other":
        raise CacheError(
            f"{folder}: expected the folder of `osnet hub install`, a clone of osnet's repository or nothing, "
            "got something else; move it away"
        )
    if kind_of(folder) in ("nothing", "clone"):
        return
    copy = folder / STANDALONE
    for path in [copy] if copy.is_symlink() or copy.is_file() else _files(copy)[1]:
        raise CacheError(f"{path}: expected nothing, or what `osnet hub install` put there; move it away")


def lay(folder: Path) -> None:
    """Put our entry point and the copy of the package into `folder`, which `refuse_other_files` has passed.

    Nothing is put into a clone of the repository.

    Raises:
        CacheError, DiskError: it cannot be written.
    """
    if kind_of(folder) == "clone":
        return
    cache.make_folder(folder)
    package, standalone = Path(__file__).resolve().parents[1], folder / STANDALONE
    private = folder / f".{secrets.token_hex(8)}.osnet-part"
    new, listed = private / "new", []
    try:
        for source in sorted(package.rglob("*")):
            if source.suffix in (".py", ".md") and source.is_file():
                name, data = Path("osnet") / source.relative_to(package), source.read_bytes()
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(data)
                listed.append(f"{hashlib.sha256(data).hexdigest()}  {name.as_posix()}\n")
        (new / _LIST).write_text("".join(listed), encoding="utf-8")
        if standalone.exists():
            standalone.rename(private / "old")
        new.rename(standalone)
    except OSError as error:
        cache.refuse(folder, error)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    atomic_write(folder / ENTRY, _ENTRY_TEXT.encode())


def take(folder: Path) -> tuple[Path, ...]:
    """Remove what `lay` put into `folder`, and the folder if nothing else is in it; the paths that are gone.

    Raises:
        OSError: something cannot be removed.
    """
    if kind_of(folder) != "ours":
        return ()
    (folder / ENTRY).unlink()
    copy = folder / STANDALONE
    if not copy.is_symlink():
        for path in _files(copy)[0]:
            path.unlink()
        for below, _, _ in os.walk(copy, topdown=False):
            with contextlib.suppress(OSError):  # what others put into it stays
                Path(below).rmdir()
    for part in folder.iterdir():
        if _PRIVATE.fullmatch(part.name) and not part.is_symlink():  # left by an `install` that was killed
            shutil.rmtree(part)
    with contextlib.suppress(OSError):
        folder.rmdir()
    if not folder.exists():
        return (folder,)
    return (folder / ENTRY,) if os.path.lexists(copy) else (folder / ENTRY, copy)


def _files(copy: Path) -> tuple[list[Path], list[Path]]:
    """The files below `copy` that `lay` wrote, with what Python compiled from them; and the files that others did."""
    sums: dict[Path, str] = {}
    with contextlib.suppress(OSError, ValueError), open_regular(copy / _LIST) as file:
        for line in file.read().decode().splitlines():
            sha256, _, name = line.partition("  ")
            sums[copy / name] = sha256
    ours: list[Path] = []
    others: list[Path] = []
    for path in copy.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        source = path.parent.with_name(f"{path.name.partition('.')[0]}.py")
        compiled = path.parent.name == "__pycache__" and path.suffix == ".pyc" and source in sums
        mine = compiled or path == copy / _LIST or sha256_of(path) == sums.get(path, "none")
        (ours if mine and sums and not path.is_symlink() else others).append(path)
    return ours, others


def sha256_of(path: Path) -> str:
    """Of the regular file at `path`; empty when it cannot be read."""
    with contextlib.suppress(OSError), open_regular(path) as file:
        return cache.hash_file(file).sha256
    return ""


def describe(folder: Path) -> tuple[bool, str]:
    """Whether mindspore_hub gets an OSNet from `folder`, and what is there."""
    kind = kind_of(folder)
    if kind == "nothing":
        return False, "no folder: mindspore_hub would clone the model zoo, whose folder has no mindspore_hub_conf.py"
    if kind == "bare":
        return False, f"no {ENTRY}: mindspore_hub ends in a ValueError; osnet hub install adds it"
    if kind == "other":
        return False, f"{ENTRY} is neither of osnet hub install nor of a clone of osnet's repository"
    if kind == "clone":
        return True, "a clone of osnet's repository"
    if not (folder / STANDALONE / "osnet" / "mshub" / "entry.py").is_file():
        return False, "its copy of the package is not whole; osnet hub install lays it out again"
    return True, f"{ENTRY} gives create_network of the installed osnet ({__version__} here), else of the copy in it"

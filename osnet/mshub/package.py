"""The folder that mindspore_hub takes a model's code from: what stands there, and ours put there.

Our ``mindspore_hub_conf.py`` imports the installed osnet, so that an upgrade is seen. Where there is none (uninstalled
since, or another Python) it takes the copy of the package that stands beside it. mindspore_hub puts the folder first on
``sys.path``; the copy is one folder deeper, where it hides no installed package.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from osnet import __version__
from osnet.files import open_regular, publish
from osnet.hub import cache

ENTRY = "mindspore_hub_conf.py"
STANDALONE = "standalone"

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
    if folder.is_dir() and not os.path.lexists(entry):
        return "other" if folder.is_symlink() else "bare"
    if (folder / "hub_conf.py").is_file() and (folder / "osnet" / "variants.py").is_file():
        return "clone"
    with contextlib.suppress(OSError, ValueError), open_regular(entry) as file:
        if file.read(len(_MARK)).decode() == _MARK:
            return "ours"
    return "other"


def lay(folder: Path) -> None:
    """Put our entry point and the copy of the package into `folder`, unless a clone of the repository stands there.

    Raises:
        CacheError, DiskError: it cannot be written.
    """
    if kind_of(folder) == "clone":
        return
    cache.make_folder(folder)
    new, old, standalone = _private(folder), _private(folder), folder / STANDALONE
    package = Path(__file__).resolve().parents[1]
    try:
        for source in sorted(package.rglob("*")):
            if source.suffix in (".py", ".md") and source.is_file():
                target = new / "osnet" / source.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        with contextlib.suppress(FileNotFoundError):
            standalone.rename(old)
        new.rename(standalone)
    except OSError as error:
        cache.refuse(folder, error)
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
    publish(folder / ENTRY, _ENTRY_TEXT.encode())


def take(folder: Path) -> tuple[Path, ...]:
    """Remove what `lay` put into `folder`, and the folder if nothing else is in it; the paths that are gone.

    Raises:
        OSError: something cannot be removed.
    """
    if kind_of(folder) != "ours":
        return ()
    (folder / ENTRY).unlink()
    for part in (folder / STANDALONE, *folder.glob(_private(folder, "*").name)):
        if part.exists():
            shutil.rmtree(part)
    with contextlib.suppress(OSError):  # what others put into it stays
        folder.rmdir()
    return (folder / ENTRY, folder / STANDALONE) if folder.exists() else (folder,)


def _private(folder: Path, token: str = "") -> Path:
    return folder / f".{token or secrets.token_hex(8)}.osnet-part"


def describe(folder: Path) -> tuple[bool, str]:
    """Whether mindspore_hub gets an OSNet from `folder`, and what stands there."""
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

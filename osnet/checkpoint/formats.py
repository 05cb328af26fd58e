"""The format of a checkpoint, by its name and by its bytes."""

from __future__ import annotations

import re
from pathlib import PurePath

from osnet.checkpoint.torch import PICKLE_STARTS
from osnet.errors import WeightsError

SUFFIXES = {
    ".ckpt": "mindspore",
    ".pth.tar": "torch",
    ".pth": "torch",
    ".pt": "torch",
    ".safetensors": "safetensors",
}
"""Suffix to format; a longer suffix comes before a shorter one that also fits."""

_TITLES = {
    "mindspore": "a MindSpore checkpoint (.ckpt)",
    "torch": "a torch checkpoint (.pth, .pth.tar or .pt)",
    "safetensors": "a .safetensors file",
}


def known_format(name: str) -> str | None:
    """``mindspore``, ``torch`` or ``safetensors`` from the suffix of a file's name, None for another suffix.

    torchreid appends the epoch to its suffix: ``model.pth.tar-60``.
    """
    lower = re.sub(r"\.pth\.tar-\d+$", ".pth.tar", PurePath(name).name.lower())
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)


def format_of(name: str) -> str:
    """As `known_format`.

    Raises:
        WeightsError: another suffix; the message lists the known ones.
    """
    kind = known_format(name)
    if kind is not None:
        return kind
    if name.lower().endswith(".md"):
        raise WeightsError(
            f"{name!r} is a model card, not a checkpoint; fetch its checkpoint first: osnet fetch {name}"
        )
    raise WeightsError(f"{name!r} does not end like a checkpoint; expected one of {', '.join(SUFFIXES)}")


def check_content(data: bytes, name: str, kind: str) -> None:
    """Refuse bytes that are clearly not a file of `kind`, and say what they are.

    Raises:
        WeightsError: the file is of another format, a web page, a Git LFS pointer, a card, ...
    """
    found = _looks_like(data)
    if found is None or found == kind:
        return
    if found in _TITLES:
        suffix = next(suffix for suffix, of in SUFFIXES.items() if of == found)
        raise WeightsError(f"{name!r} is {_TITLES[found]} by its content; rename it to end in {suffix}")
    raise WeightsError(f"{name!r} looks like {found}; expected {_TITLES[kind]}")


def _looks_like(data: bytes) -> str | None:
    head = bytes(data[:512])
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file it points to (get it with `git lfs pull` or download it again)"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "a web page, not a checkpoint (the server sent an error or login page; download it again)"
    if text.startswith((b"---\n", b"---\r\n", b"# ")):
        return "a model card or other text (fetch the card's checkpoint with `osnet fetch`)"
    if head.startswith((b"PK\x03\x04", *PICKLE_STARTS)):
        return "torch"
    if re.match(rb"\x0a[\x80-\xff]{0,4}[\x00-\x7f]\x0a[\x01-\xff]", head):
        return "mindspore"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(data):
        return "safetensors"
    if head.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file (Keras or MATLAB)"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive (unpack it first)"
    if not head.strip(b"\0"):
        return "a file of zero bytes, as an interrupted download leaves"
    return None

"""A model card: what a hub publishes about one checkpoint, read as plain text and checked.

The format is mindspore_hub's: Markdown with YAML front matter under a heading. `assets.md` is one.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from osnet.errors import CardError, OptionError, UnknownModelError
from osnet.files import open_regular
from osnet.variants import parse_size
from osnet.yaml_files import MAX_BYTES, decode, kind, read_yaml

REQUIRED = (
    "model-name",
    "backbone-name",
    "module-type",
    "fine-tunable",
    "model-version",
    "train-dataset",
    "author",
    "update-time",
    "repo-link",
    "user-id",
    "used-for",
    "mindspore-version",
    "asset",
    "license",
    "summary",
)
"""Keys that a card must have; ``trained-on`` will do for ``train-dataset``, whose values mindspore_hub limits."""

INPUT_SIZE = "input-size"
"""Key, such as ``128x64``, that a card may have; without it the checkpoint was trained at 256x128."""

ASSET_KEYS = ("file-format", "asset-link", "asset-sha256")

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Asset:
    """One file of a card.

    Attributes:
        file_format: lower case, such as ``ckpt``.
        link: where it is published, without the angle brackets. An address only; the SHA-256 is the identity.
        sha256: 64 hexadecimal digits, lower case.
    """

    file_format: str
    link: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """What a card says; every value is the text as written.

    Attributes:
        name: the network, ``model-name``.
        uid: ``<user-id>/<mindspore-version>/<file name without .md>``, lower case.
        dataset: what it was trained on.
        evaluation: what the card claims, such as ``mAP67``; empty when it claims nothing.
        license: as written.
        repository: link of the code, without the angle brackets.
        assets: all files, in order.
        mindspore_version: such as ``1.10``.
        update_time: year-month-day, as written.
        user_id: the publisher.
        body: the Markdown below the front matter.
        entries: every front-matter key whose value is text, in order, as written.
        path: the file it was read from.
    """

    name: str
    uid: str
    dataset: str
    evaluation: str
    license: str
    repository: str
    assets: tuple[Asset, ...]
    mindspore_version: str
    update_time: str
    user_id: str
    body: str
    entries: tuple[tuple[str, str], ...]
    path: Path | None = None

    @property
    def fields(self) -> Mapping[str, str]:
        """Read-only: every front-matter key whose value is text, as written."""
        return MappingProxyType(dict(self.entries))

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width in pixels that the checkpoint was trained at; None where the card has no ``input-size``."""
        return parse_size(self.fields[INPUT_SIZE]) if INPUT_SIZE in self.fields else None

    @property
    def checkpoint(self) -> Asset:
        """The one file of format ``ckpt``."""
        return next(asset for asset in self.assets if asset.file_format == "ckpt")


def parse_card(data: bytes, *, path: str | os.PathLike[str] | None = None) -> Card:
    """Parse and check the card in `data`.

    Args:
        data: the file's bytes, at most 64 KiB of UTF-8.
        path: where it came from: named in errors, and its name is the last part of the uid.

    Raises:
        CardError: the text does not follow the hub's format; the message names the card, and the key or line.
    """
    name = str(path) if path is not None else "card"
    text, first_line, body = _split(decode(bytes(data), name, error=CardError), name)
    mapping = read_yaml(text, name, error=CardError, first_line=first_line, values_as_text=True)
    if not isinstance(mapping, dict):
        raise CardError(f"{name}: expected the front matter to be 'key: value' lines, got {kind(mapping)}")
    dataset_key = "trained-on" if "train-dataset" not in mapping and "trained-on" in mapping else "train-dataset"
    required = [dataset_key if key == "train-dataset" else key for key in REQUIRED]
    missing = [key for key in required if key not in mapping]
    if missing:
        raise CardError(f"{name}: missing key(s): {', '.join(missing)}")
    assets = _assets(mapping["asset"], name)
    entries = {}
    for key, value in mapping.items():
        if key == "asset":
            continue
        if not isinstance(value, str):
            raise CardError(f"{name}: expected text for the key {key!r}, got {kind(value)}")
        entries[key] = value
    for key in required:
        if key != "asset" and not entries[key].strip():
            raise CardError(f"{name}: the key {key!r} is empty")
    _check_values(entries, name)
    stem = Path(path).name if path is not None else entries["model-name"]
    stem = stem[:-3] if stem.lower().endswith(".md") else stem
    return Card(
        name=entries["model-name"],
        uid=f"{entries['user-id']}/{entries['mindspore-version']}/{stem}".lower(),
        dataset=entries[dataset_key],
        evaluation=entries.get("evaluation", ""),
        license=entries["license"],
        repository=_unbracket(entries["repo-link"]),
        assets=assets,
        mindspore_version=entries["mindspore-version"],
        update_time=entries["update-time"],
        user_id=entries["user-id"],
        body=body,
        entries=tuple(entries.items()),
        path=Path(path) if path is not None else None,
    )


def read_card(path: str | os.PathLike[str]) -> Card:
    """Read the card in the file `path`.

    Raises:
        UnknownModelError: there is no such file.
        CardError: it is not a regular file, cannot be read, or `parse_card` refuses it.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UnknownModelError(f"no card at {path}: expected a file; check the path") from None
    except (OSError, ValueError) as error:
        raise CardError(f"{path}: the card cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse_card(data, path=path)


def render_card(card: Card) -> bytes:
    """`card` as a file in the hub's format; `parse_card` reads it back as the same card."""
    entries = [f"{_scalar(key)}: {_scalar(value)}" for key, value in card.entries]
    assets = [
        f"-\n    file-format: {_scalar(asset.file_format)}\n"
        f"    asset-link: {_scalar(f'<{asset.link}>')}\n    asset-sha256: {_scalar(asset.sha256)}"
        for asset in card.assets
    ]
    place = [key for key, _ in card.entries].index("license")
    blocks = [f"# {card.name}", "---", *entries[:place], "asset:", *assets, *entries[place:], "---"]
    text = "\n\n".join([*blocks, card.body] if card.body else blocks)
    return (text + "\n").encode("utf-8", "backslashreplace")  # a data set's name may not be UTF-8


def _split(text: str, name: str) -> tuple[str, int, str]:
    """(front matter, the number of its first line, body) of a card's text.

    The front matter is between the first two lines that are ``---``; a heading may come before it, and later such
    lines are rules in the body.
    """
    lines = text.split("\n")
    marks = [number for number, line in enumerate(lines) if line.rstrip() == "---"][:2]
    if len(marks) < 2:
        raise CardError(f"{name}: expected front matter between two lines '---', got {len(marks)} such line(s)")
    first, last = marks
    return "\n".join(lines[first + 1 : last]) + "\n", first + 2, "\n".join(lines[last + 1 :]).strip("\n")


def _assets(node: Any, name: str) -> tuple[Asset, ...]:
    if not isinstance(node, list) or not node:
        raise CardError(f"{name}: expected the key 'asset' to be a list of files, got {kind(node)}")
    found = []
    for item in node:
        if not isinstance(item, dict):
            raise CardError(f"{name}: expected each entry of 'asset' to be a mapping, got {kind(item)}")
        for key in ASSET_KEYS:
            if not isinstance(item.get(key), str) or not item[key].strip():
                raise CardError(f"{name}: missing key in 'asset': expected text for {key!r}")
        unknown = [key for key in item if key not in ASSET_KEYS]
        if unknown:
            raise CardError(
                f"{name}: unknown key(s) in 'asset': {', '.join(unknown):.120}. Known: {', '.join(ASSET_KEYS)}"
            )
        sha256 = item["asset-sha256"].strip()
        if not _SHA256.fullmatch(sha256):
            raise CardError(f"{name}: expected 64 hexadecimal digits for 'asset-sha256', got {sha256!r:.80}")
        found.append(Asset(item["file-format"].strip().lower(), _unbracket(item["asset-link"]), sha256.lower()))
    count = sum(asset.file_format == "ckpt" for asset in found)
    if count != 1:
        raise CardError(f"{name}: expected one 'asset' whose 'file-format' is ckpt, got {count}")
    return tuple(found)


def _check_values(entries: Mapping[str, str], name: str) -> None:
    if not _FOLDER.fullmatch(entries["user-id"]):
        raise CardError(
            f"{name}: expected letters, digits, '.', '_' and '-' for 'user-id', got {entries['user-id']!r:.80}"
        )
    for key in ("mindspore-version", "model-version"):
        if not _VERSION.fullmatch(entries[key]):
            raise CardError(f"{name}: expected a version such as 1.10 for {key!r}, got {entries[key]!r:.80}")
    if INPUT_SIZE in entries:
        try:
            parse_size(entries[INPUT_SIZE], repr(INPUT_SIZE))
        except OptionError as error:
            raise CardError(f"{name}: {error}") from None
    try:
        datetime.datetime.strptime(entries["update-time"], "%Y-%m-%d")
    except ValueError:
        raise CardError(
            f"{name}: expected a date such as 2022-03-30 for 'update-time', got {entries['update-time']!r:.80}"
        ) from None


def _unbracket(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if text.startswith("<") and text.endswith(">") else text


_PLAIN = re.compile(r"[A-Za-z0-9<][A-Za-z0-9 _./<>()+,;%=~@-]*(:[A-Za-z0-9/_.<>()+,;%=~@-]+)*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n"}


def _scalar(text: str) -> str:
    """`text` as YAML: plain where nothing in it can be taken for syntax, else in double quotes."""
    if _PLAIN.fullmatch(text) and text == text.strip():
        return text
    quoted = (_ESCAPES.get(c) or (c if c.isprintable() and c.isascii() else f"\\U{ord(c):08x}") for c in text)
    return '"' + "".join(quoted) + '"'

"""What is in the cache: listing, checking and removing files."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osnet.errors import CacheError, CardError, UnknownModelError, UrlError
from osnet.hub import cache, catalog, partial
from osnet.hub.card import Card, read_card
from osnet.hub.settings import Limits, read_settings


class State(enum.Enum):
    """What is known of a cached file."""

    UNCHECKED = "unchecked"
    VALID = "valid"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    PARTIAL = "partial"


@dataclass(frozen=True)
class CachedFile:
    """One file in the cache.

    Attributes:
        path: where it stands.
        size: bytes.
        cards: uids of the cards that it belongs to: by its SHA-256 once that was checked, else by its place.
        sha256: empty when it was not read.
        state: ``VALID``: the bytes of a card; ``DAMAGED``: it stands where a card's file belongs and is not that, or
            cannot be read; ``UNKNOWN``: no card here knows it; ``PARTIAL``: a download that goes on or was killed.
        problem: what is wrong, for people; empty when nothing is.
    """

    path: Path
    size: int
    cards: tuple[str, ...]
    sha256: str = ""
    state: State = State.UNCHECKED
    problem: str = ""


def list_cache(cache_dir: str | os.PathLike[str] | None = None) -> list[CachedFile]:
    """Every file in the cache, unread, ordered by path: checkpoints, and partial files.

    Raises:
        OptionError, CacheError: see `settings.read_settings`.
    """
    root = read_settings(cache_dir=cache_dir).cache
    owners = _owners(root)
    found = {}
    for path in (*cache.files(root), *(path for path in owners if os.path.lexists(path))):
        found[path] = CachedFile(path, _size(path), tuple(card.uid for card in owners.get(path, ())))
    for path in _partials(root):
        found[path] = CachedFile(path, _size(path), (), state=State.PARTIAL, problem=_partial_problem(path))
    return [found[path] for path in sorted(found)]


def verify_cache(cache_dir: str | os.PathLike[str] | None = None) -> list[CachedFile]:
    """As `list_cache`, with every file hashed: the cache is whole when none is ``DAMAGED``."""
    root = read_settings(cache_dir=cache_dir).cache
    owners = _owners(root)
    by_sha256: dict[str, list[str]] = {}
    for card in _cards(root):
        by_sha256.setdefault(card.checkpoint.sha256, []).append(card.uid)
    return [_verify(file, owners.get(file.path, ()), by_sha256) for file in list_cache(root)]


def remove_cached(name: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """Remove from the cache what `name` stands for, and give the paths that are gone.

    Args:
        name: a model as in `fetch` (the file at its place, and what killed downloads of it left), or the path of a file
            in the cache, absolute or as seen from the cache folder.

    Raises:
        UnknownModelError: nothing of that name is in the cache; the message lists what is.
        CacheError: a file cannot be removed.
    """
    root = read_settings(cache_dir=cache_dir).cache
    listed = list_cache(root)
    text = os.fspath(name)
    wanted = [file.path for file in listed if file.path == root / text]
    if not wanted:
        with contextlib.suppress(UnknownModelError):
            card = catalog.get_card(text)
            home = cache.place(root, card)
            wanted = [file.path for file in listed if file.path == home]
            wanted += filter(partial.is_orphan, partial.partials(home.parent, card.checkpoint.sha256))
    if not wanted:
        names = ", ".join(str(file.path.relative_to(root)) for file in listed[:20]) or "nothing"
        raise UnknownModelError(f"{text!r:.200}: expected a model or file in the cache {root}, which has {names}")
    try:
        for path in wanted:
            path.unlink()
    except OSError as error:
        raise CacheError(f"{error.filename}: cannot be removed: {error.strerror}; check its permissions") from None
    return tuple(wanted)


def _verify(file: CachedFile, owners: tuple[Card, ...] | list[Card], by_sha256: dict[str, list[str]]) -> CachedFile:
    if file.state is State.PARTIAL:
        return file
    try:
        content = cache.read(file.path, max_bytes=Limits().max_bytes)
    except CacheError as error:
        return CachedFile(file.path, file.size, file.cards, "", State.DAMAGED, str(error))
    if content is None:
        return CachedFile(file.path, 0, file.cards, "", State.UNKNOWN, "gone while the cache was read")
    cards = by_sha256.get(content.sha256)
    if cards:
        return CachedFile(file.path, content.size, tuple(cards), content.sha256, State.VALID)
    if not owners:
        return CachedFile(file.path, content.size, (), content.sha256, State.UNKNOWN, "no card knows these bytes")
    problem = f"expected SHA-256 {owners[0].checkpoint.sha256}, got {content.sha256}; fetch it again"
    return CachedFile(file.path, content.size, file.cards, content.sha256, State.DAMAGED, problem)


def _cards(root: Path) -> Iterator[Card]:
    """The package's cards, and those that stand in the cache itself, as mindspore_hub lays them out."""
    yield from catalog.list_cards()
    known = {card.uid for card in catalog.list_cards()}
    for path in sorted(root.glob("*/*/*.md")):
        with contextlib.suppress(CardError, UnknownModelError):
            card = read_card(path)
            if card.uid not in known:
                yield card


def _owners(root: Path) -> dict[Path, list[Card]]:
    """Where each card's file belongs."""
    found: dict[Path, list[Card]] = {}
    for card in _cards(root):
        with contextlib.suppress(UrlError):
            found.setdefault(cache.place(root, card), []).append(card)
    return found


def _partials(root: Path) -> Iterator[Path]:
    for folder, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from partial.partials(Path(folder))


def _partial_problem(path: Path) -> str:
    return "left by a killed download; the next one goes on from it" if partial.is_orphan(path) else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

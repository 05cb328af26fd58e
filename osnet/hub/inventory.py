"""What is in the cache: listing, checking, adding and removing files."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from osnet.errors import CacheError, HashError, UnknownModelError, UrlError
from osnet.hub import cache, catalog, partial, urls
from osnet.hub.card import Card
from osnet.hub.settings import read_settings


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
        path: of the file.
        size: bytes.
        cards: uids of the cards that it belongs to: by its SHA-256 once that was checked, else by its path.
        sha256: empty when it was not read.
        state: ``VALID``: the bytes of a card; ``DAMAGED``: it is where a card's file belongs and is not that, or cannot
            be read; ``UNKNOWN``: no card here knows it; ``PARTIAL``: a download that is running or was killed.
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
    return _list(root, _cards(root))


def _list(root: Path, cards: Iterable[Card]) -> list[CachedFile]:
    owners: dict[Path, list[str]] = {}
    for card in cards:
        with contextlib.suppress(UrlError):
            owners.setdefault(cache.cache_path(root, card), []).append(card.uid)
    found = {}
    for path in (*cache.files(root), *filter(os.path.lexists, owners)):
        found[path] = CachedFile(path, _size(path), tuple(owners.get(path, ())))
    for path in partial.partials(root, recursive=True):
        problem = "left by a killed download; the next one goes on from it" if partial.is_orphan(path) else ""
        found[path] = CachedFile(path, _size(path), (), state=State.PARTIAL, problem=problem)
    return [found[path] for path in sorted(found)]


def verify_cache(cache_dir: str | os.PathLike[str] | None = None) -> list[CachedFile]:
    """As `list_cache`, with every file hashed: the cache is whole when none is ``DAMAGED``."""
    root = read_settings(cache_dir=cache_dir).cache
    cards = _cards(root)
    return [_verify(file, cards) for file in _list(root, cards)]


def add_to_cache(file: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None) -> CachedFile:
    """Copy a checkpoint, whatever its name, to where the file of its card is looked for.

    Nothing is written when the cache has these bytes already.

    Args:
        file: path of the file, such as a colleague's.
        cache_dir: folder of the cache.

    Returns:
        The file in the cache.

    Raises:
        HashError: no card has this SHA-256; the message names the cards that it is not.
        UnknownModelError: there is no such file.
        CacheError, DiskError: it cannot be read, or the cache cannot be written.
    """
    root, path = read_settings(cache_dir=cache_dir).cache, Path(file)
    content = cache.read(path, keep=True)
    if content is None:
        raise UnknownModelError(f"{path}: expected the file of a checkpoint, found nothing; check the path")
    known = _cards(root)
    cards = [card for card in known if card.checkpoint.sha256 == content.sha256]
    if not cards:
        raise _of_no_card(path, content.sha256, known)
    uids = tuple(card.uid for card in cards)
    search = cache.Search(content.sha256)
    there = search.among((*cache.published(root, content.sha256), *cache.files(root)))
    if there is not None:
        return CachedFile(there[0], content.size, uids, content.sha256, State.VALID)
    final = cache.cache_path(root, cards[0])
    partial.store(final, content.data or b"", content.sha256)
    return CachedFile(final, content.size, uids, content.sha256, State.VALID)


def remove_cached(name: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """Remove from the cache what `name` stands for, and return the paths that are gone.

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
            home = cache.cache_path(root, card)
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


def _of_no_card(path: Path, sha256: str, cards: list[Card]) -> HashError:
    for card in cards:
        with contextlib.suppress(UrlError):
            if urls.file_name(card.checkpoint.link) == path.name:
                return HashError(
                    f"{path}: expected SHA-256 {card.checkpoint.sha256} of {card.uid}, whose file has this name, got "
                    f"{sha256}; copy it again"
                )
    newest = {card.checkpoint.sha256: card.uid for card in cards}
    known = ", ".join(f"{uid} ({digest[:12]}...)" for digest, uid in newest.items())
    return HashError(
        f"{path}: expected the SHA-256 of a card, got {sha256}; it is none of {known}. Weights of your own need no "
        "cache: give their path as the model"
    )


def _verify(file: CachedFile, known: list[Card]) -> CachedFile:
    if file.state is State.PARTIAL:
        return file
    try:
        content = cache.read(file.path)
    except CacheError as error:
        return replace(file, state=State.DAMAGED, problem=str(error))
    if content is None:
        return replace(file, size=0, state=State.UNKNOWN, problem="gone while the cache was read")
    file = replace(file, size=content.size, sha256=content.sha256)
    cards = tuple(card.uid for card in known if card.checkpoint.sha256 == content.sha256)
    if cards:
        return replace(file, cards=cards, state=State.VALID)
    if not file.cards:
        return replace(file, state=State.UNKNOWN, problem="no card knows these bytes")
    expected = next(card.checkpoint.sha256 for card in known if card.uid == file.cards[0])
    problem = f"expected SHA-256 {expected}, got {content.sha256}; fetch it again"
    return replace(file, state=State.DAMAGED, problem=problem)


def _cards(root: Path) -> list[Card]:
    """The package's cards, and those in the cache itself, as mindspore_hub lays them out."""
    cards = catalog.list_cards()
    known = {card.uid for card in cards}
    return cards + [card for _, card in catalog.cards_in(root) if card is not None and card.uid not in known]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

"""mindspore_hub's cache, laid out so that an unmodified ``mindspore_hub.load`` finds OSNet; and that undone.

A hidden receipt for each card says what stood there before, and `remove` leaves that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from osnet.errors import CacheError, CardError, OsnetError, UnknownModelError
from osnet.files import atomic_write
from osnet.hub import cache
from osnet.hub.card import Card, parse_card, read_card, render_card
from osnet.hub.fetch import Model, VerifiedFile, fetch_verified, resolve
from osnet.hub.settings import Limits, read_settings
from osnet.mshub import package, rules
from osnet.mshub.places import Places, places_of, read_by_hub, root_of
from osnet.mshub.receipts import Receipt, new_receipt, receipt_of, receipts_in

_LOCK_SECONDS = 120.0


def install(model: Model = "osnet", *, hub_dir: str | os.PathLike[str] | None = None, **fetch: Any) -> tuple[Path, ...]:
    """Lay out mindspore_hub's cache for one card; what is there and right already stays.

    The card that is laid out lacks what mindspore_hub refuses and a card need not have; see `rules.passing`.

    Args:
        model: ``osnet``, an alias, a uid, the path of a card, or a `Card`.
        hub_dir: mindspore_hub's cache; default ``~/.mscache``.
        **fetch: keywords of `osnet.fetch` but ``cache_dir``: a checkpoint that the usual cache holds is copied, any
            other is downloaded straight to `hub_dir`.

    Returns:
        The card, the folder with ``mindspore_hub_conf.py`` and the checkpoint, whose SHA-256 was checked.

    Raises:
        CardError: the card's names are none that mindspore_hub can keep, or it refuses a part that a card must have.
        CacheError: something else stands where a part belongs.
        Errors of `osnet.fetch`.
    """
    card, root = resolve(model), root_of(hub_dir)
    places = places_of(card, root)
    data = rules.passing(card, _bytes_of(card), places.card)
    cache.make_folder(root)
    with cache.lock(root, "hub", timeout=_LOCK_SECONDS):
        _refuse_strangers(card, places)
        receipt = new_receipt(card, places, hashlib.sha256(data).hexdigest())
        cache.make_folder(places.card.parent)
        file = _verified(card, root, fetch)
        receipt.write()
        content = cache.read(places.checkpoint, max_bytes=Limits().max_bytes)
        if content is None or content.sha256 != file.sha256:
            atomic_write(places.checkpoint, file.data)
        package.lay(places.folder)
        if not places.card.exists():
            atomic_write(places.card, data)
    return places.card, places.folder, places.checkpoint


def remove(model: Model | None = None, *, hub_dir: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """Take away what `install` put there for `model`, or for all cards.

    What stood there before stays, and so does what was changed or put there since. Folders go when they are empty.

    Returns:
        The paths that are gone.

    Raises:
        UnknownModelError: `model` was not installed in `hub_dir`, or nothing was.
        CacheError: a file cannot be removed.
    """
    root = root_of(hub_dir)
    if model is None:
        wanted = "an installed card"
        receipts = [receipt for home in sorted(root.glob("*/*")) for receipt in receipts_in(home)]
    else:
        card = resolve(model)
        wanted, places = f"{card.uid} to be installed", places_of(card, root)
        receipts = [receipt for receipt in receipts_in(places.card.parent) if receipt.path == receipt_of(places)]
    if not receipts:
        raise UnknownModelError(
            f"{root}: expected {wanted}, found no receipt of it; osnet hub check says what is there"
        )
    gone: list[Path] = []
    with cache.lock(root, "hub", timeout=_LOCK_SECONDS):
        try:
            for receipt in receipts:
                gone += _take_away(receipt)
        except OSError as error:
            raise CacheError(f"{error.filename}: cannot be removed: {error.strerror}; check its permissions") from None
    return tuple(gone)


def _refuse_strangers(card: Card, places: Places) -> None:
    if os.path.lexists(places.card):
        there = read_card(places.card)
        if read_by_hub(there) != read_by_hub(card):
            raise CacheError(
                f"{places.card}: expected the card of {card.uid} or nothing, got another card; move it away"
            )
        problem = rules.problem(places.card.read_bytes(), places.card)
        if problem:
            raise CacheError(f"{problem}; move it away, and install lays out a card that passes")
    for other in receipts_in(places.card.parent):
        same_name = other.checkpoint == places.checkpoint.name and other.card != places.card.name
        if same_name and other.sha256 != card.checkpoint.sha256:
            raise CacheError(
                f"{places.checkpoint}: expected SHA-256 {card.checkpoint.sha256}, but {other.card} beside it needs "
                f"{other.sha256} under that name; osnet hub remove that card first"
            )
    content = cache.read(places.checkpoint, max_bytes=Limits().max_bytes)
    if content is not None and content.sha256 != card.checkpoint.sha256 and not _laid_out(places):
        raise CacheError(
            f"{places.checkpoint}: expected SHA-256 {card.checkpoint.sha256} or nothing, got a file with "
            f"{content.sha256} that `osnet hub install` did not put there; move it away"
        )
    package.refuse_strangers(places.folder)


def _laid_out(places: Places) -> bool:
    """Whether an earlier `install` put the checkpoint there."""
    name = places.checkpoint.name
    return any(not other.had_checkpoint and other.checkpoint == name for other in receipts_in(places.card.parent))


def _bytes_of(card: Card) -> bytes:
    if card.path is None:
        return render_card(card)
    data = card.path.read_bytes()
    if parse_card(data, path=card.path) != card:
        raise CardError(f"{card.path}: the card changed while it was read; install it again")
    return data


def _verified(card: Card, root: Path, fetch: dict[str, Any]) -> VerifiedFile:
    with contextlib.suppress(OsnetError):
        if read_settings().cache != root:
            return fetch_verified(card, offline=True)
    return fetch_verified(card, cache_dir=root, **fetch)


def _is(path: Path, sha256: str) -> bool:
    """Whether `path` is a file that still has the bytes that `install` wrote."""
    with contextlib.suppress(CacheError):
        content = None if path.is_symlink() else cache.read(path, max_bytes=Limits().max_bytes)
        return content is not None and content.sha256 == sha256
    return False


def _take_away(receipt: Receipt) -> tuple[Path, ...]:
    home = receipt.path.parent
    others = [other for other in receipts_in(home) if other.path != receipt.path]
    wanted = {} if receipt.had_card else {home / receipt.card: receipt.card_sha256}
    if not receipt.had_checkpoint and receipt.checkpoint not in {other.checkpoint for other in others}:
        wanted[home / receipt.checkpoint] = receipt.sha256
    gone = [path for path, sha256 in wanted.items() if _is(path, sha256)]
    for path in gone:
        path.unlink()
    if receipt.folder not in {other.folder for other in others}:
        gone += package.take(home / receipt.folder)
    receipt.path.unlink()
    for folder in (home, home.parent):
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    return tuple(gone)

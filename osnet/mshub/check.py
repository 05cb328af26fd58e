"""What mindspore_hub will find, thing by thing. Nothing is fetched or changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osnet.errors import CacheError, CardError, UnknownModelError
from osnet.hub import cache, catalog, urls
from osnet.hub.card import Card, read_card
from osnet.hub.fetch import Model, resolve
from osnet.mshub import package, rules
from osnet.mshub.install import places_of, read_by_hub, receipts_in, root_of
from osnet.variants import VARIANTS


@dataclass(frozen=True)
class Finding:
    """One thing that mindspore_hub will meet.

    Attributes:
        uid: of the card that it belongs to.
        what: a path, or ``network``.
        good: whether loading gets past it with the published weights.
        note: what it is, or what is wrong and what to do.
    """

    uid: str
    what: str
    good: bool
    note: str


def check(model: Model | None = None, *, hub_dir: str | os.PathLike[str] | None = None) -> tuple[Finding, ...]:
    """What mindspore_hub will find for `model`, or for every OSNet card in `hub_dir`. Nothing is fetched or changed.

    Raises:
        UnknownModelError: `model` is not a card, or none is given and `hub_dir` holds no OSNet card.
    """
    root = root_of(hub_dir)
    cards = [resolve(model)] if model is not None else list(_cards_in(root))
    if not cards:
        raise UnknownModelError(
            f"{root}: expected cards of an OSNet, found none; "
            "lay one out: osnet hub install mindspore/1.6/osnet_dukemtmc"
        )
    return tuple(finding for card in cards for finding in _findings(card, root))


def _cards_in(root: Path) -> Iterator[Card]:
    """The OSNet cards in `root` that mindspore_hub finds.

    The uid of a published card means that card, unless the user has installed another one under it.
    """
    published = {card.uid: card for card in catalog.list_cards()}
    for uid, card in catalog.cards_in(root):
        path = root / f"{uid}.md"
        installed = [receipt.sha256 for receipt in receipts_in(path.parent) if receipt.card == path.name]
        if uid in published and (card is None or card.checkpoint.sha256 not in installed):
            yield published[uid]
        elif card is not None and card.uid == uid and card.name.lower() in ("osnet", *VARIANTS):
            yield card


def _findings(card: Card, root: Path) -> Iterator[Finding]:
    try:
        places = places_of(card, root)
    except CardError as error:
        yield Finding(card.uid, str(card.path), False, str(error))
        return
    yield Finding(card.uid, str(places.card), *_card_note(card, places.card))
    yield Finding(card.uid, str(places.folder), *package.describe(places.folder))
    yield Finding(card.uid, str(places.checkpoint), *_checkpoint_note(card, places.checkpoint))
    hosts = " and ".join(dict.fromkeys(urls.parse(link).host for link in (card.repository, card.checkpoint.link)))
    yield Finding(
        card.uid,
        "network",
        True,
        f"mindspore_hub asks {hosts} at every load and fails without them; osnet.mshub.register() needs no network",
    )


def _card_note(card: Card, path: Path) -> tuple[bool, str]:
    try:
        there = read_card(path)
    except UnknownModelError:
        return False, f"no card: mindspore_hub would take what its site serves; osnet hub install {card.uid}"
    except CardError as error:
        return False, str(error)
    if read_by_hub(there) != read_by_hub(card):
        return False, f"not the published card of {card.uid}: another link or SHA-256; move it away and install again"
    problem = rules.problem(path.read_bytes(), path)
    if problem:
        return False, f"{problem}; move it away and install it again"
    for published in catalog.list_cards():
        if published.uid == card.uid and read_by_hub(published) != read_by_hub(card):
            return True, f"a card of your own; the published {card.uid} has another link or SHA-256"
    return True, f"the card of {card.uid}"


def _checkpoint_note(card: Card, path: Path) -> tuple[bool, str]:
    try:
        content = cache.read(path)
    except CacheError as error:
        return False, str(error)
    if content is None:
        return False, f"no checkpoint: mindspore_hub would download it; osnet hub install {card.uid}"
    if content.sha256 != card.checkpoint.sha256:
        return False, (
            f"expected SHA-256 {card.checkpoint.sha256}, got {content.sha256}; mindspore_hub loads it unchecked: "
            f"osnet hub install {card.uid}"
        )
    return True, f"the published bytes, SHA-256 {content.sha256}"

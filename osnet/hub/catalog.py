"""The published cards by name: ``osnet``, aliases, uids, and every address of the same bytes."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from osnet.errors import CardError, UnknownModelError
from osnet.hub.card import Card, read_card

logger = logging.getLogger(__name__)

CARDS = Path(__file__).resolve().parent / "cards"
"""One file for each card: ``<publisher>/<version>/<name>.md``."""

SEED = "mindspore/1.6/osnet_dukemtmc"

# The hub published this checkpoint of release 1.6 twice, claiming mAP67 (the seed card) and mAP74: the same SHA-256.
_MORE_ADDRESSES = {
    "8bb1f05441d45cb6d4de816fdc6132f6096a35e1792156bf6b36b9f8d1f5abaa": (
        "https://download.mindspore.cn/models/r1.6/osnet_ascend_v160_dukemtmc_research_cv_mAP74.ckpt",
    ),
}


def list_cards() -> list[Card]:
    """List the cards of the package.

    Returns:
        Each `Card`, ordered by publisher, then version (as numbers, oldest first), then name.
    """
    return [_card(uid) for uid in _uids()]


def get_card(name: str | os.PathLike[str]) -> Card:
    """The card called `name`.

    Args:
        name: ``osnet`` (the seed card), an alias such as ``osnet_market1501`` (the newest card of that data set), a uid
            such as ``mindspore/1.6/osnet_dukemtmc`` in any case (exactly that card), or the path of a ``.md`` file.

    Returns:
        The `Card`.

    Raises:
        UnknownModelError: no such card; the message lists the nearest names.
        CardError: the file at that path is not a card.

    >>> import osnet
    >>> card = osnet.get_card("osnet_market1501")
    >>> card.uid, card.evaluation
    ('mindspore/1.10/osnet_market1501', 'mAP83.0')
    """
    text = os.fspath(name)
    if text.lower().endswith(".md"):
        return read_card(text)
    uid = aliases().get(text.lower(), text.lower())
    if uid in _uids():
        return _card(uid)
    if os.path.exists(text):  # noqa: PTH110 - False for a name too long for a path
        kind = "folder" if Path(text).is_dir() else "file"
        raise UnknownModelError(
            f"{text!r:.200} is a {kind}, but not a model: expected a card (.md) or weights (.ckpt, .pth, ...)"
        )
    near = difflib.get_close_matches(text.lower(), [*aliases(), *_uids()], n=4, cutoff=0.4) or list(aliases())
    raise UnknownModelError(
        f"unknown model {text!r:.200}: expected an alias, a uid or the path of a .md card. Nearest: {', '.join(near)}"
    )


def aliases() -> dict[str, str]:
    """Each short name and the uid that it stands for."""
    newest = sorted(_uids(), key=lambda uid: version_key(uid.split("/")[1]))
    return {"osnet": SEED, **{uid.rpartition("/")[2]: uid for uid in newest}}


def addresses(sha256: str) -> tuple[str, ...]:
    """Every link that publishes the bytes with this SHA-256, the newest card's first; empty when none does."""
    wanted = sha256.lower()
    links = [asset.link for card in reversed(list_cards()) for asset in card.assets if asset.sha256 == wanted]
    return tuple(dict.fromkeys((*links, *_MORE_ADDRESSES.get(wanted, ()))))


def cards_in(folder: Path) -> Iterator[tuple[str, Card | None]]:
    """The uid that each ``<publisher>/<version>/<name>.md`` in `folder` stands for, and its card.

    A file that cannot be read as a card is logged as a warning, and gives None.
    """
    for path in sorted(folder.glob("*/*/*.md")):
        card = None
        try:
            card = read_card(path)
        except (CardError, UnknownModelError) as error:
            logger.warning("left out: %s", error)
        yield "/".join(path.with_suffix("").parts[-3:]), card


def version_key(version: str) -> tuple[int, ...]:
    """Orders versions as numbers: 1.10 is newer than 1.9."""
    return tuple(int(part) for part in version.split("."))


@lru_cache(maxsize=1)
def _uids() -> tuple[str, ...]:
    """From the files' names alone, so that one card is found without parsing all."""
    found = ["/".join(path.with_suffix("").parts[-3:]) for path in CARDS.glob("*/*/*.md")]
    return tuple(sorted(found, key=lambda uid: (uid.split("/")[0], version_key(uid.split("/")[1]), uid)))


@cache
def _card(uid: str) -> Card:
    return read_card(CARDS / f"{uid}.md")

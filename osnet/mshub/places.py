"""Where mindspore_hub looks for a card's parts.

For the uid ``mindspore/1.6/osnet_dukemtmc`` it reads in its folder (``~/.mscache``)::

    mindspore/1.6/osnet_dukemtmc.md               the card
    mindspore/1.6/osnet/mindspore_hub_conf.py     gives create_network; the folder is the last part of repo-link
    mindspore/1.6/<file name of asset-link>       the checkpoint, which it does not verify
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from osnet.errors import CardError
from osnet.hub import urls
from osnet.hub.card import Card
from osnet.hub.settings import read_settings

HUB_DIR = "~/.mscache"
"""mindspore_hub's own folder. ``OSNET_CACHE`` does not move it."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Places:
    """The card, the folder with ``mindspore_hub_conf.py``, and the checkpoint."""

    card: Path
    folder: Path
    checkpoint: Path


def root_of(hub_dir: str | os.PathLike[str] | None) -> Path:
    """`hub_dir` as an absolute path; the default is mindspore_hub's own.

    Raises:
        OptionError, CacheError: see `settings.read_settings`.
    """
    return read_settings(cache_dir=HUB_DIR if hub_dir is None else hub_dir).cache


def places_of(card: Card, root: Path) -> Places:
    """Where mindspore_hub, with the folder `root`, looks for the parts of `card`.

    Raises:
        CardError: it takes the names from the card as they stand, and these are no plain names.
    """
    stem = card.uid.rpartition("/")[2]
    folder = card.repository.rpartition("/")[2]
    file = card.checkpoint.link.rpartition("/")[2]
    for key, name in (("file name", stem), ("last part of 'repo-link'", folder)):
        if not PLAIN_NAME.fullmatch(name):
            raise CardError(
                f"{card.path or card.uid}: expected letters, digits, '.', '_' and '-' for the {key}, got "
                f"{name!r:.120}; mindspore_hub keeps files of that name"
            )
    if file != urls.file_name(card.checkpoint.link):
        raise CardError(
            f"{card.path or card.uid}: expected 'asset-link' to end in a plain file name, got {file!r:.120}; "
            "mindspore_hub keeps the checkpoint under that name"
        )
    home = (root / card.uid).parent
    places = Places(home / f"{stem}.md", home / folder, home / file)
    if len({places.card, places.folder, places.checkpoint}) < 3:
        raise CardError(f"{card.path or card.uid}: expected three names, got one twice: {stem}.md, {folder}, {file}")
    return places


def read_by_hub(card: Card) -> tuple[str, ...]:
    """What mindspore_hub acts on: two cards that agree in it load alike."""
    return card.name.lower(), card.repository, card.checkpoint.link, card.checkpoint.sha256

"""What `osnet hub install` laid out, and what stood there before: a small hidden file beside each card."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from osnet.files import atomic_write, open_regular
from osnet.hub.card import Card
from osnet.mshub.places import PLAIN_NAME, Places

_RECEIPT = ".osnet-hub"
_RECEIPT_BYTES = 4096


@dataclass(frozen=True)
class Receipt:
    """What `install` laid out for one card: names in the folder of `path`, and what of it stood there before."""

    path: Path
    card: str
    folder: str
    checkpoint: str
    sha256: str
    card_sha256: str
    had_card: bool
    had_checkpoint: bool

    def write(self) -> None:
        values = {key: value for key, value in vars(self).items() if key != "path"}
        atomic_write(self.path, json.dumps(values, indent=1).encode())


def receipt_of(places: Places) -> Path:
    """Where the receipt for a card belongs."""
    return places.card.with_name(f".{places.card.stem}{_RECEIPT}")


def receipts_in(home: Path) -> list[Receipt]:
    """Every good receipt in the folder `home`; files of that name that are none are passed over."""
    found = []
    for path in sorted(home.glob(f".*{_RECEIPT}")):
        with contextlib.suppress(OSError, ValueError, TypeError), open_regular(path) as file:
            receipt = Receipt(path, **json.loads(file.read(_RECEIPT_BYTES)))
            if all(PLAIN_NAME.fullmatch(name) for name in (receipt.card, receipt.folder, receipt.checkpoint)):
                found.append(receipt)
    return found


def new_receipt(card: Card, places: Places, card_sha256: str) -> Receipt:
    """What stands there now, unless an earlier `install` put it there; `card_sha256`: of the card to be laid out."""
    others = [other for other in receipts_in(places.card.parent) if other.checkpoint == places.checkpoint.name]
    for receipt in others:
        if receipt.path == receipt_of(places) and receipt.folder == places.folder.name:
            return replace(receipt, sha256=card.checkpoint.sha256, card_sha256=card_sha256)
    ours = any(not other.had_checkpoint for other in others)
    return Receipt(
        receipt_of(places),
        places.card.name,
        places.folder.name,
        places.checkpoint.name,
        card.checkpoint.sha256,
        card_sha256,
        had_card=os.path.lexists(places.card),
        had_checkpoint=os.path.lexists(places.checkpoint) and not ours,
    )

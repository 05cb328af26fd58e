"""mindspore_hub's cache, laid out so that an unmodified ``mindspore_hub.load`` finds OSNet; and that undone.

For the uid ``mindspore/1.6/osnet_dukemtmc`` mindspore_hub reads in its folder (``~/.mscache``)::

    mindspore/1.6/osnet_dukemtmc.md               the card
    mindspore/1.6/osnet/mindspore_hub_conf.py     gives create_network; the folder is the last part of repo-link
    mindspore/1.6/<file name of asset-link>       the checkpoint, which it does not verify

A hidden receipt beside each card records what `install` wrote and what was there before, so that `remove` leaves that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from osnet.errors import CacheError, CardError, OsnetError, UnknownModelError
from osnet.files import atomic_write, open_regular
from osnet.hub import cache, urls
from osnet.hub.card import Card, parse_card, read_card, render_card
from osnet.hub.fetch import Model, VerifiedFile, fetch_verified, resolve
from osnet.hub.settings import FetchOptions, check_fetch_options, read_settings
from osnet.mshub import package, rules

if TYPE_CHECKING:
    from typing_extensions import Unpack

HUB_DIR = "~/.mscache"
"""mindspore_hub's own folder. ``OSNET_CACHE`` does not move it."""

_LOCK_SECONDS = 120.0
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_RECEIPT = ".osnet-hub"
_RECEIPT_BYTES = 4096


class Places(NamedTuple):
    """The card, the folder with ``mindspore_hub_conf.py``, and the checkpoint."""

    card: Path
    folder: Path
    checkpoint: Path

    @property
    def receipt(self) -> Path:
        return self.card.with_name(f".{self.card.stem}{_RECEIPT}")


@dataclass(frozen=True)
class Receipt:
    """What `install` laid out for one card: names in the folder of `path`, and which of them were there before."""

    path: Path
    card: str
    folder: str
    checkpoint: str
    sha256: str
    card_sha256: str
    had_card: bool
    had_checkpoint: bool


def install(
    model: Model = "osnet", *, hub_dir: str | os.PathLike[str] | None = None, **fetch: Unpack[FetchOptions]
) -> tuple[Path, ...]:
    """Lay out mindspore_hub's cache for one card; parts that are there and correct are left alone.

    The card that is laid out lacks the optional parts that mindspore_hub refuses; see `rules.passing`.

    Args:
        model: ``osnet``, an alias, a uid, the path of a card, or a `Card`.
        hub_dir: mindspore_hub's cache; default ``~/.mscache``.
        **fetch: keywords of `osnet.fetch`. A checkpoint that the cache (``cache_dir``) holds is copied, any other is
            downloaded straight to `hub_dir`.

    Returns:
        The card, the folder with ``mindspore_hub_conf.py`` and the checkpoint, whose SHA-256 was checked.

    Raises:
        CardError: mindspore_hub cannot keep files of the card's names, or it refuses a part that a card must have.
        CacheError: something else is where a part belongs.
        Errors of `osnet.fetch`.
    """
    check_fetch_options(fetch)
    card, root = resolve(model), root_of(hub_dir)
    places = places_of(card, root)
    data = rules.passing(card, _bytes_of(card), places.card)
    cache.make_folder(root)
    with cache.lock(root, "hub", timeout=_LOCK_SECONDS):
        receipts = receipts_in(places.card.parent)
        laid_card = any(not old.had_card for old in receipts if old.path == places.receipt)
        laid_checkpoint = any(not old.had_checkpoint for old in receipts if old.checkpoint == places.checkpoint.name)
        _refuse_other_files(card, places, receipts, laid_checkpoint)
        had_card = os.path.lexists(places.card) and not laid_card
        had_checkpoint = os.path.lexists(places.checkpoint) and not laid_checkpoint
        cache.make_folder(places.card.parent)
        file = _verified(card, root, fetch)
        receipt = {
            **{part: path.name for part, path in places._asdict().items()},
            "sha256": file.sha256,
            "card_sha256": hashlib.sha256(data).hexdigest(),
            "had_card": had_card,
            "had_checkpoint": had_checkpoint,
        }
        atomic_write(places.receipt, json.dumps(receipt, indent=1).encode())
        if package.sha256_of(places.checkpoint) != file.sha256:
            atomic_write(places.checkpoint, file.data)
        package.lay(places.folder)
        if not places.card.exists():
            atomic_write(places.card, data)
    return places


def remove(model: Model | None = None, *, hub_dir: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """Take away what `install` put there for `model`, or for all cards.

    What was there before stays, and so does what was changed or added since. Empty folders are removed.

    Returns:
        The paths that are gone.

    Raises:
        UnknownModelError: `model` was not installed in `hub_dir`, or nothing was.
        CacheError: a file cannot be removed.
    """
    root = root_of(hub_dir)
    if model is None:
        expected = "an installed card"
        receipts = [receipt for home in sorted(root.glob("*/*")) for receipt in receipts_in(home)]
    else:
        card = resolve(model)
        expected, places = f"{card.uid} to be installed", places_of(card, root)
        receipts = [receipt for receipt in receipts_in(places.card.parent) if receipt.path == places.receipt]
    if not receipts:
        raise UnknownModelError(
            f"{root}: expected {expected}, found no receipt of it; osnet hub check says what is there"
        )
    gone: list[Path] = []
    with cache.lock(root, "hub", timeout=_LOCK_SECONDS):
        try:
            for receipt in receipts:
                gone += _take_away(receipt)
        except OSError as error:
            raise CacheError(f"{error.filename}: cannot be removed: {error.strerror}; check its permissions") from None
    return tuple(gone)


def root_of(hub_dir: str | os.PathLike[str] | None) -> Path:
    """`hub_dir` as an absolute path; the default is mindspore_hub's own.

    Raises:
        OptionError, CacheError: see `settings.read_settings`.
    """
    return read_settings(cache_dir=HUB_DIR if hub_dir is None else hub_dir).cache


def places_of(card: Card, root: Path) -> Places:
    """Where mindspore_hub, with the folder `root`, looks for the parts of `card`.

    Raises:
        CardError: it takes the names from the card as they are, and these are not plain file names.
    """
    source = card.path or card.uid
    stem = card.uid.rpartition("/")[2]
    folder = card.repository.rpartition("/")[2]
    file = card.checkpoint.link.rpartition("/")[2]
    for key, name in (("file name", stem), ("last part of 'repo-link'", folder)):
        if not _PLAIN_NAME.fullmatch(name):
            raise CardError(
                f"{source}: expected letters, digits, '.', '_' and '-' for the {key}, got {name!r:.120}; "
                "mindspore_hub keeps files of that name"
            )
    if file != urls.file_name(card.checkpoint.link):
        raise CardError(
            f"{source}: expected 'asset-link' to end in a plain file name, got {file!r:.120}; "
            "mindspore_hub keeps the checkpoint under that name"
        )
    home = (root / card.uid).parent
    places = Places(home / f"{stem}.md", home / folder, home / file)
    if len(set(places)) < 3:
        raise CardError(f"{source}: expected three names, got one twice: {stem}.md, {folder}, {file}")
    return places


def receipts_in(home: Path) -> list[Receipt]:
    """Every valid receipt in the folder `home`; other files of such a name are ignored."""
    found = []
    for path in sorted(home.glob(f".*{_RECEIPT}")):
        with contextlib.suppress(OSError, ValueError, TypeError), open_regular(path) as file:
            receipt = Receipt(path, **json.loads(file.read(_RECEIPT_BYTES)))
            if all(_PLAIN_NAME.fullmatch(name) for name in (receipt.card, receipt.folder, receipt.checkpoint)):
                found.append(receipt)
    return found


def read_by_hub(card: Card) -> tuple[str, ...]:
    """What mindspore_hub acts on: two cards that agree in it load alike."""
    return card.name.lower(), card.repository, card.checkpoint.link, card.checkpoint.sha256


def _refuse_other_files(card: Card, places: Places, receipts: list[Receipt], laid_checkpoint: bool) -> None:
    """Raise CacheError where `install` would replace something, or mindspore_hub refuses what is there."""
    if os.path.lexists(places.card):
        if read_by_hub(read_card(places.card)) != read_by_hub(card):
            raise CacheError(
                f"{places.card}: expected the card of {card.uid} or nothing, got another card; move it away"
            )
        problem = rules.problem(places.card.read_bytes(), places.card)
        if problem:
            raise CacheError(f"{problem}; move it away, and install lays out a card that passes")
    sha256 = card.checkpoint.sha256
    for other in receipts:
        same_name = other.checkpoint == places.checkpoint.name and other.path != places.receipt
        if same_name and other.sha256 != sha256:
            raise CacheError(
                f"{places.checkpoint}: expected SHA-256 {sha256}, but {other.card} beside it needs {other.sha256} "
                "under that name; osnet hub remove that card first"
            )
    content = cache.read(places.checkpoint)
    if content is not None and content.sha256 != sha256 and not laid_checkpoint:
        raise CacheError(
            f"{places.checkpoint}: expected SHA-256 {sha256} or nothing, got a file with {content.sha256} "
            "that `osnet hub install` did not put there; move it away"
        )
    package.refuse_other_files(places.folder)


def _bytes_of(card: Card) -> bytes:
    if card.path is None:
        return render_card(card)
    data = card.path.read_bytes()
    if parse_card(data, path=card.path) != card:
        raise CardError(f"{card.path}: the card changed while it was read; install it again")
    return data


def _verified(card: Card, root: Path, fetch: FetchOptions) -> VerifiedFile:
    """The checkpoint from the cache, else fetched into `root`."""
    with contextlib.suppress(OsnetError):
        return fetch_verified(card, cache_dir=fetch.get("cache_dir"), offline=True)
    fetch["cache_dir"] = root
    return fetch_verified(card, **fetch)


def _take_away(receipt: Receipt) -> tuple[Path, ...]:
    home = receipt.path.parent
    others = [other for other in receipts_in(home) if other.path != receipt.path]
    written = {} if receipt.had_card else {home / receipt.card: receipt.card_sha256}
    if not receipt.had_checkpoint and receipt.checkpoint not in {other.checkpoint for other in others}:
        written[home / receipt.checkpoint] = receipt.sha256
    gone = [p for p, sha256 in written.items() if not p.is_symlink() and package.sha256_of(p) == sha256]
    for path in gone:
        path.unlink()
    if receipt.folder not in {other.folder for other in others}:
        gone += package.take(home / receipt.folder)
    receipt.path.unlink()
    for folder in (home, home.parent):
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    return tuple(gone)

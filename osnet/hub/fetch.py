"""From a card to its verified file: decide, then act.

A file is what its SHA-256 says, never what its name or the server says, and it is hashed again at every use.
"""

from __future__ import annotations

import enum
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from osnet.errors import CacheError, HashError, OfflineError, OptionError
from osnet.hub import cache, catalog, urls
from osnet.hub.card import Card
from osnet.hub.settings import Settings, read_settings

logger = logging.getLogger(__name__)

Model = Union[str, "os.PathLike[str]", Card]


@dataclass(frozen=True)
class VerifiedFile:
    """A file whose SHA-256 is the card's.

    Attributes:
        path: where it stands.
        data: the very bytes that were hashed. Parse these: the file may change at any time.
        sha256: 64 hexadecimal digits, lower case.
        card: the card asked for.
    """

    path: Path
    data: bytes
    sha256: str
    card: Card


class Found(enum.Enum):
    """What stands where the card's file belongs."""

    NOTHING = "nothing"
    VALID = "valid"
    DAMAGED = "damaged"


class Step(enum.Enum):
    """What to do about it."""

    USE = "use"
    DOWNLOAD = "download"
    REFUSE_MISSING = "refuse: offline and missing"
    REFUSE_DAMAGED = "refuse: offline and damaged"


def decide(found: Found, *, elsewhere: bool, offline: bool, force: bool) -> Step:
    """The one decision of a fetch. `elsewhere`: another file in the cache has the right SHA-256."""
    if offline:
        if found is Found.VALID or elsewhere:
            return Step.USE
        return Step.REFUSE_DAMAGED if found is Found.DAMAGED else Step.REFUSE_MISSING
    if force or not (found is Found.VALID or elsewhere):
        return Step.DOWNLOAD
    return Step.USE


def fetch(
    model: Model = "osnet",
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    force: bool = False,
    mirrors: str | Iterable[str] = (),
    allow_hosts: str | Iterable[str] = (),
    allow_http: bool | None = None,
    timeout: float | None = None,
    progress: bool | None = None,
) -> Path:
    """The local path of a model's checkpoint, its SHA-256 checked now.

    Args:
        model: ``osnet``, an alias, a uid, the path of a card, or a `Card`.
        cache_dir: folder of the cache; default ``OSNET_CACHE``, else ``~/.mscache``.
        offline: never open a socket; default ``OSNET_OFFLINE``.
        force: download again; a good cached file stays until the new one is verified.
        mirrors: base URLs, tried first in place of scheme and host of the published links; default ``OSNET_MIRROR``.
        allow_hosts: ``HOST`` or ``HOST:PORT`` beside those of the published cards; default ``OSNET_ALLOW_HOST``.
        allow_http: plain http may be used; default ``OSNET_ALLOW_HTTP``.
        timeout: seconds for all of it; default ``OSNET_TIMEOUT``, else 1800.
        progress: a bar on stderr; default: when stderr is a terminal.

    Raises:
        UnknownModelError, CardError: `model` names no card, or a bad one.
        OptionError: a keyword or ``OSNET_*`` variable that is not understood.
        UrlError: a link or redirect that may not be followed.
        OfflineError: not cached, and offline.
        HashError: no address had the published bytes; or offline with a damaged file, which is kept.
        DownloadError: no address could be read.
        CacheError, LockError, DiskError: the cache cannot be used.
    """
    card = resolve(model)
    settings = read_settings(
        cache_dir=cache_dir,
        offline=offline,
        mirrors=mirrors,
        allow_hosts=allow_hosts,
        allow_http=allow_http,
        timeout=timeout,
    )
    return obtain(card, settings, force=force, progress=progress)[0]


def fetch_verified(
    model: Model = "osnet",
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    force: bool = False,
    mirrors: str | Iterable[str] = (),
    allow_hosts: str | Iterable[str] = (),
    allow_http: bool | None = None,
    timeout: float | None = None,
    progress: bool | None = None,
) -> VerifiedFile:
    """As `fetch`, with the bytes that were hashed."""
    card = resolve(model)
    settings = read_settings(
        cache_dir=cache_dir,
        offline=offline,
        mirrors=mirrors,
        allow_hosts=allow_hosts,
        allow_http=allow_http,
        timeout=timeout,
    )
    path, content = obtain(card, settings, force=force, progress=progress, keep=True)
    return VerifiedFile(path, content.data or b"", content.sha256, card)


def resolve(model: Model) -> Card:
    """The card that `model` stands for."""
    return model if isinstance(model, Card) else catalog.get_card(model)


def obtain(
    card: Card, settings: Settings, *, force: bool = False, progress: bool | None = None, keep: bool = False
) -> tuple[Path, cache.Content]:
    """Where `card`'s checkpoint stands, verified, and what was hashed; see `fetch`."""
    if force and settings.offline:
        raise OptionError("force: expected no force when offline, got both; downloading again needs the network")
    deadline = time.monotonic() + settings.timeout
    sha256 = card.checkpoint.sha256
    beside = None if force else _beside(card, settings, keep=keep)
    if beside is not None:
        return beside
    final = cache.place(settings.cache, card)
    found = _look(final, sha256, settings, force=force, keep=keep)
    if found.step is Step.REFUSE_MISSING:
        raise OfflineError(
            f"{final}: expected the checkpoint of {card.uid} in the cache, found nothing, and offline; fetch it once "
            f"without OSNET_OFFLINE, or copy the file with SHA-256 {sha256} there (published at {card.checkpoint.link})"
        )
    if found.step is Step.REFUSE_DAMAGED:
        raise HashError(
            f"{final}: expected SHA-256 {sha256}, got {found.damaged}, and offline; the file is kept: look at it, then "
            "fetch again without OSNET_OFFLINE"
        )
    if found.path is not None and found.content is not None and found.step is Step.USE:
        return found.path, found.content
    rules = urls.rules(
        (asset.link for known in catalog.list_cards() for asset in known.assets),
        settings.allow_hosts,
        settings.mirrors,
        settings.allow_http,
    )
    links = tuple(dict.fromkeys((card.checkpoint.link, *catalog.addresses(sha256))))
    for url in dict.fromkeys((card.checkpoint.link, *urls.candidates(links, settings.mirrors))):
        rules.check(url)
    cache.make_folder(settings.cache)
    with cache.lock(settings.cache, sha256, timeout=max(deadline - time.monotonic(), 0)):
        if not force:  # another process may have been quicker
            found = _look(final, sha256, settings, force=False, keep=keep, everywhere=False)
            if found.path is not None and found.content is not None:
                return found.path, found.content
        _download(card, final, links, rules, settings, deadline, progress)
    content = cache.read(final, max_bytes=settings.limits.max_bytes, keep=keep)
    if content is None or content.sha256 != sha256:
        raise CacheError(
            f"{final}: the file changed as soon as it was published: expected SHA-256 {sha256}, got "
            f"{content.sha256 if content else 'nothing'}; check the disk and what else writes there"
        )
    return final, content


def file_beside(card: Card) -> Path | None:
    """A file of the checkpoint's name beside the card itself, as in a model published to a folder. Not verified."""
    if card.path is None:
        return None
    path = card.path.parent / urls.file_name(card.checkpoint.link)
    return path if path.is_file() else None


def _beside(card: Card, settings: Settings, *, keep: bool) -> tuple[Path, cache.Content] | None:
    path = file_beside(card)
    if path is None:
        return None
    content = cache.read(path, max_bytes=settings.limits.max_bytes, keep=keep)
    if content is None or content.sha256 == card.checkpoint.sha256:
        return None if content is None else (path, content)
    logger.warning("%s is not used: expected SHA-256 %s, got %s", path, card.checkpoint.sha256, content.sha256)
    return None


@dataclass(frozen=True)
class _Look:
    step: Step
    path: Path | None
    content: cache.Content | None
    damaged: str


def _look(final: Path, sha256: str, settings: Settings, *, force: bool, keep: bool, everywhere: bool = True) -> _Look:
    """What the cache has, and what follows from it."""
    most = settings.limits.max_bytes
    content = cache.read(final, max_bytes=most, keep=keep)
    state = Found.NOTHING if content is None else Found.VALID if content.sha256 == sha256 else Found.DAMAGED
    if state is Found.VALID:
        return _Look(decide(state, elsewhere=False, offline=settings.offline, force=force), final, content, "")
    other = None if force else cache.find(settings.cache, sha256, max_bytes=most, keep=keep, everywhere=everywhere)
    step = decide(state, elsewhere=other is not None, offline=settings.offline, force=force)
    if content is not None:
        logger.warning("%s is damaged: expected SHA-256 %s, got %s", final, sha256, content.sha256)
    path, content_elsewhere = other if other is not None else (None, None)
    return _Look(step, path, content_elsewhere, content.sha256 if content is not None else "")


def _download(
    card: Card,
    final: Path,
    links: tuple[str, ...],
    rules: urls.Rules,
    settings: Settings,
    deadline: float,
    progress: bool | None,
) -> None:
    # requests takes 100 ms to import, which a cached file need not pay.
    from osnet.hub.download import download
    from osnet.hub.partial import Partial
    from osnet.hub.progress import Bar

    with Partial(final, card.checkpoint.sha256) as partial, Bar(final.name, progress) as bar:
        download(
            urls.candidates(links, settings.mirrors),
            partial,
            rules=rules,
            limits=settings.limits,
            deadline=deadline,
            bar=bar,
        )
        partial.publish()

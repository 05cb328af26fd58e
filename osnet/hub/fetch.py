"""From a card to its verified file: from the cache when it is there, else downloaded.

A file is what its SHA-256 says, never what its name or the server says, and it is hashed again at every use.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from osnet.errors import CacheError, HashError, OfflineError, OptionError, OsnetError
from osnet.hub import cache, catalog, urls
from osnet.hub.card import Card
from osnet.hub.settings import FetchOptions, Settings, check_fetch_options, read_settings
from osnet.progress import Progress

if sys.version_info >= (3, 11):  # not for type checkers only: typing.get_type_hints(osnet.fetch) looks for it
    from typing import Unpack
else:
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)

Model = Union[str, "os.PathLike[str]", Card]


@dataclass(frozen=True)
class VerifiedFile:
    """A file whose SHA-256 is the card's.

    Attributes:
        path: of the file.
        data: the very bytes that were hashed. Parse these: the file may change at any time.
        sha256: 64 hexadecimal digits, lower case.
        card: the card asked for.
    """

    path: Path
    data: bytes
    sha256: str
    card: Card


def fetch(model: Model = "osnet", **options: Unpack[FetchOptions]) -> Path:
    """Return the local path of a model's checkpoint. Its SHA-256 is checked at every call.

    Args:
        model: ``osnet``, an alias, a uid, the path of a card, or a `Card`.
        cache_dir: folder of the cache; default ``OSNET_CACHE``, else ``~/.mscache``.
        offline: never open a socket; default ``OSNET_OFFLINE``.
        force: download again; a good cached file stays until the new one is verified.
        mirrors: base URLs, tried first in place of scheme and host of the published links, and paths (or ``file://``
            URLs) of folders or files of this machine, looked into before any address, also offline; default
            ``OSNET_MIRROR``.
        allow_hosts: ``HOST`` or ``HOST:PORT`` beside those of the published cards; default ``OSNET_ALLOW_HOST``.
        allow_http: plain http may be used; default ``OSNET_ALLOW_HTTP``.
        timeout: seconds for all of it; default ``OSNET_TIMEOUT``, else 1800.
        progress: show a bar on stderr, or a line now and then if that is no terminal; default: only a bar.

    Returns:
        The path of the file in the cache, or beside the card.

    Raises:
        UnknownModelError, CardError: `model` names no card, or a bad one.
        OptionError: a keyword or ``OSNET_*`` variable that is not understood.
        UrlError: a link or redirect that may not be followed.
        OfflineError: not cached, and offline.
        HashError: no address had the published bytes; or offline with a damaged file, which is kept.
        DownloadError: no address could be read.
        CacheError, LockError, DiskError: the cache cannot be used.

    >>> import osnet
    >>> osnet.fetch("osnet_x0_25_drawn").name  # comes with the package
    'osnet_x0_25_drawn.ckpt'
    """
    return _fetch(model, options, keep=False).path


def fetch_verified(model: Model = "osnet", **options: Unpack[FetchOptions]) -> VerifiedFile:
    """As `fetch`, with the bytes that were hashed."""
    return _fetch(model, options, keep=True)


def _fetch(model: Model, options: FetchOptions, *, keep: bool) -> VerifiedFile:
    check_fetch_options(options)
    how: dict[str, Any] = {**options}
    force, progress = how.pop("force", False), how.pop("progress", None)
    card = resolve(model)
    path, content = obtain(card, read_settings(**how), force=force, progress=progress, keep=keep)
    return VerifiedFile(path, content.data or b"", content.sha256, card)


def resolve(model: Model) -> Card:
    """The card that `model` stands for."""
    return model if isinstance(model, Card) else catalog.get_card(model)


def obtain(
    card: Card, settings: Settings, *, force: bool = False, progress: bool | None = None, keep: bool = False
) -> tuple[Path, cache.Content]:
    """The path of `card`'s checkpoint, verified, and what was hashed; see `fetch`."""
    if force and settings.offline:
        raise OptionError("force: expected no force when offline, got both; downloading again needs the network")
    deadline = time.monotonic() + settings.timeout
    sha256 = card.checkpoint.sha256
    final = cache.cache_path(settings.cache, card)
    beside = file_beside(card) or final
    published = cache.published(settings.cache, sha256)
    search = cache.Search(sha256, keep=keep)
    if force:
        cache.read(final)  # refuses a folder, FIFO or broken link there
    else:
        found = search.at(beside) or search.at(final) or search.among((*published, *cache.files(settings.cache)))
        for path in dict.fromkeys((beside, final)):
            if other := search.other_at(path):
                logger.warning("%s is not used: expected SHA-256 %s, got %s", path, sha256, other)
        if found is not None:
            return found
    links = tuple(dict.fromkeys((card.checkpoint.link, *catalog.addresses(sha256))))
    local = _in_folders(card, links, settings)
    if local is not None:
        from osnet.hub.partial import store

        return final, store(final, local, sha256, keep=keep)
    if settings.offline:
        raise _not_cached(card, final, search.other_at(final))
    rules = urls.rules(
        (asset.link for known in catalog.list_cards() for asset in known.assets),
        settings.allow_hosts,
        settings.mirrors,
        settings.allow_http,
    )
    addresses = urls.download_urls(links, settings.mirrors)
    for url in (card.checkpoint.link, *addresses):
        rules.check(url)
    cache.make_folder(settings.cache)
    with cache.lock(settings.cache, sha256, timeout=max(deadline - time.monotonic(), 0)):
        if not force:  # another process may have been quicker
            found = search.at(final) or search.among(published)
            if found is not None:
                return found
        # requests takes 100 ms to import, which a cached file need not pay.
        from osnet.hub.download import download
        from osnet.hub.partial import Partial

        with Partial(final, sha256, keep=keep) as partial, Progress(final.name, "B", show=progress) as report:
            content = download(
                addresses, partial, rules=rules, limits=settings.limits, deadline=deadline, progress=report
            )
            partial.publish()
        return final, content


def _not_cached(card: Card, final: Path, other: str | None) -> OsnetError:
    sha256 = card.checkpoint.sha256
    if other is not None:
        return HashError(
            f"{final}: expected SHA-256 {sha256}, got {other}, and offline; the file is kept: look at it, "
            "then fetch again without OSNET_OFFLINE"
        )
    return OfflineError(
        f"{final}: expected the checkpoint of {card.uid} in the cache, found nothing, and offline; fetch it once "
        f"without OSNET_OFFLINE, or put the file with SHA-256 {sha256} there, as `osnet cache add FILE` and "
        f"--mirror FOLDER do (published at {card.checkpoint.link})"
    )


def file_beside(card: Card) -> Path | None:
    """A file of the checkpoint's name beside the card itself, as in a model published to a folder. Not verified."""
    if card.path is None:
        return None
    path = card.path.parent / urls.file_name(card.checkpoint.link)
    return path if path.is_file() else None


def _in_folders(card: Card, links: tuple[str, ...], settings: Settings) -> bytes | None:
    """The bytes of `card`'s checkpoint, from the first of the mirrors on this machine that has them."""
    sha256 = card.checkpoint.sha256
    for folder in settings.folders:
        places = (cache.cache_path(folder, card), *urls.paths(links, folder)) if os.path.isdir(folder) else (folder,)  # noqa: PTH112
        seen = "nothing"
        for path in dict.fromkeys(places):
            try:
                content = cache.read(path, keep=True)
            except CacheError as error:
                seen = str(error)
                continue
            if content is not None and content.sha256 == sha256:
                return content.data
            if content is not None:
                seen = f"{path} with SHA-256 {content.sha256}"
        logger.warning(
            "mirror %s is passed over: expected %s with SHA-256 %s, found %s",
            folder, urls.file_name(card.checkpoint.link), sha256, seen,
        )  # fmt: skip
    return None

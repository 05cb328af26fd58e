"""How to fetch: keywords first, then the ``OSNET_*`` environment variables, then the defaults here."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, TypedDict, Union
from urllib.parse import unquote

from osnet.checks import check_bool
from osnet.errors import CacheError, OptionError, UnknownKeywordError

Mirrors = Union[str, "os.PathLike[str]", Iterable[Union[str, "os.PathLike[str]"]]]

DEFAULT_TIMEOUT = 1800.0
"""Seconds for a whole fetch; the published files have 30 MB."""

MAX_BYTES = 1 << 30
"""Largest file that is downloaded, or read from the cache."""

_WEEK = 7 * 24 * 3600
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two characters: C: is a drive of Windows
_FILE_URL = re.compile(r"file://(?:localhost)?(/.*)", re.IGNORECASE)


class QuietFetchOptions(TypedDict, total=False):
    """`FetchOptions` without ``progress``, for functions that have a `progress` of their own."""

    # Optional and Union: typing.get_type_hints evaluates these, on Python 3.9 too.
    cache_dir: Optional[Union[str, os.PathLike[str]]]
    offline: Optional[bool]
    force: bool
    mirrors: Mirrors
    allow_hosts: Union[str, Iterable[str]]
    allow_http: Optional[bool]
    timeout: Optional[float]


class FetchOptions(QuietFetchOptions, total=False):
    """Keywords of `osnet.fetch`, which every function that may fetch a checkpoint passes on. See there."""

    progress: Optional[bool]


def check_fetch_options(options: Mapping[str, object]) -> None:
    """Check that `FetchOptions` has these keywords, whether or not anything will be fetched.

    Raises:
        UnknownKeywordError: a keyword that it does not have; the message lists those it has.
    """
    known = FetchOptions.__annotations__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UnknownKeywordError(f"unknown keyword {', '.join(unknown)}; those for fetching are {', '.join(known)}")


@dataclass(frozen=True)
class Limits:
    """Upper bounds of a download, whatever a server or another process does.

    Attributes:
        max_bytes: largest file.
        attempts: requests to one URL before the next one is tried; a megabyte of progress resets the count.
        backoff: seconds before the second attempt, doubled for each further one.
        longest_wait: cap in seconds on one wait, also on what ``Retry-After`` asks for.
        redirects: largest number of redirects.
        connect_timeout, read_timeout: seconds to connect, and between two reads.
    """

    max_bytes: int = MAX_BYTES
    attempts: int = 4
    backoff: float = 0.5
    longest_wait: float = 20.0
    redirects: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 30.0


@dataclass(frozen=True)
class Settings:
    """How to fetch.

    Attributes:
        cache: folder of the cache, ``~/.mscache`` by default, laid out as mindspore_hub's.
        offline: never open a socket.
        mirrors: base URLs, tried before the published links.
        folders: folders (or checkpoint files) of this machine, used before any URL, also offline.
        timeout: seconds for the whole fetch, waiting for other processes included.
        allow_hosts: ``HOST`` or ``HOST:PORT``, allowed beside those of the published cards.
        allow_http: plain ``http://`` may be used.
        limits: see `Limits`.
    """

    cache: Path
    offline: bool = False
    mirrors: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    timeout: float = DEFAULT_TIMEOUT
    allow_hosts: tuple[str, ...] = ()
    allow_http: bool = False
    limits: Limits = field(default_factory=Limits)


def read_settings(
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    mirrors: Mirrors = (),
    timeout: float | None = None,
    allow_hosts: str | Iterable[str] = (),
    allow_http: bool | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings from keywords, else from `environ` (default: the process's).

    The variables are ``OSNET_CACHE``, ``OSNET_OFFLINE``, ``OSNET_MIRROR``, ``OSNET_TIMEOUT``, ``OSNET_ALLOW_HOST`` and
    ``OSNET_ALLOW_HTTP``; lists are separated by commas or spaces. A mirror is a base URL, or the path or
    ``file://`` URL of a folder or checkpoint file.

    Raises:
        OptionError: a value that is not understood; the message names the keyword or variable.
        CacheError: no cache folder is given and there is no home folder.
    """
    environ = os.environ if environ is None else environ
    if isinstance(mirrors, os.PathLike):
        mirrors = (mirrors,)
    found = _texts("mirrors", mirrors, "OSNET_MIRROR", environ)
    folders = {text: folder for text in found if (folder := _folder(text)) is not None}
    return Settings(
        cache=_cache(cache_dir, environ),
        offline=_switch("offline", offline, "OSNET_OFFLINE", environ),
        mirrors=tuple(text for text in found if text not in folders),
        folders=tuple(folders.values()),
        timeout=_seconds(timeout, environ),
        allow_hosts=_texts("allow_hosts", allow_hosts, "OSNET_ALLOW_HOST", environ),
        allow_http=_switch("allow_http", allow_http, "OSNET_ALLOW_HTTP", environ),
    )


def _cache(given: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    source, value = ("cache_dir", given) if given is not None else ("OSNET_CACHE", environ.get("OSNET_CACHE") or None)
    if value is not None and (not str(value).strip() or "\0" in str(value)):
        raise OptionError(f"{source}: expected the path of a folder, got {str(value)!r}")
    # pathlib's own expanduser fails in another way in each Python.
    path = Path(os.path.expanduser("~/.mscache" if value is None else value))  # noqa: PTH111
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise CacheError(
            f"no home folder for the cache {str(path)!r}: expected HOME to be set; set OSNET_CACHE (or cache_dir) to a "
            "folder"
        )
    if os.path.exists(path) and not path.is_dir():  # noqa: PTH110 (never raises)
        raise CacheError(f"the cache {str(path)!r} is not a folder; set {source} to one")
    return path.absolute()


def _switch(keyword: str, given: bool | None, variable: str, environ: Mapping[str, str]) -> bool:
    if given is not None:
        return check_bool(keyword, given)
    value = environ.get(variable, "").strip().lower()
    if value not in _TRUE + _FALSE:
        raise OptionError(f"{variable}: expected 1 or 0, got {value!r}")
    return value in _TRUE


def _folder(mirror: str) -> Path | None:
    """The path that `mirror` names; None when it is an address."""
    if "\0" in mirror:
        raise OptionError(f"mirrors: expected an address or a path, got {mirror!r:.200}")
    if not _SCHEME.match(mirror):
        return Path(os.path.expanduser(mirror)).absolute()  # noqa: PTH111 (never raises)
    if not mirror.lower().startswith("file:"):
        return None
    match = _FILE_URL.fullmatch(mirror)
    path = unquote(match[1], errors="surrogateescape") if match else ""
    if not path or "\0" in path:
        raise OptionError(f"mirrors: expected file:///PATH with a path of this machine, got {mirror!r:.200}")
    return Path(path)


def _texts(keyword: str, given: str | Iterable[object], variable: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    if isinstance(given, str):
        given = (given,)
    try:
        found = tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in given)
    except TypeError:
        raise OptionError(f"{keyword}: expected a list of texts, got {given!r}") from None
    if not all(isinstance(item, str) and item.strip() for item in found):
        raise OptionError(f"{keyword}: expected a list of texts, got {given!r}")
    return tuple(map(str, found)) or tuple(environ.get(variable, "").replace(",", " ").split())


def _seconds(given: float | None, environ: Mapping[str, str]) -> float:
    source, value = ("timeout", given) if given is not None else ("OSNET_TIMEOUT", environ.get("OSNET_TIMEOUT") or None)
    if value is None:
        return DEFAULT_TIMEOUT
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= _WEEK:
        raise OptionError(f"{source}: expected seconds above 0 and up to a week, got {value!r}")
    return seconds

"""Which links may be followed, what file they name, and where else to look for it.

A link is matched whole against one strict pattern, so no two parsers can disagree on its host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin

from osnet.errors import OptionError, UrlError

MAX_LENGTH = 2048
MAX_FILE_NAME = 200

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]"
_LINK = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<path>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?P<query>\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_FILE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+@,=() -]*[A-Za-z0-9_+@=)-])?")
# Windows opens a device for these, whatever the ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_DEFAULT_PORT = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Link:
    """A link taken apart; `path` starts with ``/``, `tail` is path and query."""

    scheme: str
    host: str
    port: int
    path: str
    tail: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def parse(url: str) -> Link:
    """`url` taken apart.

    Raises:
        UrlError: not ``http`` or ``https``, credentials, a port out of range, or characters that no plain URL has.
    """
    match = _LINK.fullmatch(url) if len(url) <= MAX_LENGTH else None
    if match is None:
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
        if scheme and scheme.group(1).lower() not in _DEFAULT_PORT:
            problem = f"expected https, got {scheme.group(1).lower()}"
        else:
            problem = "expected https://HOST/PATH in plain ASCII, without a user name or password"
        raise UrlError(f"link {_show(url)} may not be followed: {problem}; correct the card or the setting")
    scheme_name = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORT[scheme_name]
    if not 0 < port < 65536:
        raise UrlError(f"link {_show(url)} may not be followed: expected a port from 1 to 65535, got {port}")
    path = match["path"] or "/"
    return Link(scheme_name, match["host"].lower(), port, path, path + (match["query"] or ""))


@dataclass(frozen=True)
class Rules:
    """Hosts (with the port) that may be asked, and whether plain http is allowed.

    `hosts` holds ``(host, port)``; port 0 means the default port of the scheme.
    """

    hosts: frozenset[tuple[str, int]]
    allow_http: bool = False

    def check(self, url: str) -> Link:
        """`url` taken apart, when it may be followed.

        Raises:
            UrlError: what `parse` refuses, plain http that was not asked for, a host or port that is not allowed.
        """
        link = parse(url)
        if link.scheme == "http" and not self.allow_http:
            raise UrlError(
                f"link {_show(url)} may not be followed: expected https, got http; allow it by name with --allow-http, "
                "allow_http=True or OSNET_ALLOW_HTTP=1"
            )
        own_port = link.port == _DEFAULT_PORT[link.scheme]
        if (link.host, link.port) not in self.hosts and not (own_port and (link.host, 0) in self.hosts):
            name = link.host if own_port else f"{link.host}:{link.port}"
            known = ", ".join(sorted(host if not port else f"{host}:{port}" for host, port in self.hosts))
            raise UrlError(
                f"link {_show(url)} may not be followed: the host {name} is not allowed (allowed: {known}); allow it "
                f"by name with --allow-host {name}, allow_hosts or OSNET_ALLOW_HOST"
            )
        return link

    def check_redirect(self, source: str, location: str) -> str:
        """The whole URL that `source` redirects to, when it may be followed; https never becomes http."""
        try:
            target = urljoin(source, location)
        except ValueError as error:  # such as http://[::1
            raise UrlError(f"{_show(source)} redirects to {_show(location)}: no link ({error})") from None
        try:
            link = self.check(target)
        except UrlError as error:
            raise UrlError(f"{_show(source)} redirects: {error}") from None
        if link.scheme == "http" and parse(source).scheme == "https":
            raise UrlError(f"{_show(source)} redirects to {_show(target)}: https never becomes http")
        return target


def rules(published: Iterable[str], allow_hosts: Iterable[str], mirrors: Iterable[str], allow_http: bool) -> Rules:
    """The rules that follow from the published links, the hosts allowed by name, and the mirrors.

    Raises:
        OptionError: an allowed host that is not ``HOST`` or ``HOST:PORT``.
        UrlError: a mirror that is not a URL.
    """
    hosts = {(parse(url).host, 0) for url in published}
    for text in allow_hosts:
        match = _AUTHORITY.fullmatch(text.strip())
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            raise OptionError(f"allow_hosts: expected HOST or HOST:PORT, got {text!r:.120}")
        hosts.add((match["host"].lower(), int(match["port"] or 0)))
    for url in mirrors:
        link = parse(url)
        if "?" in url:
            raise UrlError(f"mirror {_show(url)}: expected a base URL such as https://HOST/PATH, got one with a query")
        hosts.add((link.host, link.port))
    return Rules(frozenset(hosts), allow_http)


def file_name(url: str) -> str:
    """The name of the file that `url` publishes: the last part of its path, safe to create in a folder.

    Raises:
        UrlError: empty, ``..``, longer than 200 characters, with separators, control or other unusual characters, or
            not ending in ``.ckpt`` (in the cache a card's own ``.md`` is beside it).
    """
    last = parse(url).path.rpartition("/")[2]
    name = unquote_to_bytes(last).decode("utf-8", "replace")
    if len(name) > MAX_FILE_NAME or not _FILE_NAME.fullmatch(name) or _DEVICE.fullmatch(name):
        raise UrlError(
            f"link {_show(url)} names no usable file: expected up to {MAX_FILE_NAME} letters, digits, '.', '_' and "
            f"'-', got {name[:80]!r}; correct the card"
        )
    if not name.lower().endswith(".ckpt"):
        raise UrlError(f"link {_show(url)} names no checkpoint: expected a file name ending in .ckpt, got {name!r}")
    return name


def paths(links: Iterable[str], folder: Path) -> tuple[Path, ...]:
    """Where a local `folder` may hold the file, in order: the path of each link, then its bare file name.

    Raises:
        UrlError: a link names no usable file.
    """
    found = []
    for link in links:
        parts = [part for part in parse(link).path.split("/")[:-1] if part]
        if ".." not in parts:
            found.append(folder.joinpath(*parts, file_name(link)))
        found.append(folder / file_name(link))
    return tuple(dict.fromkeys(found))


def download_urls(links: Iterable[str], mirrors: Iterable[str]) -> tuple[str, ...]:
    """Where to look, in order: each mirror with the path of each link, then with its bare file name; then the links."""
    links = tuple(links)
    found = []
    for mirror in mirrors:
        base = mirror.rstrip("/")
        parse(base + "/")
        found += [base + parse(link).tail for link in links]
        found += [f"{base}/{parse(link).path.rpartition('/')[2]}" for link in links]
    return tuple(dict.fromkeys((*found, *links)))


def _show(url: str) -> str:
    """`url` for a message: escaped, cut, and without a password."""
    text = re.sub(r"//[^/@]*@", "//***@", url)
    return repr(text if len(text) <= 200 else text[:200] + "...")

"""From addresses to the bytes with a given SHA-256: retries, resumes, and goes on to the next address.

What a server says is never trusted: every byte is counted and hashed, redirects are checked hop by hop, and lengths
and ranges only decide whether to go on or to start again.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests
import urllib3.exceptions

from osnet.errors import CacheError, DownloadError, HashError, OsnetError, UrlError
from osnet.hub import connection, urls
from osnet.hub.cache import Content, free_bytes, refuse
from osnet.hub.connection import Watch
from osnet.hub.partial import Partial
from osnet.hub.settings import Limits

READ = 1 << 16
PROGRESS = 1 << 20
"""Bytes that show that an address works, so that its attempts count anew."""

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes so far, and how many there will be where that is known."""

_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class _RetryableError(Exception):
    """This attempt failed in a way that another one may not.

    Attributes:
        error: what to raise when no attempt is left.
        after: seconds that the server asks for; ``None`` for our own backoff.
    """

    def __init__(self, error: OsnetError, *, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


class _UnreachableError(DownloadError):
    """The server was not reached at all: its other addresses need not be tried."""


def download(
    addresses: Sequence[str],
    partial: Partial,
    *,
    rules: urls.Rules,
    limits: Limits,
    deadline: float,
    progress: Progress,
) -> Content:
    """Fill `partial` with the bytes whose SHA-256 it names, from the first address that has them.

    After any error at one address, except one of the disk, the next is tried.

    Args:
        addresses: tried in order; while others remain, one gets half of the time that is left, and the next goes on
            where it stopped.
        deadline: moment of the monotonic clock.
        progress: called with the bytes so far, and how many there will be where that is known.

    Returns:
        What `partial` holds on the disk.

    Raises:
        HashError: no address had the bytes, and at least one had others.
        UrlError: a redirect led where it may not, and no address had the bytes.
        DownloadError: no address had the bytes.
        DiskError, CacheError: the disk is full or refuses.
    """
    failures: list[OsnetError] = []
    unreachable = set()
    for index, url in enumerate(addresses):
        origin = urls.parse(url).origin
        if origin in unreachable:
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            break
        share = left if index == len(addresses) - 1 else left / 2
        try:
            with Watch(time.monotonic() + share) as watch:
                return _Address(url, partial, rules, limits, watch, progress).download()
        except (DownloadError, HashError, UrlError) as error:
            failures.append(error)
            if isinstance(error, _UnreachableError):
                unreachable.add(origin)
        except CacheError:
            raise
        except Exception as error:  # noqa: BLE001 - a hostile reply makes requests and urllib3 raise what they like
            failures.append(DownloadError(f"{url}: the request failed ({type(error).__name__}: {_reason(error)})"))
    raise _summary(failures, partial)


def _summary(failures: Sequence[OsnetError], partial: Partial) -> OsnetError:
    kind = next(
        (kind for kind in (HashError, UrlError) if any(isinstance(error, kind) for error in failures)), DownloadError
    )
    lines = list(dict.fromkeys(str(error) for error in failures)) or ["no time was left (timeout, OSNET_TIMEOUT)"]
    return kind(
        f"no address gave the published file: {'; '.join(lines)}. Check the network, try later, give a mirror (an "
        "address or a folder) with mirrors, --mirror or OSNET_MIRROR, or put the file with SHA-256 "
        f"{partial.sha256} at {partial.final}"
    )


@dataclass
class _Address:
    """The attempts at one address."""

    url: str
    partial: Partial
    rules: urls.Rules
    limits: Limits
    watch: Watch
    progress: Progress
    etag: str | None = None

    def download(self) -> Content:
        limits, partial = self.limits, self.partial
        attempt, delay = 0, limits.backoff
        while True:
            attempt += 1
            before = partial.size
            try:
                return self._attempt()
            except _RetryableError as again:
                if self.watch.expired:
                    raise self._too_slow() from None
                if partial.size - before >= PROGRESS:
                    attempt, delay = 1, limits.backoff
                if attempt >= limits.attempts:
                    raise again.error from None
                pause = min(delay if again.after is None else again.after, limits.longest_wait)
                if pause >= self.watch.left:
                    raise again.error from None
                time.sleep(pause)
                delay *= 2

    def _attempt(self) -> Content:
        partial = self.partial
        resumed = partial.size > 0
        if resumed:
            content = partial.read()
            if content.sha256 == partial.sha256:
                return content
        complete = self._receive()
        content = partial.read()
        if content.sha256 == partial.sha256:
            return content
        if partial.size == 0:
            raise DownloadError(f"{self.url}: the server sent an empty file")
        error = HashError(
            f"{self.url}: expected SHA-256 {partial.sha256}, got {content.sha256} from {content.size} bytes"
            + _looks_like(partial.head(1024))
        )
        partial.restart()
        if resumed or not complete:
            raise _RetryableError(error)
        raise error

    def _receive(self) -> bool:
        """Append one reply's body. False when neither its length nor its last chunk shows that it was whole."""
        with self._reply() as reply:
            expected = self._check_head(reply)
            self._read_body(reply, expected)
        chunked = "chunked" in reply.headers.get("Transfer-Encoding", "").lower()
        got = self.partial.size
        if expected is not None and got != expected:
            if got > expected:
                self.partial.restart()
            raise _RetryableError(DownloadError(f"{self.url}: the body ended after {got} of {expected} bytes"))
        return chunked or expected is not None

    @contextmanager
    def _reply(self) -> Iterator[requests.Response]:
        """The reply behind at most `limits.redirects` redirects, each hop checked before it is asked."""
        url, seen = self.url, {self.url}
        headers = {}
        if self.partial.size:
            headers["Range"] = f"bytes={self.partial.size}-"
            if self.etag:
                headers["If-Range"] = self.etag
        while True:
            with self._get(url, headers) as reply:
                if reply.status_code not in _REDIRECTS:
                    yield reply
                    return
                location = reply.headers.get("Location")
            if not location:
                raise DownloadError(f"{url}: HTTP {reply.status_code} without a Location")
            url = self.rules.check_redirect(url, location)
            if url in seen:
                raise UrlError(f"{self.url} redirects in a loop, back to {url}")
            if len(seen) > self.limits.redirects:
                raise UrlError(f"{self.url} redirects more than {self.limits.redirects} times")
            seen.add(url)

    @contextmanager
    def _get(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        limits = self.limits
        try:
            with connection.get(
                url,
                headers=headers,
                connect_timeout=limits.connect_timeout,
                read_timeout=limits.read_timeout,
                watch=self.watch,
            ) as reply:
                yield reply
        except requests.exceptions.SSLError as error:
            raise _UnreachableError(
                f"{url}: the TLS certificate is not trusted ({_reason(error)}); if your network has its own authority, "
                "set REQUESTS_CA_BUNDLE to its certificate file"
            ) from None
        except requests.exceptions.ProxyError as error:
            raise _RetryableError(_UnreachableError(f"{url}: the proxy does not answer ({_reason(error)})")) from None
        except requests.exceptions.ReadTimeout:
            raise _RetryableError(DownloadError(f"{url}: no answer within {limits.read_timeout:g} s")) from None
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            if error.args and isinstance(error.args[0], urllib3.exceptions.ProtocolError):  # reached, and no HTTP
                raise _RetryableError(DownloadError(f"{url}: no HTTP reply ({_reason(error)})")) from None
            raise _RetryableError(_UnreachableError(f"{url}: no connection ({_reason(error)})")) from None

    def _check_head(self, reply: requests.Response) -> int | None:
        """The length of the whole file when the head gives it; `partial` is left where the body goes on."""
        partial, limits, status = self.partial, self.limits, reply.status_code
        if status in _BUSY or status >= 500:
            raise _RetryableError(DownloadError(f"{self.url}: HTTP {status}"), after=_retry_after(reply))
        if status == 416 and partial.size:
            partial.restart()
            raise _RetryableError(DownloadError(f"{self.url}: HTTP 416"))
        if status not in (200, 206):
            raise DownloadError(f"{self.url}: HTTP {status}")
        encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise DownloadError(f"{self.url}: expected the plain file, got it encoded as {encoding!r:.40}")
        text = reply.headers.get("Content-Length", "").strip()
        known = re.fullmatch("[0-9]{1,18}", text) and "Transfer-Encoding" not in reply.headers
        expected = int(text) if known else None
        if status == 206:
            expected = self._check_range(reply, expected)
        else:
            partial.restart()
        etag = reply.headers.get("ETag", "")
        self.etag = etag if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag) else None
        if expected is not None and expected > limits.max_bytes:
            raise DownloadError(
                f"{self.url}: expected at most {limits.max_bytes} bytes, the server announces {expected}"
            )
        if expected is not None and expected - partial.size > free_bytes(partial.path):
            refuse(partial.path, OSError(errno.ENOSPC, "no room for the file"), expected - partial.size)
        return expected

    def _check_range(self, reply: requests.Response, length: int | None) -> int:
        """The whole length from a 206 that goes on exactly where `partial` ends."""
        said = reply.headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(said.strip())
        start, end = (int(match[1]), int(match[2])) if match else (-1, -1)
        total = int(match[3]) if match and match[3] != "*" else end + 1
        size = self.partial.size
        if not size or start != size or (length is not None and length != total - size):
            self.partial.restart()
            raise _RetryableError(
                DownloadError(f"{self.url}: asked for bytes from {size}, got HTTP 206 with Content-Range {said!r:.80}")
            )
        return total

    def _read_body(self, reply: requests.Response, expected: int | None) -> None:
        partial, limits = self.partial, self.limits
        while True:
            self.progress(partial.size, expected)
            try:
                data: bytes = reply.raw.read(READ, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                size = f"{partial.size} of {expected}" if expected is not None else f"{partial.size}"
                raise _RetryableError(
                    DownloadError(f"{self.url}: the body broke off after {size} bytes ({_reason(error)})")
                ) from None
            if self.watch.expired:
                raise self._too_slow()
            if not data:
                return
            if partial.size + len(data) > limits.max_bytes:
                raise DownloadError(f"{self.url}: expected at most {limits.max_bytes} bytes, the server sends more")
            partial.write(data)

    def _too_slow(self) -> DownloadError:
        return DownloadError(
            f"{self.url}: not done in time, {self.partial.size} bytes so far; give more seconds with timeout, "
            "--timeout or OSNET_TIMEOUT"
        )


def _retry_after(reply: requests.Response) -> float | None:
    """Seconds; a date is ignored, since only monotonic timers are used here."""
    text = reply.headers.get("Retry-After", "").strip()
    return float(text) if re.fullmatch("[0-9]{1,9}", text) else None


def _looks_like(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return "; it looks like a Git LFS pointer, not a checkpoint"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")) or b"<html" in text:
        return "; it looks like a web page, not a checkpoint"
    return ""


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line."""
    causes = [error]
    while causes:
        error = causes[0]
        causes = [cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, BaseException)]
    text = re.sub(r"^\w+\(host=[^)]*\): ", "", " ".join(str(error).split()))
    return text[:200] or type(error).__name__

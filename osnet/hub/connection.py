"""One HTTP request at a time, which ends at its deadline whatever the server does.

A read timeout alone does not stop a server that sends a byte now and then, in the head or in the body: at the deadline
the socket itself is shut down, and whatever read is waiting ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from osnet._version import __version__

HEADERS = {"User-Agent": f"osnet/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}


class Watch:
    """Shuts the watched connection down at a moment of the monotonic clock; one connection at a time."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(max(deadline - time.monotonic(), 0), self._end)
        self._timer.daemon = True

    def __enter__(self) -> Watch:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    @property
    def left(self) -> float:
        """Seconds until the deadline, never below 0."""
        return max(self.deadline - time.monotonic(), 0.0)

    def attach(self, connected: socket.socket) -> None:
        """Watch `connected`, through a copy: TLS wraps and replaces the socket object, not the connection."""
        with self._lock:
            self._socket = connected.dup()
        if self.expired:
            self._end()

    def forget(self) -> None:
        """Watch nothing; the copy would keep the connection open."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def _end(self) -> None:
        with self._lock:
            self.expired = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class _NoCredentials(AuthBase):
    """Stands where requests would otherwise look into ``.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """None: the caller follows by hand. requests would read the whole body of a redirect first."""
        return None


class _Adapter(HTTPAdapter):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        watch, plain = self._watch, pool.ConnectionCls

        class Watched(plain):  # type: ignore[misc, valid-type]
            def _new_conn(self) -> socket.socket:
                connected: socket.socket = super()._new_conn()
                watch.attach(connected)
                return connected

        pool.ConnectionCls = Watched
        return pool


@contextlib.contextmanager
def get(
    url: str, *, headers: dict[str, str], connect_timeout: float, read_timeout: float, watch: Watch
) -> Iterator[requests.Response]:
    """The reply to one GET, its body unread and undecoded, redirects not followed.

    Proxies and the certificate bundle come from the environment (``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``), credentials
    never do.

    Raises:
        requests.exceptions.RequestException: no reply; `SSLError` also where the certificate bundle is neither a file
            nor a folder.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    usable = not bundle or Path(bundle).is_file() or Path(bundle).is_dir()
    if not usable and url[:6].lower() == "https:":  # requests would wait for a FIFO's writer
        raise requests.exceptions.SSLError(f"expected the certificate bundle {bundle!r} to be a file or folder")
    with _Session() as session:
        session.auth = _NoCredentials()
        for prefix in ("https://", "http://"):
            session.mount(prefix, _Adapter(watch))
        left = max(watch.left, 0.001)
        try:
            with session.get(
                url,
                headers={**HEADERS, **headers},
                stream=True,
                allow_redirects=False,
                timeout=(min(connect_timeout, left), min(read_timeout, left)),
            ) as reply:
                yield reply
        finally:
            watch.forget()

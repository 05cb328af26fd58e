"""What every request passes before the app sees it: host, origin, token, size and time limits, security headers."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from osnet.server.metrics import Metrics
from osnet.server.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)

CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"cache-control", b"no-store"),
]

OPEN = ("/", "/health", "/ready", "/favicon.ico")
"""Paths that need no token; also those under `PAGE`. They tell nothing of the gallery."""

PAGE = "/page/"
PICTURES = ("/api/embed", "/api/search", "/api/entries")
"""Paths that take a picture as their body."""


class RefusalError(Exception):
    """An answer that is given before the app is asked."""

    def __init__(self, status: int, detail: str, reason: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason, self.headers = status, detail, reason, headers


class Guard:
    """ASGI middleware, outermost.

    Args:
        app: what answers.
        settings: limits, hosts, token.
        metrics: counts what is refused and how long requests take.
        full: called with path and client before a body is read; raises `RefusalError` where there is no place for it.
    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics, full: Callable[[str, str], None]) -> None:
        self._app, self._settings, self._metrics, self._full = app, settings, metrics, full
        self._held = 0  # bytes of uploads that are arriving or worked on

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        answer = _Answer(send)
        body = bytearray()
        try:
            headers = _headers(scope)
            self._check(scope, headers)
            await self._read(scope["path"] in PICTURES, receive, body)
            await asyncio.wait_for(
                self._app(scope, _replay(bytes(body), receive), answer.send), self._settings.request_seconds
            )
        except RefusalError as refusal:
            self._metrics.refused.labels(refusal.reason).inc()
            await answer.refuse(refusal)
        except asyncio.TimeoutError:
            await answer.refuse(RefusalError(503, "the answer took too long", "slow", **{"retry-after": "5"}))
        except Exception:  # noqa: BLE001 - whatever it was, its details stay here
            _log.exception("a request failed")
            await answer.refuse(RefusalError(500, "internal error; the server's log has the reason", "error"))
        finally:
            self._held -= len(body)
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(scope["method"] if route != "other" else "any", route, answer.status).inc()
        self._metrics.seconds.labels(route).observe(time.perf_counter() - start)

    def _check(self, scope: MutableMapping[str, Any], headers: dict[bytes, list[bytes]]) -> None:
        path, method = scope["path"], scope["method"]
        hosts = headers.get(b"host", [])
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if not self._settings.allows_host(host):
            raise RefusalError(
                403, f"this server is not known as {host[:100]!r}; its option --allow-name adds a name", "host"
            )
        self._check_origin(headers, host, entering=path == "/" and method == "GET")
        open_path = path in OPEN or path.startswith(PAGE)
        if self._settings.token and not open_path and not self._knows_token(headers):
            raise RefusalError(
                401, "expected the header Authorization: Bearer TOKEN, with the token of this server", "token",
                **{"www-authenticate": "Bearer"},
            )  # fmt: skip
        if method == "POST":
            self._full(path, client_of(scope))

    def _check_origin(self, headers: dict[bytes, list[bytes]], host: str, *, entering: bool) -> None:
        origins = headers.get(b"origin", [])
        own = {f"http://{host}".encode("latin-1").lower(), f"https://{host}".encode("latin-1").lower()}
        site = headers.get(b"sec-fetch-site", [b"none"])[0]
        if any(origin.lower() not in own for origin in origins) or (
            site not in (b"same-origin", b"none") and not entering
        ):
            raise RefusalError(403, "pages of other sites may not use this server", "origin")

    def _knows_token(self, headers: dict[bytes, list[bytes]]) -> bool:
        given = headers.get(b"authorization", [b""])[0]
        scheme, _, token = given.partition(b" ")
        return hmac.compare_digest(token.strip(), self._settings.token.encode()) and scheme.lower() == b"bearer"

    async def _read(self, is_picture: bool, receive: Receive, body: bytearray) -> None:
        """Read all of the body into `body`, within its limits. What is left after a refusal is read by uvicorn."""
        limit = self._settings.max_bytes if is_picture else self._settings.max_body
        advice = "; make the picture smaller, or start the server with a higher --max-mb" if is_picture else ""
        until = time.monotonic() + self._settings.upload_seconds
        more = True
        while more:
            try:
                message = await asyncio.wait_for(receive(), max(0.01, until - time.monotonic()))
            except asyncio.TimeoutError:
                seconds = self._settings.upload_seconds
                raise RefusalError(408, f"the body took over {seconds:g} s", "slow") from None
            if message["type"] == "http.disconnect":
                raise RefusalError(499, "the client has left", "left")
            piece = message.get("body", b"")
            if len(body) + len(piece) > limit:
                raise RefusalError(413, f"the body is over {limit:,} bytes{advice}", "size")
            if self._held + len(piece) > self._settings.held_bytes:
                raise RefusalError(503, "too many uploads at the same time", "busy", **{"retry-after": "1"})
            body += piece
            self._held += len(piece)
            more = message.get("more_body", False)


class _Answer:
    """Sends what the app answers, with the security headers; a refusal where it has not begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message.get("headers", [])}
            extra = [header for header in HEADERS if header[0] not in given]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await self._send(message)

    async def refuse(self, refusal: RefusalError) -> None:
        if self.status:
            return  # uvicorn closes the connection of an answer that is not whole
        content = json.dumps({"detail": refusal.detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})


def client_of(scope: MutableMapping[str, Any]) -> str:
    """Address of who asks."""
    return str((scope.get("client") or ("unknown",))[0])


def _headers(scope: MutableMapping[str, Any]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, []).append(value)
    return found


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body at once, and then what `receive` gives."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay

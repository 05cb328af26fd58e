"""uvicorn's HTTP protocol with limits that it does not have: slow headers, slow readers, too many connections."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_LOOK = 1.0
"""Seconds between two looks at a connection."""

_PATIENCE = 15.0
"""Seconds without progress after which a connection is cut."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b'content-length: 33\r\n\r\n{"detail":"too many connections"}'
)


def limited(connections: int) -> type[asyncio.Protocol]:
    """A protocol class that holds at most so many connections."""

    class Limited(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._stalled = 0.0
            self._left_before = 0
            if len(self.connections) > connections:
                transport.write(_FULL)
                transport.close()
            self._watch = self.loop.call_later(_LOOK, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            """Cut a connection whose headers do not end, or whose client does not read."""
            left = self.transport.get_write_buffer_size()
            idle = self.cycle is None or self.cycle.response_complete
            waits_for_headers = idle and self.timeout_keep_alive_task is None
            unread = left > 0 and left >= self._left_before
            self._stalled = self._stalled + _LOOK if waits_for_headers or unread else 0.0
            self._left_before = left
            if self._stalled >= _PATIENCE:
                self.transport.abort()
                return
            self._watch = self.loop.call_later(_LOOK, self._look)

    return Limited

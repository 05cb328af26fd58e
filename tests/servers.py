"""A real HTTP or HTTPS server on loopback that answers exactly what a test says, and misbehaves on command.

Each path has a `Reply`: a function that gets an `Exchange` and writes raw bytes. One request for each connection.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import re
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme


class Authority:
    """A certificate authority of our own, which tests trust through ``REQUESTS_CA_BUNDLE``."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.bundle = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.bundle)

    def context(self, *names: str) -> ssl.SSLContext:
        """TLS of a server called `names`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


@dataclass
class Exchange:
    """One request and the socket to answer it on. Header names are lower case."""

    path: str
    headers: dict[str, str]
    send: Callable[[bytes], None]
    closed: threading.Event

    @property
    def start(self) -> int:
        """First byte asked for; 0 without a Range."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(match[1]) if match else 0

    def head(self, status: str = "200 OK", **headers: object) -> None:
        """Send status and headers; ``content_length=3`` is ``Content-Length: 3``."""
        lines = [f"HTTP/1.1 {status}", "Connection: close"]
        lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


Reply = Callable[[Exchange], None]


@dataclass
class Server:
    """Runs from `serving` on. `requests` holds every request in order."""

    scheme: str
    port: int
    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[Exchange] = field(default_factory=list)
    connections: int = 0

    @property
    def host(self) -> str:
        """What `allow_hosts` takes."""
        return f"localhost:{self.port}"

    def url(self, path: str) -> str:
        return f"{self.scheme}://localhost:{self.port}{path}"

    def on(self, path: str, reply: Reply) -> str:
        """Answer `path` with `reply`; its URL."""
        self.replies[path] = reply
        return self.url(path)

    @property
    def paths(self) -> list[str]:
        return [exchange.path for exchange in self.requests]


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Server]:
    """A server on `port` (0: a free one) of loopback, with TLS when `context` is given."""
    closed = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            server.connections += 1
            connection: socket.socket = self.request
            connection.settimeout(30)
            with contextlib.suppress(OSError):
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                with connection:
                    self.answer(connection)

        def answer(self, connection: socket.socket) -> None:
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                data += chunk
            first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            path = first.split(" ")[1]
            exchange = Exchange(path, headers, connection.sendall, closed)
            server.requests.append(exchange)
            server.replies.get(path, status("404 Not Found"))(exchange)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 64

    with Listener(("127.0.0.1", port), Handler) as listener:
        server = Server("http" if context is None else "https", listener.server_address[1])
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            closed.set()
            listener.shutdown()
            thread.join()


@contextlib.contextmanager
def proxying() -> Iterator[tuple[str, list[str]]]:
    """A proxy for HTTPS on loopback: its URL, and the hosts that it was asked to connect to."""
    asked: list[str] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(65536)
            target = head.split(b" ")[1].decode()
            asked.append(target)
            host, _, port = target.rpartition(":")
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 10) as upstream:
                self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=relay, args=(upstream, self.request), daemon=True)
                back.start()
                relay(self.request, upstream)
                back.join()

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{listener.server_address[1]}", asked
        finally:
            listener.shutdown()
            thread.join()


def whole(data: bytes, **headers: object) -> Reply:
    """200 with all of `data`; `headers` replace or add."""
    return lambda exchange: _send(exchange, data, "200 OK", {"content_length": len(data), **headers})


def ranged(data: bytes, etag: str = '"one"') -> Reply:
    """A server that resumes: 206 from the byte asked for, 416 past the end, 200 when If-Range names another version."""

    def reply(exchange: Exchange) -> None:
        if "range" not in exchange.headers or exchange.headers.get("if-range", etag) != etag:
            _send(exchange, data, "200 OK", {"content_length": len(data), "etag": etag, "accept_ranges": "bytes"})
        elif exchange.start >= len(data):
            exchange.head("416 Range Not Satisfiable", content_length=0, content_range=f"bytes */{len(data)}")
        else:
            rest = data[exchange.start :]
            said = f"bytes {exchange.start}-{len(data) - 1}/{len(data)}"
            headers = {"content_length": len(rest), "content_range": said, "etag": etag}
            _send(exchange, rest, "206 Partial Content", headers)

    return reply


def status(line: str, **headers: object) -> Reply:
    """A head with an empty body."""
    return lambda exchange: exchange.head(line, **{"content_length": 0, **headers})


def redirect(location: str, line: str = "302 Found") -> Reply:
    return status(line, location=location)


def until_close(data: bytes) -> Reply:
    """No length at all: the body ends where the connection does."""
    return lambda exchange: _send(exchange, data, "200 OK", {})


def cut(data: bytes, count: int, **headers: object) -> Reply:
    """Promises all of `data`, sends `count` bytes of it."""
    return lambda exchange: _send(exchange, data[:count], "200 OK", {"content_length": len(data), **headers})


def cut_chunks(data: bytes, count: int) -> Reply:
    """A chunked body that stops before its last chunk."""

    def reply(exchange: Exchange) -> None:
        exchange.head(transfer_encoding="chunked")
        exchange.send(b"%x\r\n%s\r\n" % (count, data[:count]))

    return reply


def endless_chunks(chunk: bytes = b"x" * 65536) -> Reply:
    def reply(exchange: Exchange) -> None:
        exchange.head(transfer_encoding="chunked")
        while not exchange.closed.is_set():
            exchange.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    return reply


def drip(data: bytes, pause: float, at_once: int = 0) -> Reply:
    """All of `data` is promised; `at_once` bytes come at once, then one byte each `pause` seconds."""

    def reply(exchange: Exchange) -> None:
        exchange.head(content_length=len(data) - exchange.start)
        exchange.send(data[:at_once])
        for byte in data[at_once:]:
            exchange.send(bytes([byte]))
            if exchange.closed.wait(pause):
                return

    return reply


def drip_head(pause: float) -> Reply:
    """A head that never ends, byte by byte."""

    def reply(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not exchange.closed.wait(pause):
            exchange.send(b"x")

    return reply


def gzipped(data: bytes) -> Reply:
    packed = gzip.compress(data)
    return whole(packed, content_encoding="gzip")


def in_turn(*replies: Reply) -> Reply:
    """The first request gets the first reply, and so on; the last one repeats."""
    count = itertools.count()
    return lambda exchange: replies[min(next(count), len(replies) - 1)](exchange)


def hang(exchange: Exchange) -> None:
    """No answer at all."""
    exchange.closed.wait(60)


def pausing(data: bytes, count: int, resume: threading.Event) -> Reply:
    """Sends `count` bytes of `data`, then waits for `resume` before the rest; ranges are understood."""

    def reply(exchange: Exchange) -> None:
        start = exchange.start
        if start:
            return ranged(data)(exchange)
        exchange.head(content_length=len(data), etag='"one"')
        exchange.send(data[:count])
        while not resume.wait(0.02) and not exchange.closed.is_set():
            pass
        exchange.send(data[count:])
        return None

    return reply


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.01)


def _send(exchange: Exchange, data: bytes, line: str, headers: dict[str, object]) -> None:
    exchange.head(line, **headers)
    exchange.send(data)

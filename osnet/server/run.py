"""A gallery that is served until Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from osnet.errors import OptionError
from osnet.gallery.gallery import Gallery
from osnet.server.app import create_app
from osnet.server.connections import limited
from osnet.server.settings import Settings


class Server(uvicorn.Server):
    """Serves `gallery` in `run` until `stop`, Ctrl-C or SIGTERM; accepted requests are answered first.

    Args:
        gallery: is closed at the end.
        settings: address and limits.
        started: called with the address when requests are accepted.

    Attributes:
        address: such as ``http://127.0.0.1:8765/``.

    Raises:
        OptionError: the address cannot be listened on, or the gallery's model cannot be loaded.
    """

    def __init__(self, gallery: Gallery, settings: Settings, started: Callable[[str], None]) -> None:
        self._listener = _listen(settings.host, settings.port)
        host, port = self._listener.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - all addresses of this machine
            host = (*settings.allow_names, _own_address(self._listener.family))[0]
        self.address = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        self._tell = started
        try:
            app = create_app(gallery, settings)
        except BaseException:
            self._listener.close()
            raise
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # the addresses of requests hold the names of people
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            timeout_graceful_shutdown=round(settings.stop_seconds),
            http=limited(settings.connections),
            ws="none",
        )
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop."""
        super().run(sockets=sockets or [self._listener])

    def stop(self) -> None:
        """End `run` in another thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell(self.address)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM; uvicorn's own would raise them again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {kind: signal.signal(kind, self.handle_exit) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


def _own_address(family: socket.AddressFamily) -> str:
    """The address of this machine from which it would reach others; nothing is sent."""
    other, loopback = ("192.0.2.1", "127.0.0.1") if family == socket.AF_INET else ("2001:db8::1", "::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError:  # no network
            return loopback
        return str(probe.getsockname()[0])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=1024)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python adds the address
        raise OptionError(
            f"cannot listen on {host}, port {port}: {reason}; choose another address with --host and --port"
        ) from error

"""What a server may be asked for, and how much of it at once."""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from osnet.checks import check_integer
from osnet.errors import OptionError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORT = 8765

MIN_TOKEN = 16
"""Characters of a token; `secrets.token_urlsafe` gives 43."""


@dataclass(frozen=True)
class Settings:
    """How a gallery is served.

    Attributes:
        host: address to listen on. Any but a loopback address needs a token, and gets a random one without `token`.
        port: TCP port; 0 for a free one.
        token: that every request for data must carry (``Authorization: Bearer ...``); empty: none.
        allow_names: names under which the server is reached, beside those of the loopback and IP addresses.
        calibration: file of ``osnet eval --calibrate``; None for none.
        audit: file that gets a line for each enrolment and removal; None for standard error.
        read_only: enrolling and removing are refused.
        max_bytes, max_pixels: of a picture, checked before it is decoded.
        max_body: bytes of a body that is not a picture.
        upload_seconds, request_seconds: for the arrival of a body, and for the answer after that.
        held_bytes: of all bodies that are arriving or worked on, together.
        connections: at the same time.
        max_wait: seconds that a picture may wait for the network; more are refused with 503.
        gather: seconds for which a picture waits for others that are on their way, to be computed together.
        stop_seconds: for answering accepted requests at the end.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str = field(default="", repr=False)
    allow_names: tuple[str, ...] = ()
    calibration: Path | None = None
    audit: Path | None = None
    read_only: bool = False
    max_bytes: int = 16 << 20
    max_pixels: int = 50_000_000
    max_body: int = 64 << 10
    upload_seconds: float = 15.0
    request_seconds: float = 60.0
    held_bytes: int = 256 << 20
    connections: int = 512
    max_wait: float = 0.5
    gather: float = 0.003
    stop_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_integer("port", self.port, least=0, most=65535)
        check_integer("max_bytes", self.max_bytes, least=1024, most=1 << 30)
        check_integer("max_pixels", self.max_pixels, least=1, most=100_000_000)
        for name in self.allow_names:
            if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name):
                raise OptionError(f"allow_names: expected a host name without port, such as gallery.lan, got {name!r}")
        if self.token and not re.fullmatch(rf"[\x21-\x7e]{{{MIN_TOKEN},}}", self.token):
            raise OptionError(
                f"token (OSNET_TOKEN): expected at least {MIN_TOKEN} printable ASCII characters, got {len(self.token)}"
            )
        if not self.token and not self.is_loopback:
            object.__setattr__(self, "token", secrets.token_urlsafe())

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def allows_host(self, host: str) -> bool:
        """Whether a request may call the server by this ``Host``.

        A page of another site whose name is made to lead here (DNS rebinding) sends its own name. A loopback server
        answers to loopback names only; others also to any IP address, which no such page can send.
        """
        name = re.sub(r":\d*$", "", host.lower())
        name = name[1:-1] if name[:1] == "[" and name[-1:] == "]" else name
        if name in LOOPBACK_NAMES or name in map(str.lower, self.allow_names):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name == self.host.lower()
        return address.is_loopback or not self.is_loopback

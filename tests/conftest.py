"""What every test stands on: no test touches the user's cache, settings or network."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from osnet.hub.card import Asset, Card, parse_card, read_card, render_card
from tests.servers import Authority, Server, serving

# A busy machine is no fault of the code under test.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# A shell that starts the tests in the background has them, and every process that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the cache at an empty folder and forget every setting of the surroundings."""
    for name in list(os.environ):
        if name.startswith("OSNET_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OSNET_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("osnet.progress.lines_by_default", False)  # a command that a test calls here sets it for good


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside a development checkout; tests that want it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("the reference material (../shared) is not here")
    return SHARED


CardMaker = Callable[..., Card]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority made for this run; `https_server` has its certificate."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def http_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def https_server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Trusted by this process and its children, through REQUESTS_CA_BUNDLE."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    with serving(authority.context("localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture
def make_card(tmp_path: Path) -> CardMaker:
    """``make_card(link, data)``: a card of the user's own that publishes `data` at `link`; it stands in a file.

    ``name`` is the file's name without ``.md``; further keywords replace front-matter values (``user_id="Me"``).
    """

    def make(link: str, data: bytes = b"", *, name: str = "osnet_test", sha256: str = "", **values: str) -> Card:
        seed = Path(__file__).parents[1].joinpath("assets.md").read_bytes()
        card = parse_card(seed)
        entries = {**card.fields, **{key.replace("_", "-"): value for key, value in values.items()}}
        asset = Asset("ckpt", link, sha256 or hashlib.sha256(data).hexdigest())
        path = tmp_path / f"{name}.md"
        path.write_bytes(render_card(replace(card, entries=tuple(entries.items()), assets=(asset,))))
        return read_card(path)

    return make

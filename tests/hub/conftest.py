"""A fetch with short waits, and a look at what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from osnet.hub.card import Card
from osnet.hub.fetch import obtain
from osnet.hub.settings import Limits, read_settings
from tests.servers import Server

Fetch = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test, also for the processes that it starts."""
    monkeypatch.setenv("OSNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fetch_from(cache: Path) -> Fetch:
    """``fetch_from(card, server, ..., limits...)``: fetch allowing these servers, with waits of milliseconds."""

    def run(card: Card, *servers: Server, force: bool = False, timeout: float = 20, **options: object) -> Path:
        limits = {name: options.pop(name) for name in list(options) if name in Limits.__dataclass_fields__}
        options.setdefault("allow_hosts", [server.host for server in servers])
        options.setdefault("cache_dir", cache)
        settings = read_settings(timeout=timeout, **options)  # type: ignore[arg-type]
        settings = replace(settings, limits=Limits(**{"backoff": 0.01, "read_timeout": 5.0, **limits}))  # type: ignore[arg-type]
        return obtain(card, settings, force=force)[0]

    return run


def files_in(folder: Path) -> list[str]:
    """Every file below `folder`, relative to it: partial and lock files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())

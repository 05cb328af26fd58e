"""Listing, checking, adding and removing what is in the cache."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from osnet.errors import CacheError, HashError, UnknownModelError
from osnet.hub.card import Card, render_card
from osnet.hub.fetch import fetch
from osnet.hub.inventory import State, add_to_cache, list_cache, remove_cached, verify_cache
from tests.conftest import CardMaker
from tests.hub.conftest import files_in
from tests.processes import start
from tests.servers import Server, pausing, wait_for, whole

DATA = b"some bytes" * 1000
HUB = "mindspore/1.10"
MARKET = f"{HUB}/osnet_ascend_v1100_market1501_research_cv_mAP83.0.ckpt"


@pytest.fixture
def card(https_server: Server, make_card: CardMaker, monkeypatch: pytest.MonkeyPatch) -> Card:
    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)
    return make_card(https_server.on("/x.ckpt", whole(DATA)), DATA)


@pytest.fixture
def filled(card: Card, cache: Path) -> Path:
    """A valid file with its card beside it, a damaged one, one that nobody knows, and things to leave alone."""
    fetch(card)
    (cache / "mindspore/1.6/osnet_test.md").write_bytes(render_card(card))
    (cache / MARKET).parent.mkdir(parents=True)
    (cache / MARKET).write_bytes(b"damaged")
    (cache / "stranger.ckpt").write_bytes(b"who knows")
    (cache / "mindspore/1.6/osnet").mkdir()
    (cache / "mindspore/1.6/osnet/mindspore_hub_conf.py").write_text("pass")
    return cache


def test_an_empty_or_missing_cache_is_no_error(cache: Path) -> None:
    assert list_cache() == verify_cache() == []
    assert not cache.exists()


@pytest.mark.parametrize("value", [b'"\\UFFFFFFFF"', b"a\n%YAML 1." + b"1" * 5000, b"&a [*a]", b"\xff"])
def test_a_hostile_card_is_one_warning_and_the_others_stand(
    value: bytes, filled: Path, card: Card, caplog: pytest.LogCaptureFixture
) -> None:
    bad = filled / "mindspore/1.6/bad.md"
    bad.write_bytes(render_card(card).replace(card.fields["summary"].encode(), value))
    states = [State.DAMAGED, State.VALID, State.UNKNOWN]
    for what in (list_cache, verify_cache, lambda: remove_cached("stranger.ckpt")):
        caplog.clear()
        found = what()
        assert [message for message in caplog.messages if str(bad) in message] == caplog.messages
        assert len(caplog.messages) == 1
        assert "\n" not in caplog.text.rstrip()
        if what is verify_cache:
            assert [file.state for file in found] == states


def test_list(filled: Path) -> None:
    assert [(str(file.path.relative_to(filled)), file.size, file.cards, file.state) for file in list_cache()] == [
        (MARKET, 7, ("mindspore/1.10/osnet_market1501",), State.UNCHECKED),
        ("mindspore/1.6/x.ckpt", len(DATA), ("mindspore/1.6/osnet_test",), State.UNCHECKED),
        ("stranger.ckpt", 9, (), State.UNCHECKED),
    ]
    assert list_cache(filled) == list_cache()


def test_verify(filled: Path, card: Card) -> None:
    market, mine, stranger = verify_cache()
    assert (market.state, market.cards) == (State.DAMAGED, ("mindspore/1.10/osnet_market1501",))
    assert "63c5be192a64b75900848238ef85cdba1e260269272aa7af26dc3dc2409f59d6" in market.problem
    assert market.sha256 in market.problem
    assert (mine.state, mine.cards) == (State.VALID, ("mindspore/1.6/osnet_test",))
    assert mine.sha256 == card.checkpoint.sha256
    assert mine.problem == ""
    assert stranger.state is State.UNKNOWN
    (filled / "mindspore/1.6/x.ckpt").rename(filled / "renamed")
    assert {file.path.name: file.state for file in verify_cache()}["renamed"] is State.VALID


@pytest.mark.parametrize("thing", ["folder", "fifo", "dangling-link"])
def test_verify_what_is_no_file(thing: str, cache: Path) -> None:
    path = cache / MARKET
    path.parent.mkdir(parents=True)
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "dangling-link": lambda: path.symlink_to("nowhere")}[
        thing
    ]()
    (file,) = verify_cache()
    assert file.path == path
    assert file.state is State.DAMAGED
    assert str(path) in file.problem


def test_add(card: Card, cache: Path, tmp_path: Path) -> None:
    own = cache / "mindspore/1.6/osnet_test.md"  # a card that stands in the cache, as mindspore_hub lays them out
    own.parent.mkdir(parents=True)
    own.write_bytes(render_card(card))
    file = tmp_path / "from a colleague"
    file.write_bytes(DATA)
    added = add_to_cache(file)
    assert (added.path, added.cards, added.state) == (
        cache / "mindspore/1.6/x.ckpt", ("mindspore/1.6/osnet_test",), State.VALID,
    )  # fmt: skip
    assert fetch(card, offline=True) == added.path
    before = files_in(cache)
    added.path.rename(cache / "renamed")
    assert add_to_cache(str(file)).path == cache / "renamed"  # these bytes are there
    assert len(files_in(cache)) == len(before)


def test_add_puts_a_good_file_where_a_damaged_one_stands(filled: Path, tmp_path: Path) -> None:
    damaged = filled / "mindspore/1.6/x.ckpt"
    damaged.write_bytes(DATA[1:])
    (tmp_path / "good").write_bytes(DATA)
    assert add_to_cache(tmp_path / "good").path == damaged
    assert damaged.read_bytes() == DATA


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("own.ckpt", ("none of mindspore/1.7/osnet_dukemtmc", "osnet/2.8/osnet_x0_25_drawn", "give their path")),
        (Path(MARKET).name, ("63c5be192a64b75900848238ef85cdba1e260269272aa7af26dc3dc2409f59d6", "osnet_market1501")),
    ],
)
def test_add_what_no_card_has(name: str, parts: tuple[str, ...], cache: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"other bytes")
    with pytest.raises(HashError) as caught:
        add_to_cache(tmp_path / name)
    assert hashlib.sha256(b"other bytes").hexdigest() in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    assert not cache.exists()


@pytest.mark.parametrize("thing", ["nothing", "folder", "fifo"])
def test_add_what_is_no_file(thing: str, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "x"
    {"nothing": lambda: None, "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}[thing]()
    with pytest.raises((UnknownModelError, CacheError), match="expected"):
        add_to_cache(path)
    assert not cache.exists()


@pytest.mark.parametrize("name", ["osnet_market1501", "mindspore/1.10/OSNET_market1501", MARKET, "absolute"])
def test_remove(name: str, filled: Path) -> None:
    before = files_in(filled)
    assert remove_cached(filled / MARKET if name == "absolute" else name) == (filled / MARKET,)
    assert files_in(filled) == [path for path in before if path != MARKET]


@pytest.mark.parametrize(
    "name",
    [
        "osnet",
        "nothing",
        "",
        ".",
        "..",
        "mindspore",
        "mindspore/1.6/osnet",
        "../precious",
        "mindspore/1.6/osnet_test.md",
    ],
)
def test_remove_what_is_not_there(name: str, filled: Path) -> None:
    (filled.parent / "precious").write_text("x")
    before = files_in(filled)
    with pytest.raises(UnknownModelError, match=r"stranger\.ckpt|no card"):
        remove_cached(name)
    assert files_in(filled) == before
    assert (filled.parent / "precious").exists()


@pytest.mark.slow
def test_partial_files(card: Card, cache: Path, https_server: Server) -> None:
    https_server.on("/x.ckpt", pausing(DATA * 100, 500_000, threading.Event()))
    process = start("import sys, osnet; osnet.fetch(sys.argv[1])", card.path)
    wait_for(lambda: process.poll() is not None or [file for file in list_cache() if file.size > 400_000])
    (file,) = list_cache()
    assert (file.state, file.problem) == (State.PARTIAL, "")
    with pytest.raises(UnknownModelError):
        remove_cached(card.path or "")
    process.kill()
    process.communicate()
    (file,) = verify_cache()
    assert file.state is State.PARTIAL
    assert "killed" in file.problem
    assert remove_cached(card.path or "") == (file.path,)
    assert list_cache() == []

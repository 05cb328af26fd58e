"""What is used, what is fetched, from where, and what each failure leaves."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_type_hints

import pytest

from osnet.errors import DownloadError, HashError, OfflineError, OptionError, UnknownModelError, UrlError
from osnet.hub import cache as hub_cache
from osnet.hub import catalog
from osnet.hub.card import Asset, Card
from osnet.hub.fetch import fetch, fetch_verified
from osnet.hub.settings import FetchOptions, read_settings
from tests.conftest import CardMaker
from tests.hub.conftest import Fetch, files_in
from tests.servers import Server, in_turn, ranged, serving, status, until_close, whole

DATA = random.Random(7).randbytes(200_000)
FINAL = "mindspore/1.6/x.ckpt"


@pytest.fixture
def card(https_server: Server, make_card: CardMaker, monkeypatch: pytest.MonkeyPatch) -> Card:
    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)
    return make_card(https_server.on("/r1/x.ckpt", ranged(DATA)), DATA)


def test_fetched_once_then_used_without_a_request(card: Card, https_server: Server, cache: Path) -> None:
    path = fetch(card)
    assert path == cache / FINAL
    assert path.read_bytes() == DATA
    assert card.path is not None
    assert [fetch(card), fetch(str(card.path)), fetch(card.path)] == [path] * 3
    verified = fetch_verified(card)
    assert (verified.path, verified.data, verified.sha256) == (path, DATA, card.checkpoint.sha256)
    assert https_server.paths == ["/r1/x.ckpt"]
    assert files_in(cache) == [FINAL]


def test_fetch_verified_right_after_the_download(card: Card) -> None:
    assert fetch_verified(card).data == DATA


def test_force_downloads_again(card: Card, https_server: Server, cache: Path) -> None:
    fetch(card)
    fetch(card, force=True)
    assert len(https_server.requests) == 2
    assert files_in(cache) == [FINAL]


@pytest.mark.parametrize("reply", [status("404 Not Found"), whole(b"other"), until_close(b"")])
def test_force_keeps_the_good_file_when_it_fails(reply: object, card: Card, https_server: Server, cache: Path) -> None:
    path = fetch(card)
    https_server.replies["/r1/x.ckpt"] = reply  # type: ignore[assignment]
    with pytest.raises((HashError, ConnectionError)):
        fetch(card, force=True)
    assert path.read_bytes() == DATA
    assert files_in(cache) == [FINAL]


def test_force_and_offline_contradict(card: Card) -> None:
    with pytest.raises(OptionError, match="force"):
        fetch(card, force=True, offline=True)


@pytest.mark.parametrize(
    "where", ["mindspore/1.6/renamed", "mine.ckpt", "a/b/c/d/e.bin", "mindspore/1.6/osnet/old.ckpt"]
)
@pytest.mark.parametrize("offline", [False, True])
def test_right_bytes_under_any_name_are_used(
    where: str, offline: bool, card: Card, https_server: Server, cache: Path
) -> None:
    path = cache / where
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    (path.parent / "noise.ckpt").write_bytes(DATA[1:])
    assert fetch(card, offline=offline) == path
    assert fetch_verified(card, offline=offline).data == DATA
    assert https_server.requests == []


def test_right_bytes_elsewhere_beat_a_damaged_file(card: Card, https_server: Server, cache: Path) -> None:
    final, other = cache / FINAL, cache / "mindspore/1.10/y.ckpt"
    for path, data in ((final, b"damaged"), (other, DATA)):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert fetch(card) == other
    assert final.read_bytes() == b"damaged"
    assert https_server.requests == []


def test_a_published_card_uses_the_file_of_another_with_the_same_sha256(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """osnet (1.6, mAP67) and mindspore/1.3/osnet_dukemtmc (mAP74) are the same bytes."""
    seed, older = catalog.get_card("osnet"), catalog.get_card("mindspore/1.3/osnet_dukemtmc")
    assert seed.checkpoint.sha256 == older.checkpoint.sha256
    path = cache / "mindspore/1.3/osnet_ascend_v130_dukemtmc_research_cv_mAP74.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not the published bytes")
    with pytest.raises(Exception, match="expected the checkpoint"):
        fetch("osnet", offline=True)
    digest = hashlib.sha256(b"not the published bytes").hexdigest()
    cards = [
        replace(card, assets=(Asset("ckpt", card.checkpoint.link, digest),)) if card in (seed, older) else card
        for card in catalog.list_cards()
    ]
    monkeypatch.setattr("osnet.hub.catalog.list_cards", lambda: cards)
    assert fetch(next(card for card in cards if card.uid == seed.uid), offline=True) == path


@pytest.mark.parametrize("found", ["nothing", "valid", "damaged"])
@pytest.mark.parametrize(("elsewhere", "offline", "force"), list(product((False, True), repeat=3)))
def test_what_is_used_and_what_is_fetched(
    found: str, elsewhere: bool, offline: bool, force: bool, card: Card, https_server: Server, cache: Path
) -> None:
    final, other = cache / FINAL, cache / "other.ckpt"
    final.parent.mkdir(parents=True)
    if found != "nothing":
        final.write_bytes(DATA if found == "valid" else b"damaged")
    if elsewhere:
        other.write_bytes(DATA)
    usable = final if found == "valid" else other if elsewhere else None
    if offline and (force or usable is None):
        kind = OptionError if force else HashError if found == "damaged" else OfflineError
        with pytest.raises(kind):
            fetch(card, offline=True, force=force)
        assert final.exists() == (found != "nothing")
    else:
        downloads = force or usable is None
        assert fetch(card, offline=offline, force=force) == (final if downloads else usable)
        assert len(https_server.requests) == downloads
        assert not downloads or final.read_bytes() == DATA
        if found == "damaged" and not downloads:
            assert final.read_bytes() == b"damaged"


@pytest.mark.parametrize("how", ["keyword", "environment", "one-text"])
def test_mirror_is_tried_first_and_its_host_is_allowed(
    how: str, make_card: CardMaker, https_server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    https_server.on("/base/models/r1.6/x.ckpt", whole(DATA))
    card = make_card("https://download.mindspore.cn/models/r1.6/x.ckpt", DATA)
    mirror = https_server.url("/base/")
    if how == "environment":
        monkeypatch.setenv("OSNET_MIRROR", mirror)
        fetch(card)
    else:
        fetch(card, mirrors=mirror if how == "one-text" else [mirror])
    assert https_server.paths == ["/base/models/r1.6/x.ckpt"]
    assert files_in(cache) == [FINAL]


def test_mirror_by_bare_file_name_then_the_published_link(card: Card, https_server: Server) -> None:
    https_server.on("/flat/x.ckpt", whole(DATA))
    fetch(card, mirrors=[https_server.url("/flat")])
    assert https_server.paths == ["/flat/r1/x.ckpt", "/flat/x.ckpt"]
    https_server.requests.clear()
    fetch(card, mirrors=[https_server.url("/empty")], force=True)
    assert https_server.paths == ["/empty/r1/x.ckpt", "/empty/x.ckpt", "/r1/x.ckpt"]


def test_mirror_with_wrong_bytes_is_passed_over(card: Card, https_server: Server) -> None:
    https_server.on("/m/r1/x.ckpt", whole(b"<html>login</html>"))
    assert fetch(card, mirrors=[https_server.url("/m")]).read_bytes() == DATA
    assert https_server.paths == ["/m/r1/x.ckpt", "/m/x.ckpt", "/r1/x.ckpt"]


@pytest.mark.parametrize("where", ["r1/x.ckpt", "x.ckpt", FINAL, "the file itself"])
@pytest.mark.parametrize("offline", [False, True])
def test_a_folder_or_file_as_mirror(
    where: str, offline: bool, card: Card, https_server: Server, cache: Path, tmp_path: Path
) -> None:
    usb = tmp_path / "usb stick"
    path = usb / ("renamed.bin" if where == "the file itself" else where)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    mirror = path if where == "the file itself" else usb
    for given in (mirror, str(mirror), mirror.as_uri()):
        verified = fetch_verified(card, mirrors=given, offline=offline)
        assert (verified.path, verified.data) == (cache / FINAL, DATA)
        assert files_in(cache) == [FINAL]
        verified.path.unlink()
    assert https_server.requests == []
    assert files_in(usb) == [str(path.relative_to(usb))]


def test_a_folder_without_the_published_bytes_is_passed_over(
    card: Card, https_server: Server, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb/x.ckpt").write_bytes(DATA[1:])
    mirrors = [tmp_path / "usb", tmp_path / "gone", https_server.url("/m")]
    https_server.on("/m/x.ckpt", whole(DATA))
    with pytest.raises(OfflineError):
        fetch(card, mirrors=mirrors, offline=True)
    assert fetch(card, mirrors=mirrors).read_bytes() == DATA
    assert https_server.paths == ["/m/r1/x.ckpt", "/m/x.ckpt"]
    digest = hashlib.sha256(DATA[1:]).hexdigest()
    assert f"usb/x.ckpt with SHA-256 {digest}" in caplog.text
    assert "gone is passed over: expected x.ckpt" in caplog.text


def test_a_card_cannot_point_out_of_the_folder(make_card: CardMaker, tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    (tmp_path / "x.ckpt").write_bytes(DATA)
    card = make_card("https://download.mindspore.cn/../x.ckpt", DATA, name="other")
    assert card.path is not None
    card = replace(card, path=None)  # else it is found beside the card
    with pytest.raises(OfflineError):
        fetch(card, mirrors=tmp_path / "usb", offline=True)


@pytest.mark.parametrize("offline", [False, True])
def test_the_error_tells_where_a_file_can_be_put(offline: bool, card: Card, https_server: Server, cache: Path) -> None:
    https_server.on("/r1/x.ckpt", status("404 Not Found"))
    with pytest.raises((OfflineError, DownloadError)) as caught:
        fetch(card, offline=offline)
    assert str(cache / FINAL) in str(caught.value)
    assert card.checkpoint.sha256 in str(caught.value)
    (cache / FINAL).parent.mkdir(parents=True, exist_ok=True)
    (cache / FINAL).write_bytes(DATA)
    assert fetch(card, offline=True) == cache / FINAL


def test_mirror_over_http_must_be_allowed_by_name(make_card: CardMaker, http_server: Server) -> None:
    http_server.on("/x.ckpt", whole(DATA))
    card = make_card("https://download.mindspore.cn/x.ckpt", DATA)
    with pytest.raises(UrlError, match="--allow-http"):
        fetch(card, mirrors=[http_server.url("")])
    assert http_server.connections == 0
    assert fetch(card, mirrors=[http_server.url("")], allow_http=True).read_bytes() == DATA


def test_the_next_address_goes_on_where_the_first_broke_off(
    card: Card, https_server: Server, fetch_from: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(exchange) -> None:
        exchange.head(content_length=len(DATA))
        exchange.send(DATA[:150_000])

    other = https_server.on("/other.ckpt", ranged(DATA))
    https_server.on("/r1/x.ckpt", in_turn(broken, status("404 Not Found")))
    monkeypatch.setattr("osnet.hub.catalog.addresses", lambda sha256: (other,))
    fetch_from(card, https_server)
    assert [(exchange.path, exchange.start) for exchange in https_server.requests] == [
        ("/r1/x.ckpt", 0),
        ("/r1/x.ckpt", 150_000),
        ("/other.ckpt", 150_000),
    ]


def test_unknown_model(cache: Path) -> None:
    with pytest.raises(UnknownModelError, match="osnet_market1501"):
        fetch("osnet_markt")
    assert not cache.exists()


def test_both_entry_points_take_the_same_keywords() -> None:
    assert inspect.signature(fetch).parameters == inspect.signature(fetch_verified).parameters


def test_a_cached_file_needs_no_network_library(card: Card) -> None:
    fetch(card)
    code = (
        "import sys, osnet; osnet.fetch(sys.argv[1]);"
        "print([name for name in ('requests', 'urllib3', 'filelock', 'tqdm', 'mindspore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(card.path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_progress_bar(
    progress: bool | None, shown: bool, card: Card, https_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(exchange) -> None:
        exchange.head(content_length=len(DATA))
        for start in range(0, len(DATA), 20_000):
            exchange.send(DATA[start : start + 20_000])
            time.sleep(0.15)

    https_server.on("/r1/x.ckpt", slow)
    fetch(card, progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("x.ckpt" in err) == shown
    assert bool(err) == shown


def test_no_progress_bar_for_what_takes_less_than_a_second(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(card, progress=True)
    assert "x.ckpt" not in capsys.readouterr().err


def test_hosts_of_published_cards_do_not_open_others(make_card: CardMaker) -> None:
    with serving() as server, pytest.raises(UrlError, match=f"--allow-host localhost:{server.port}"):
        fetch(make_card(f"https://{server.host}/x.ckpt", DATA))
    assert server.connections == 0


def test_the_annotations_can_be_evaluated() -> None:
    hints = get_type_hints(fetch)
    assert hints["return"] is Path
    assert get_type_hints(FetchOptions).keys() == FetchOptions.__annotations__.keys()
    assert read_settings_keywords() | {"force", "progress"} == set(FetchOptions.__annotations__)


def read_settings_keywords() -> set[str]:
    return set(inspect.signature(read_settings).parameters) - {"environ"}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("found", ["beside", "elsewhere", "damaged"])
def test_no_file_is_hashed_twice(
    found: str, keep: bool, card: Card, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the card stands in the cache, beside the file itself, as mindspore_hub lays it out."""
    assert card.path is not None
    where = cache / "mindspore/1.6/x.md"
    where.parent.mkdir(parents=True)
    where.write_bytes(card.path.read_bytes())
    (where.parent / "x.ckpt").write_bytes(DATA if found == "beside" else b"damaged")
    (cache / "noise.ckpt").write_bytes(b"noise")
    (cache / "renamed.ckpt").write_bytes(DATA if found == "elsewhere" else b"more noise")
    read: list[Path] = []
    real = hub_cache.read
    monkeypatch.setattr(hub_cache, "read", lambda path, **how: (read.append(path), real(path, **how))[1])
    verified = (fetch_verified if keep else fetch)(where)
    assert read
    assert len(read) == len(set(read))
    assert not keep or verified.data == DATA


def test_what_another_process_fetched_meanwhile_is_used(
    card: Card, cache: Path, https_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / FINAL).parent.mkdir(parents=True)
    (cache / FINAL).write_bytes(b"damaged")

    @contextlib.contextmanager
    def lock(*_: object, **__: object) -> Iterator[None]:
        (cache / FINAL).write_bytes(DATA)
        yield

    monkeypatch.setattr(hub_cache, "lock", lock)
    assert fetch_verified(card).data == DATA
    assert https_server.requests == []


def test_a_closed_stderr_is_not_a_terminal(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert fetch(card).read_bytes() == DATA

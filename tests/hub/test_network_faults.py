"""What servers and networks do wrong (faults 15 to 29), on real sockets."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from pathlib import Path

import pytest

from osnet.errors import DownloadError, HashError, OsnetError, UrlError
from osnet.hub import download
from tests.conftest import CardMaker
from tests.hub.conftest import Fetch, files_in
from tests.servers import (
    Authority,
    Exchange,
    Reply,
    Server,
    cut,
    cut_chunks,
    drip,
    drip_head,
    endless_chunks,
    gzipped,
    hang,
    in_turn,
    proxying,
    ranged,
    redirect,
    serving,
    status,
    until_close,
    whole,
)

DATA = random.Random(3).randbytes(300_000)
OTHER = DATA[:-1] + b"\x00"
FINAL = "mindspore/1.6/x.ckpt"


def clean(cache: Path, error: OsnetError | None = None, *words: str) -> bool:
    """Nothing is left, and the error is one line with these words and a next step."""
    if error is not None:
        message = str(error)
        assert "\n" not in message
        for word in words:
            assert word in message, message
    return not files_in(cache)


def refused(run: Fetch, *args: object, kind: type[OsnetError] = DownloadError, **options: object) -> OsnetError:
    with pytest.raises(kind) as caught:
        run(*args, **options)
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("target", ["other-host", "http", "file", "loop", "six-hops", "own-loop"])
def test_fault_15_redirect(
    target: str, https_server: Server, http_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    http_server.on("/x.ckpt", whole(DATA))
    for hop in range(1, 7):
        https_server.on(f"/hop{hop}", redirect(f"/hop{hop + 1}"))
    https_server.on("/hop7", whole(DATA))
    https_server.on("/back", redirect("/x.ckpt"))
    location, words = {
        "other-host": ("https://evil.example/x.ckpt", "evil.example is not allowed"),
        "http": (http_server.url("/x.ckpt"), "never becomes http"),
        "file": ("file:///etc/passwd", "expected https, got file"),
        "loop": ("/back", "loop"),
        "own-loop": ("/x.ckpt", "loop"),
        "six-hops": ("/hop2", "more than 5 times"),
    }[target]
    card = make_card(https_server.on("/x.ckpt", redirect(location)), DATA)
    error = refused(fetch_from, card, https_server, http_server, kind=UrlError, allow_http=True)
    assert clean(cache, error, https_server.url("/x.ckpt"), words)
    assert http_server.connections == 0
    assert len(https_server.requests) == {"loop": 2, "six-hops": 6}.get(target, 1)


def test_redirects_are_followed_up_to_five_hops(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, authority: Authority
) -> None:
    with serving(authority.context("localhost")) as second:
        second.on("/end", whole(DATA))
        https_server.on("/a", redirect("b", "301 Moved"))
        https_server.on("/b", redirect("//" + https_server.host + "/c", "303 See Other"))
        https_server.on("/c", redirect("/d", "307 Temporary"))
        https_server.on("/d", redirect(second.url("/end"), "308 Permanent"))
        card = make_card(https_server.on("/x.ckpt", redirect("/a")), DATA)
        assert fetch_from(card, https_server, second).read_bytes() == DATA


@pytest.mark.parametrize("head", ["302 Found", "301 Moved"])
def test_redirect_without_a_location_or_with_an_endless_body(
    head: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    def endless(exchange) -> None:
        exchange.head(head, location="/y", transfer_encoding="chunked")
        while not exchange.closed.is_set():
            exchange.send(b"1000\r\n%s\r\n" % (b"x" * 4096))

    card = make_card(https_server.on("/x.ckpt", endless), DATA)
    https_server.on("/y", status(head))
    assert clean(cache, refused(fetch_from, card, https_server, timeout=10), "Location")


def test_fault_16_announced_length_over_the_cap(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", whole(b"", content_length=10**12)), DATA)
    error = refused(fetch_from, card, https_server)
    assert clean(cache, error, "x.ckpt", str(1 << 30), str(10**12))
    assert len(https_server.requests) == 1


@pytest.mark.parametrize("length", ["missing", "abc", "-5", "9" * 5000])
def test_fault_16_length_that_says_nothing(
    length: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    reply: Reply = until_close(DATA) if length == "missing" else whole(DATA, content_length=length)
    card = make_card(https_server.on("/x.ckpt", reply), DATA)
    assert clean(
        cache, refused(fetch_from, card, https_server, max_bytes=200_000), "at most 200000 bytes", "sends more"
    )
    assert fetch_from(card, https_server).read_bytes() == DATA


def test_fault_17_endless_chunks(https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path) -> None:
    card = make_card(https_server.on("/x.ckpt", endless_chunks()), DATA)
    error = refused(fetch_from, card, https_server, max_bytes=2_000_000)
    assert clean(cache, error, "at most 2000000 bytes", "sends more")
    assert len(https_server.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["body", "head", "after-some", "silent"])
def test_fault_18_one_byte_now_and_then(
    where: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    replies = {
        "body": drip(DATA, 0.1),
        "head": drip_head(0.1),
        "after-some": drip(DATA, 0.1, at_once=100_000),
        "silent": hang,
    }
    card = make_card(https_server.on("/x.ckpt", replies[where]), DATA)
    error = refused(fetch_from, card, https_server, timeout=1, read_timeout=100)
    assert clean(cache, error, "x.ckpt", "not done in time", "OSNET_TIMEOUT")


@pytest.mark.slow
def test_fault_18_a_slow_address_leaves_time_for_the_next(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, authority: Authority
) -> None:
    with serving(authority.context("localhost")) as mirror:
        mirror.on("/x.ckpt", drip(DATA, 0.1, at_once=200_000))
        card = make_card(https_server.on("/x.ckpt", ranged(DATA)), DATA)
        path = fetch_from(card, https_server, mirrors=[mirror.url("")], timeout=2)
    assert path.read_bytes() == DATA
    # What the slow one gave is not asked for again.
    assert https_server.requests[0].start >= 190_000


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (cut(DATA, 100_000), "of 300000 bytes"),
        (cut_chunks(DATA, 100_000), "broke off after"),
    ],
    ids=["content-length", "chunked"],
)
def test_fault_19_short_body(
    reply: Reply, words: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", reply), DATA)
    assert clean(cache, refused(fetch_from, card, https_server), "x.ckpt", words)
    assert len(https_server.requests) == 4
    https_server.on("/x.ckpt", in_turn(reply, ranged(DATA)))
    assert fetch_from(card, https_server).read_bytes() == DATA
    assert https_server.requests[-1].start >= 65536


def test_fault_19_short_body_without_any_length(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", until_close(DATA[:100_000])), DATA)
    error = refused(fetch_from, card, https_server, kind=HashError)
    assert clean(cache, error, "x.ckpt", card.checkpoint.sha256, "from 100000 bytes")
    assert len(https_server.requests) == 4
    https_server.on("/x.ckpt", in_turn(until_close(DATA[:100_000]), until_close(DATA)))
    assert fetch_from(card, https_server).read_bytes() == DATA


def test_a_body_that_breaks_off_again_and_again_goes_on_while_it_gets_further(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch
) -> None:
    data = random.Random(4).randbytes(12_000_000)

    def part(exchange) -> None:
        start = exchange.start
        exchange.head(
            "206 Partial Content" if start else "200 OK",
            content_length=len(data) - start,
            content_range=f"bytes {start}-{len(data) - 1}/{len(data)}",
        )
        exchange.send(data[start : start + 1_500_000])

    card = make_card(https_server.on("/x.ckpt", part), data)
    assert fetch_from(card, https_server).read_bytes() == data
    assert len(https_server.requests) > 6


def test_fault_20_encoded_reply(https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path) -> None:
    card = make_card(https_server.on("/x.ckpt", gzipped(DATA)), DATA)
    assert clean(cache, refused(fetch_from, card, https_server), "x.ckpt", "gzip")
    assert https_server.requests[0].headers["accept-encoding"] == "identity"
    assert len(https_server.requests) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"\n\n<HTML><head>404</head></HTML>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
    ],
)
def test_fault_21_web_page_or_pointer(
    body: bytes, words: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", whole(body, content_type="text/html")), DATA)
    error = refused(fetch_from, card, https_server, kind=HashError)
    assert clean(cache, error, "x.ckpt", f"it looks like a {words}, not a checkpoint")


@pytest.mark.parametrize("reply", [whole(b""), until_close(b"")], ids=["length-0", "no-length"])
def test_fault_22_empty_body(
    reply: Reply, https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", reply), DATA)
    assert clean(cache, refused(fetch_from, card, https_server), "x.ckpt", "the server sent an empty file")


def wrong_range(said: str, body: bytes) -> Reply:
    return lambda exchange: (
        exchange.head("206 Partial Content", content_length=len(body), content_range=said),
        exchange.send(body),
    )[0]


def in_chunks(said: str, body: bytes) -> Reply:
    """A 206 without a Content-Length: only the range and the last chunk say where it ends."""
    return lambda exchange: (
        exchange.head("206 Partial Content", transfer_encoding="chunked", content_range=said),
        exchange.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    )[0]


@pytest.mark.parametrize(
    "second",
    [
        in_chunks("bytes 0-299999/300000", DATA),
        in_chunks("bytes 100000-299999/300000", DATA),
        wrong_range("bytes 0-299999/300000", DATA),
        wrong_range("bytes 99999-299999/300000", DATA[99_999:]),
        wrong_range("bytes 100000-199999/300000", DATA[100_000:200_000]),
        wrong_range("bytes */300000", DATA[100_000:]),
        wrong_range("", DATA[100_000:]),
        whole(DATA),
    ],
    ids=[
        "from-0-in-chunks",
        "too-long-in-chunks",
        "from-0",
        "one-early",
        "not-to-the-end",
        "unsatisfied",
        "missing",
        "200",
    ],
)
def test_fault_23_wrong_content_range(
    second: Reply, https_server: Server, make_card: CardMaker, fetch_from: Fetch
) -> None:
    replies = in_turn(cut(DATA, 100_000, etag='"one"'), second, whole(DATA))
    card = make_card(https_server.on("/x.ckpt", replies), DATA)
    assert fetch_from(card, https_server).read_bytes() == DATA
    first, resumed, *rest = https_server.requests
    assert "range" not in first.headers
    assert resumed.headers["range"] == "bytes=100000-"
    assert resumed.headers["if-range"] == '"one"'
    assert all("range" not in exchange.headers for exchange in rest)


def test_fault_23_the_body_of_a_wrong_range_is_not_waited_for(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch
) -> None:
    def wrong(exchange: Exchange) -> None:
        exchange.head("206 Partial Content", transfer_encoding="chunked", content_range="bytes 0-299999/300000")
        hang(exchange)

    card = make_card(https_server.on("/x.ckpt", in_turn(cut(DATA, 100_000), wrong, whole(DATA))), DATA)
    assert fetch_from(card, https_server, read_timeout=100).read_bytes() == DATA  # within 20 s for all of it


def test_fault_23_whole_chunks_that_are_too_few_are_kept(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch
) -> None:
    few = in_chunks("bytes 100000-299999/300000", DATA[100_000:150_000])
    card = make_card(https_server.on("/x.ckpt", in_turn(cut(DATA, 100_000), few, ranged(DATA))), DATA)
    assert fetch_from(card, https_server).read_bytes() == DATA
    assert [exchange.start for exchange in https_server.requests] == [0, 100_000, 150_000]


def test_fault_23_206_that_was_not_asked_for(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    reply = wrong_range("bytes 0-299999/300000", DATA)
    card = make_card(https_server.on("/x.ckpt", reply), DATA)
    assert clean(cache, refused(fetch_from, card, https_server), "206")


def test_fault_23_resumed_bytes_of_another_version(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch
) -> None:
    card = make_card(https_server.on("/x.ckpt", in_turn(cut(OTHER[::-1], 100_000), ranged(DATA))), DATA)
    assert fetch_from(card, https_server).read_bytes() == DATA
    assert [exchange.start for exchange in https_server.requests] == [0, 100_000, 0]


def test_fault_24_range_not_satisfiable(https_server: Server, make_card: CardMaker, fetch_from: Fetch) -> None:
    replies = in_turn(cut(DATA, 100_000), status("416 Range Not Satisfiable"), whole(DATA))
    card = make_card(https_server.on("/x.ckpt", replies), DATA)
    assert fetch_from(card, https_server).read_bytes() == DATA
    assert [exchange.start for exchange in https_server.requests] == [0, 100_000, 0]


def test_fault_24_only_one_fresh_start_for_each_416(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", status("416 Range Not Satisfiable")), DATA)
    assert clean(cache, refused(fetch_from, card, https_server), "416")
    assert len(https_server.requests) == 1


@pytest.mark.parametrize("line", ["403 Forbidden", "404 Not Found", "401 Unauthorized", "410 Gone", "304 Not Modified"])
def test_fault_25_next_address(
    line: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(https_server.on("/x.ckpt", status(line)), DATA)
    same = (https_server.on("/gone.ckpt", status("404 Not Found")), https_server.on("/other.ckpt", whole(DATA)))
    monkeypatch.setattr("osnet.hub.catalog.addresses", lambda sha256: same)
    path = fetch_from(card, https_server)
    assert path.name == "x.ckpt"
    assert path.read_bytes() == DATA
    assert https_server.paths == ["/x.ckpt", "/gone.ckpt", "/other.ckpt"]


def minus_five(exchange: Exchange) -> None:
    exchange.head(transfer_encoding="chunked")
    exchange.send(b"-5\r\n" + DATA[:1000])


@pytest.mark.parametrize(
    "reply",
    [
        redirect("http://[::1"),
        redirect("https://[x]:y"),
        redirect("https://localhost:99999/"),
        minus_five,
        lambda exchange: exchange.send(b"\xff\xfe\r\n\r\n"),
        lambda exchange: exchange.send(b"HTTP/1.1 20000000000000000000000 OK\r\n\r\n"),
        lambda exchange: exchange.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
    ],
    ids=["bracket", "no-address", "port", "chunk-of-minus-5", "no-http", "huge-status", "200-headers"],
)
def test_fault_71_whatever_one_address_does_the_next_is_asked(
    reply: Reply,
    https_server: Server,
    make_card: CardMaker,
    fetch_from: Fetch,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = make_card(https_server.on("/x.ckpt", reply), DATA)
    with pytest.raises((DownloadError, UrlError)) as caught:
        fetch_from(card, https_server)
    assert clean(cache, caught.value, https_server.url("/x.ckpt"))
    same = (https_server.on("/other.ckpt", whole(DATA)),)
    monkeypatch.setattr("osnet.hub.catalog.addresses", lambda sha256: same)
    assert fetch_from(card, https_server).read_bytes() == DATA


@pytest.mark.parametrize("host", ["a..b", "a." + "x" * 64 + ".b", "[::1:2:3:4:5:6:7:8:9]", "[:::]"])
def test_fault_71_a_mirror_whose_host_cannot_exist(
    host: str, https_server: Server, make_card: CardMaker, fetch_from: Fetch
) -> None:
    card = make_card(https_server.on("/x.ckpt", whole(DATA)), DATA)
    assert fetch_from(card, https_server, mirrors=[f"https://{host}/"]).read_bytes() == DATA


def test_fault_72_a_fifo_as_certificate_bundle(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "bundle")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle"))
    card = make_card(https_server.on("/x.ckpt", whole(DATA)), DATA)
    error = refused(fetch_from, card, https_server, timeout=5)
    assert clean(tmp_path / "cache", error, "certificate bundle", "REQUESTS_CA_BUNDLE")


@pytest.mark.parametrize("line", ["408 Request Timeout", "429 Too Many Requests", "500 Oops", "502 Bad", "503 Busy"])
def test_fault_25_busy_server(
    line: str,
    https_server: Server,
    make_card: CardMaker,
    fetch_from: Fetch,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = make_card(https_server.on("/x.ckpt", in_turn(status(line), status(line), whole(DATA))), DATA)
    assert fetch_from(card, https_server).read_bytes() == DATA
    https_server.requests.clear()
    https_server.on("/x.ckpt", status(line))
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    error = refused(fetch_from, card, https_server, force=True, backoff=0.1)
    assert "x.ckpt" in str(error)
    assert line[:3] in str(error)
    assert len(https_server.requests) == 4
    assert pauses == [0.1, 0.2, 0.4]
    assert files_in(cache) == [FINAL]


@pytest.mark.parametrize(
    ("asked", "waited"), [("1", 0.3), ("86400", 0.3), ("0", 0), ("Fri, 31 Dec 2100 23:59:59 GMT", 0.01)]
)
def test_fault_25_retry_after_is_capped(
    asked: str,
    waited: float,
    https_server: Server,
    make_card: CardMaker,
    fetch_from: Fetch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replies = in_turn(status("503 Busy", retry_after=asked), whole(DATA))
    card = make_card(https_server.on("/x.ckpt", replies), DATA)
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    assert fetch_from(card, https_server, longest_wait=0.3).read_bytes() == DATA
    assert pauses == [waited]


@pytest.mark.parametrize("trust", ["public", "missing-file", "other-name"])
def test_fault_26_tls(
    trust: str,
    authority: Authority,
    make_card: CardMaker,
    fetch_from: Fetch,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if trust == "public":
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    else:
        bundle = tmp_path / "no.pem" if trust == "missing-file" else authority.bundle
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with serving(authority.context("other.example" if trust == "other-name" else "localhost")) as server:
        card = make_card(server.on("/x.ckpt", whole(DATA)), DATA)
        error = refused(fetch_from, card, server, allow_http=True)
        assert clean(cache, error, "x.ckpt", "REQUESTS_CA_BUNDLE")
        assert server.requests == []


def test_fault_26_a_server_that_speaks_plain_http_on_an_https_link(
    http_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path
) -> None:
    http_server.on("/x.ckpt", whole(DATA))
    card = make_card(f"https://{http_server.host}/x.ckpt", DATA)
    assert clean(cache, refused(fetch_from, card, http_server, allow_http=True, connect_timeout=0.3), "x.ckpt")
    assert "/x.ckpt" not in http_server.paths


@pytest.mark.parametrize("network", ["no-dns", "dead-proxy", "refused"])
def test_fault_27_no_network_but_cached(
    network: str,
    https_server: Server,
    make_card: CardMaker,
    fetch_from: Fetch,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = https_server.on("/x.ckpt", whole(DATA))
    card = make_card(link, DATA)
    path = fetch_from(card, https_server)
    https_server.requests.clear()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"localhost:{unused.getsockname()[1]}"
        if network == "no-dns":
            card = make_card("https://nowhere.invalid/x.ckpt", DATA)
        elif network == "dead-proxy":
            monkeypatch.setenv("HTTPS_PROXY", f"http://{dead}")
        else:
            card = make_card(f"https://{dead}/x.ckpt", DATA)
        assert fetch_from(card) == path
        assert https_server.requests == []
        path.unlink()
        words = {"no-dns": "nowhere.invalid", "dead-proxy": "the proxy does not answer", "refused": "refused"}[network]
        hosts = ["nowhere.invalid", https_server.host, dead]
        assert clean(cache, refused(fetch_from, card, allow_hosts=hosts), words, "Check the network")


def test_an_unreachable_host_is_not_asked_for_its_other_files(
    make_card: CardMaker, fetch_from: Fetch, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = tuple(f"https://nowhere.invalid/{n}.ckpt" for n in range(50))
    monkeypatch.setattr("osnet.hub.catalog.addresses", lambda sha256: same)
    card = make_card("https://nowhere.invalid/x.ckpt", DATA)
    error = refused(fetch_from, card, allow_hosts=["nowhere.invalid"])
    assert str(error).count("nowhere.invalid/") == 1
    assert clean(cache)


def test_fault_28_netrc_is_never_sent(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine localhost login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    https_server.on("/y", whole(DATA))
    card = make_card(https_server.on("/x.ckpt", redirect("/y")), DATA)
    fetch_from(card, https_server)
    assert https_server.paths == ["/x.ckpt", "/y"]
    for exchange in https_server.requests:
        assert "authorization" not in exchange.headers


def test_fault_29_wrong_bytes_from_every_address(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = (https_server.on("/y.ckpt", whole(OTHER)), https_server.on("/z.ckpt", status("404 Not Found")))
    monkeypatch.setattr("osnet.hub.catalog.addresses", lambda sha256: same)
    card = make_card(https_server.on("/x.ckpt", whole(OTHER)), DATA)
    error = refused(fetch_from, card, https_server, kind=HashError)
    actual = hashlib.sha256(OTHER).hexdigest()
    urls = [https_server.url(path) for path in ("/x.ckpt", "/y.ckpt", "/z.ckpt")]
    assert clean(cache, error, card.checkpoint.sha256, actual, "HTTP 404", *urls)
    assert len(https_server.requests) == 3


@pytest.mark.slow
def test_proxy_of_the_environment(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = make_card(https_server.on("/x.ckpt", whole(DATA)), DATA)
    with proxying() as (url, asked):
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert fetch_from(card, https_server).read_bytes() == DATA
        assert asked == [https_server.host]
        https_server.on("/x.ckpt", drip(DATA, 0.1))
        with pytest.raises(DownloadError, match="not done in time"):
            fetch_from(card, https_server, force=True, timeout=1)


def test_a_proxy_that_refuses(
    https_server: Server, make_card: CardMaker, fetch_from: Fetch, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    card = make_card(https_server.on("/x.ckpt", whole(DATA)), DATA)
    with serving() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(""))
        assert clean(cache, refused(fetch_from, card, https_server), "the proxy does not answer")
        assert set(proxy.paths) == {https_server.host}
    assert https_server.requests == []

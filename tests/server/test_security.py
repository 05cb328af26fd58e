"""What hostile clients send: no 500, no file out of place, no thread stuck, and the next request is answered."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import json
import os
import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

import osnet
from osnet.errors import OptionError
from osnet.gallery.gallery import Gallery
from osnet.server import connections, work
from osnet.server.settings import Settings
from tests.server.conftest import Serve, client_of, running
from tests.server.test_api import JPEG, picture

pytestmark = pytest.mark.slow
TOKEN = "correct-horse-battery"
FEATURE = b",".join([b"1"] * 512)


@pytest.fixture(scope="module")
def shared(
    enrolled: Path, embedder: osnet.Embedder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Of one server that no test changes; the folder of its gallery holds nothing but it at the end."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "people.gallery").write_bytes(enrolled.read_bytes())
    settings = Settings(port=0, max_bytes=1 << 20, max_pixels=1_000_000, upload_seconds=1.0)
    with running(folder / "people.gallery", embedder, settings) as server, client_of(server) as client:
        yield client
    assert {path.name for path in folder.iterdir()} == {"people.gallery"}


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(3000))) + chunk(b"IEND", b"")
    )


def hostile() -> dict[str, bytes]:
    file = io.BytesIO()
    Image.new("RGB", (40, 80), "red").save(file, "JPEG")
    jpeg = file.getvalue()
    file = io.BytesIO()
    Image.new("L", (1200, 1200)).save(file, "PNG")
    return {
        "empty": b"",
        "text": b"hello",
        "truncated": jpeg[: len(jpeg) // 2],
        "header only": jpeg[:20],
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) (w) file",
        "pdf": b"%PDF-1.4\n1 0 obj",
        "html in a gif header": b"GIF89a<script>alert(1)</script>",
        "zip": b"PK\x03\x04" + jpeg,
        "gzip": gzip.compress(jpeg),
        "a bomb of 1.4 megapixels": file.getvalue(),
        "a header of 4 gigapixels": png_header(65_535, 65_535),
        "no pixels": png_header(0, 10),
        "path": b"/etc/passwd",
        "dds": b"DDS " + bytes(124),
    }


@pytest.mark.parametrize("name", hostile())
@pytest.mark.parametrize("route", ["/api/search", "/api/entries?identity=x"])
def test_what_is_no_usable_picture_is_refused(shared: httpx.Client, name: str, route: str) -> None:
    answer = shared.post(route, content=hostile()[name], headers=JPEG)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert "\n" not in detail
    assert "object at" not in detail
    assert "/" not in detail.replace("image/", "")
    assert shared.get("/api/gallery").json()["entries"] == 8


def test_a_polyglot_is_only_its_picture(shared: httpx.Client, people: Path) -> None:
    """A JPEG with a page and a program after it: a picture for the network, and nothing of the rest is kept."""
    content = picture(people) + b"<script>alert(1)</script>PK\x03\x04"
    assert shared.post("/api/search", content=content, headers=JPEG).status_code == 200


def raw(client: httpx.Client, request: bytes = b"", receive: int | None = None) -> socket.socket:
    """A connection to the server on which `request` was sent; `receive` is the size of the client's buffer."""
    found = socket.socket()
    if receive is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    found.settimeout(10)
    found.connect((client.base_url.host, client.base_url.port))
    found.sendall(request)
    return found


def upload(length: int, path: str = "/api/search") -> bytes:
    """The head of a request whose body has `length` bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
    return head.encode()


def status(connection: socket.socket) -> int:
    """Of the answer on a connection."""
    return int(connection.recv(1000).split()[1])


def is_cut(connection: socket.socket) -> bool:
    """Whether the server closes the connection, within the time that a client waits."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False
    return True


def test_bodies_are_limited(shared: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):  # without a length
            yield bytes(1 << 16)

    for content in (bytes((1 << 20) + 1), bytes(100 << 20), endless()):
        answer = shared.post("/api/search", content=content, headers=JPEG)
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("the body is over 1,048,576 bytes; make the picture smaller")
    assert shared.post("/api/search", content=bytes(1 << 20), headers=JPEG).status_code == 422
    answer = shared.post("/api/search/feature", content=b"[" * 100_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (413, {"detail": "the body is over 65,536 bytes"})
    assert shared.get("/health").status_code == 200


def test_a_plain_client_that_sends_all_of_a_large_body_sees_the_answer(shared: httpx.Client) -> None:
    with contextlib.closing(http.client.HTTPConnection(shared.base_url.host, shared.base_url.port)) as connection:
        connection.request("POST", "/api/search", body=bytes(20 << 20), headers=JPEG)
        assert connection.getresponse().status == 413


def test_who_goes_on_sending_after_a_refusal_is_cut(shared: httpx.Client, impatient: None) -> None:
    def send() -> None:
        for _ in range(1000):
            connection.sendall(bytes(1 << 16))
            time.sleep(0.01)

    with raw(shared, upload(1 << 40)) as connection, pytest.raises(ConnectionError):
        send()


def test_all_bodies_together_are_limited(serve: Serve, people: Path) -> None:
    content = picture(people)
    client = serve(held_bytes=2 * len(content) - 1)
    with raw(client, upload(len(content) + 1) + content) as first:
        client.get("/health")  # the first is read meanwhile
        answer = client.post("/api/search", content=content, headers=JPEG)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        first.sendall(b"x")
        assert status(first) == 200
    for _ in range(3):  # what was held is given back
        assert client.post("/api/search", content=content, headers=JPEG).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400), (b"[[[[", 400), (b"\xff\xfe", 400), (b"null", 422), (b"{}", 422), (b'{"feature": "x"}', 422),
        (b'{"feature": [1]}', 422), (b'{"feature": [' + b"1," * 511 + b"NaN]}", 422), (b"[" * 50_000, 400),
        (b'{"feature": [' + b"1e999," * 511 + b"1]}", 422), (b'{"feature": [' + b"1e38," * 511 + b"1]}", 422),
        (b'{"feature": [' + b"1e39," * 511 + b"1]}", 422), (b'{"feature": [' + b"0," * 511 + b"1]}", 200),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")  # numpy's would be on the server's standard error
def test_broken_json(shared: httpx.Client, body: bytes, status: int) -> None:
    answer = shared.post("/api/search/feature", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert status == 200 or set(answer.json()) == {"detail"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=x", "limit=1e9", "threshold=nan", "threshold=inf", "threshold=2", "box=1,2,3", "box=a,b,c,d",
        "box=nan,0,1,1", "since=yesterday", "since=nan", "since=9e99", "attributes={", "attributes=[]",
        'attributes={"a":{}}', 'attributes={"a":1e999}', "since=5&until=4", "identity=", "camera=%00",
        "attributes=" + "%5B" * 3000, "identity=" + "x" * 1001,
    ],
)  # fmt: skip
def test_odd_parameters(shared: httpx.Client, people: Path, query: str) -> None:
    answer = shared.post(f"/api/search?{query}", content=picture(people), headers=JPEG)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "detail"),
    [
        ("POST", "/api/search?box=1,2,3", b"x", "image/png", "box: expected x1,y1,x2,y2 in pixels of the picture"),
        ("POST", "/api/search/feature", b'{"feature": []}', "text/plain", "expected a JSON object as the body, with"),
        ("POST", "/api/search/feature", b"", "application/json", "expected a JSON object as the body, with Content-"),
        (
            "POST",
            "/api/search/feature",
            b'{"feature": [1]}',
            "application/json",
            "feature: List should have at least 512",
        ),
        (
            "POST",
            "/api/search/feature",
            b'{"x": 1, "feature": [%s]}' % FEATURE,
            "application/json",
            "x: Extra inputs are",
        ),
        ("POST", "/api/search/feature", b"\xff", "application/json", "the body is not valid JSON"),
        ("GET", "/api/no", b"", "", "no such path; /openapi.json lists"),
        ("PUT", "/api/entries", b"", "", "this path does not take this method; /openapi.json lists"),
        ("GET", "/api/entries/" + 32 * "0", b"", "", "no such entry"),
    ],
)
def test_messages_say_what_to_do(
    shared: httpx.Client, method: str, path: str, content: bytes, kind: str, detail: str
) -> None:
    answer = shared.request(method, path, content=content, headers={"content-type": kind})
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"].startswith(detail)


def test_forms_are_refused_so_that_no_page_can_post_one(shared: httpx.Client, people: Path) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
        answer = shared.post("/api/search", content=picture(people), headers={"content-type": kind})
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        "/page/../settings.py",
        "/page/..%2f..%2fsettings.py", "/page/%2e%2e/run.py", "/page//etc/passwd", "//etc/passwd",
        "/page/__init__.py", "/api/entries/..%2f..%2fetc/thumbnail", "/api/entries/%00/thumbnail", "/docs", "/redoc",
    ],
)  # fmt: skip
def test_no_path_of_a_request_reaches_the_disk(shared: httpx.Client, path: str) -> None:
    with raw(shared, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) as connection:
        assert status(connection) in (404, 422)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", ""]
)
def test_other_hosts_are_refused(shared: httpx.Client, host: str) -> None:
    answer = shared.get("/api/gallery", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json() == {"detail": f"this server is not known as {host!r}; its option --allow-name adds a name"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(shared: httpx.Client, headers: dict[str, str]) -> None:
    assert shared.get("/api/gallery", headers=headers).status_code == 403
    assert shared.delete("/api/entries?identity=0002", headers=headers).status_code == 403
    own = {"origin": str(shared.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert shared.get("/api/gallery", headers=own).status_code == 200
    assert shared.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200  # a link to the page


def test_every_answer_has_the_security_headers(shared: httpx.Client) -> None:
    answers = [shared.get(path) for path in ("/", "/page/main.js", "/api/gallery", "/no", "/metrics")]
    answers += [shared.get("/", headers={"host": "x"}), shared.post("/api/search", content=b"x", headers=JPEG)]
    for answer in answers:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


def test_header_floods_and_noise(shared: httpx.Client) -> None:
    place = (shared.base_url.host, shared.base_url.port)
    floods = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(5000)),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n",
        os.urandom(1000) + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    ]
    for flood in floods:
        with socket.create_connection(place, timeout=5) as connection:
            try:
                connection.sendall(flood)
                answer = connection.recv(100)
            except ConnectionError:
                continue  # cut off
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), flood[:40]
    assert shared.get("/health").status_code == 200


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cuts a connection after half a second without progress."""
    monkeypatch.setattr(connections, "_LOOK", 0.1)
    monkeypatch.setattr(connections, "_PATIENCE", 0.5)


def test_slow_uploads_are_cut(shared: httpx.Client) -> None:
    with raw(shared, upload(1000) + b"x") as connection:
        assert status(connection) == 408


def test_slow_headers_are_cut(shared: httpx.Client, impatient: None) -> None:
    with raw(shared, b"GET /health HTTP/1.1\r\nHost: loc") as slow, raw(shared) as silent:
        assert is_cut(slow)
        assert is_cut(silent)


def test_readers_that_do_not_read_are_cut(
    serve: Serve, impatient: None, tmp_path: Path, embedder: osnet.Embedder
) -> None:
    with Gallery.create(tmp_path / "long.gallery", embedder) as gallery:
        gallery.add(np.eye(512, dtype=np.float32), attributes={f"a{n}": "x" * 1000 for n in range(10)})
    client = serve(gallery=tmp_path / "long.gallery")
    answer = client.get("/api/entries?limit=1000", headers={"connection": "close"})
    assert len(answer.content) > 5_000_000  # more than the system holds for a connection
    until(lambda: not client.server.server_state.connections)
    with raw(client, b"GET /api/entries?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n", receive=4096):
        until(lambda: len(client.server.server_state.connections) == 1)
        until(lambda: not client.server.server_state.connections)


@pytest.mark.parametrize(
    ("left", "cut"),
    [
        ([0] * 50, False),
        (range(50, 0, -1), False),  # a byte for each look
        ([1] * 14, False),
        ([1] * 15, True),
        ([*range(50, 30, -1), *[31] * 15], True),
        ([1, 0] * 25, False),
    ],
)
def test_a_reader_that_reads_slowly_is_not_cut(left: Iterable[int], cut: bool) -> None:
    left = list(left)
    aborted: list[bool] = []
    connection = SimpleNamespace(
        transport=SimpleNamespace(get_write_buffer_size=lambda: left.pop(0), abort=lambda: aborted.append(True)),
        loop=SimpleNamespace(call_later=lambda *_: None),
        cycle=SimpleNamespace(response_complete=False), timeout_keep_alive_task=None, _stalled=0.0, _left_before=0,
        _look=None,
    )  # fmt: skip
    while left and not aborted:
        connections.limited(1)._look(connection)
    assert bool(aborted) is cut


def test_too_many_connections_are_told_so(serve: Serve) -> None:
    client = serve(connections=3)
    place = (client.base_url.host, client.base_url.port)
    held = [socket.create_connection(place) for _ in range(3)]
    time.sleep(0.2)
    with socket.create_connection(place, timeout=5) as extra:
        answer = extra.recv(1000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    for one in held:
        one.close()


class Stuck:
    """A network that computes when `go` is set; `runs` has the number of pictures of each run."""

    def __init__(self, client: httpx.Client) -> None:
        self.go, self.runs = threading.Event(), []
        self._stream = client.work.batcher._embedder.stream
        client.work.batcher._embedder = self

    def stream(self, crops: Iterable[object]) -> object:
        crops = list(crops)
        self.runs.append(len(crops))
        self.go.wait(20)
        return self._stream(crops)


def until(met: Callable[[], bool]) -> None:
    """Wait until `met`, for some seconds at most."""
    for _ in range(500):
        if met():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def test_when_the_places_are_taken_the_next_are_refused_at_once(serve: Serve, people: Path) -> None:
    client = serve()
    batcher, network = client.work.batcher, Stuck(client)
    batcher._seconds = 1.0  # so slow that there are 16 places, 12 of them for one client

    def refused() -> tuple[int, str | None]:
        """Of a request whose body never comes."""
        with raw(client, upload(1000)) as connection:
            answer = connection.recv(2000).decode()
        return int(answer.split()[1]), ("retry-after: 1" in answer and "1") or None

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(client.post, "/api/search", content=picture(people), headers=JPEG) for _ in range(12)]
        until(lambda: batcher.waiting == 12)
        assert refused() == (429, "1")
        batcher.waiting += 4  # of others
        assert refused() == (503, "1")
        batcher.waiting -= 4
        assert client.get("/health").status_code == 200
        network.go.set()
        assert {answer.result().status_code for answer in asked} == {200}
    assert batcher.waiting == batcher.coming == len(batcher._held) == 0


def test_the_first_of_many_are_answered_before_the_last_are_computed(serve: Serve, people: Path) -> None:
    client = serve()
    batcher, network = client.work.batcher, Stuck(client)
    batcher._together = 2
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(client.post, "/api/search", content=picture(people), headers=JPEG) for _ in range(6)]
        until(lambda: batcher.queue.qsize() + sum(network.runs) == 6)
        network.go.set()
        assert {answer.result().status_code for answer in asked} == {200}
    assert max(network.runs) == 2


def test_a_picture_waits_for_those_that_are_being_decoded(serve: Serve, people: Path) -> None:
    client = serve(gather=30.0)
    batcher, network = client.work.batcher, Stuck(client)
    network.go.set()
    with ThreadPoolExecutor(2) as pool, batcher.place("another client") as slow:
        asked = [pool.submit(client.post, "/api/search", content=picture(people), headers=JPEG) for _ in range(2)]
        until(lambda: batcher.waiting == 3 and batcher.coming == 1)
        slow.leave()
        assert {answer.result().status_code for answer in asked} == {200}
    assert network.runs == [2]


def test_a_picture_alone_does_not_wait_for_others(serve: Serve, people: Path) -> None:
    client = serve(gather=1e6)
    assert client.post("/api/search", content=picture(people), headers=JPEG).status_code == 200


def test_a_request_that_takes_too_long_is_told_so_and_gives_up_its_place(serve: Serve, people: Path) -> None:
    client = serve(request_seconds=0.3)
    network = Stuck(client)
    answer = client.post("/api/search", content=picture(people), headers=JPEG)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"detail": "the answer took too long"}
    assert client.work.batcher.waiting == 0
    network.go.set()


def test_changes_that_wait_are_limited_and_those_that_were_given_up_are_not_made(
    serve: Serve, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_WRITES", 2)
    client = serve(request_seconds=1.0)
    go = threading.Event()
    client.work._writer.submit(go.wait, 20)
    content = picture(people)

    def enrol(number: int) -> int:
        return client.post(f"/api/entries?identity=p{number}", content=content, headers=JPEG).status_code

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(enrol, number) for number in range(2)]
        until(lambda: client.work._writes == 2)
        refused = client.post("/api/entries?identity=p2", content=content, headers=JPEG)
        assert (refused.status_code, refused.json()["detail"]) == (503, "too many changes are waiting; try again")
        assert [answer.result() for answer in waiting] == [503, 503]  # after request_seconds
    go.set()
    assert client.get("/api/gallery").json()["entries"] == 8
    assert [enrol(number) for number in range(3)] == [201] * 3
    assert client.get("/api/gallery").json()["entries"] == 11


def test_stopping_does_not_wait_for_a_client_for_ever(enrolled: Path, embedder: osnet.Embedder, tmp_path: Path) -> None:
    shutil.copy(enrolled, tmp_path / "people.gallery")
    settings = Settings(port=0, stop_seconds=1, upload_seconds=1000)
    with running(tmp_path / "people.gallery", embedder, settings) as server, client_of(server) as client:
        connection = raw(client, upload(1000) + b"x")
        until(lambda: len(server.server_state.tasks) == 1)
    with connection:  # `running` has seen the server end
        assert is_cut(connection)


def test_a_token_is_needed_for_everything_but_the_page(serve: Serve, people: Path) -> None:
    client = serve(token=TOKEN)
    for path in ("/", "/page/main.js", "/health", "/ready"):
        assert client.get(path).status_code == 200
    for path in ("/api/gallery", "/api/people", "/metrics", "/openapi.json", "/page/../api/gallery"):
        assert client.get(path).status_code == 401
        for wrong in ("Bearer x", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", "Bearer \xe9"):
            answer = client.get(path, headers={"authorization": wrong.encode("latin-1")})
            assert answer.status_code == 401
    right = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/gallery", headers=right).status_code == 200
    assert client.post("/api/search", content=picture(people), headers={**JPEG, **right}).status_code == 200


def test_other_addresses_need_a_token_and_answer_to_their_own_names() -> None:
    settings = Settings(host="0.0.0.0", allow_names=("gallery.lan",))
    assert len(settings.token) >= 40
    assert settings.token != Settings(host="0.0.0.0").token
    assert settings.token not in repr(settings)
    for host in ("gallery.lan", "GALLERY.lan:8765", "10.1.2.3:8765", "[fd00::1]:80", "localhost", "127.0.0.1"):
        assert settings.allows_host(host)
    for host in ("evil.example", "10.1.2.3.evil.example", "", "gallery.lan.evil.example", "[gallery.lan"):
        assert not settings.allows_host(host)
    assert Settings().token == Settings(host="::1").token == Settings(host="localhost").token == ""
    assert not Settings().allows_host("10.1.2.3")
    for wrong in (
        {"token": "short"},
        {"token": "with a space in it ....."},
        {"port": 70_000},
        {"max_bytes": 1023},
        {"max_pixels": 0},
        {"allow_names": ("a b",)},
    ):
        with pytest.raises(OptionError):
            Settings(**wrong)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_on_all_addresses_names_one_that_others_reach(serve: Serve, host: str) -> None:
    try:
        client = serve(host=host)
    except OptionError:
        pytest.skip("no IPv6 here")
    assert client.base_url.host not in ("", host)
    assert client.get("/health").status_code == 200
    assert client.get("/api/gallery").status_code == 401
    named = serve(host=host, allow_names=("gallery.lan",))
    assert str(named.base_url) == f"http://gallery.lan:{named.base_url.port}/"


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("nowhere.invalid", 0, r"cannot listen on nowhere.invalid, port 0: [\w ]+; choose another address"),
        ("127.0.0.1", None, r"cannot listen on 127.0.0.1, port \d+: Address already in use; choose another address"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(serve: Serve, host: str, port: int | None, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OptionError, match=message):
        serve(host=host, port=taken.getsockname()[1] if port is None else port)


def test_a_read_only_server_changes_nothing(serve: Serve, people: Path) -> None:
    client = serve(read_only=True)
    assert client.post("/api/entries?identity=x", content=picture(people), headers=JPEG).status_code == 403
    assert client.delete("/api/entries?identity=0002").status_code == 403
    assert client.post("/api/drawn").status_code == 403
    id = client.get("/api/entries?limit=1").json()["entries"][0]["id"]
    assert client.patch(f"/api/entries/{id}?identity=x").status_code == 403
    assert client.get("/api/gallery").json()["entries"] == 8


def test_changes_are_audited_without_the_picture(serve: Serve, people: Path, tmp_path: Path) -> None:
    client = serve(audit=tmp_path / "audit.jsonl")
    id = client.post("/api/entries?identity=Z%C3%B6e%0A", content=picture(people), headers=JPEG).json()["id"]
    client.delete(f"/api/entries/{id}")
    client.post("/api/search", content=picture(people), headers=JPEG)
    first, second = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (first["audit"], first["ids"], first["identity"], first["client"]) == ("enrol", [id], "Zöe\n", "127.0.0.1")
    assert (second["audit"], second["ids"], second["identities"]) == ("remove", [id], ["Zöe\n"])
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_fault_inside_is_500_without_details(serve: Serve, people: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = serve()
    client.work.batcher._embedder = None
    answer = client.post("/api/search", content=picture(people), headers=JPEG)
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal error; the server's log has the reason"})
    assert "NoneType" in caplog.text
    assert client.get("/health").status_code == 200

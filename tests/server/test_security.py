"""What hostile clients send: no 500, no file out of place, no thread stuck, and the next request is answered."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

import osnet
from osnet.errors import OptionError
from osnet.server import connections
from osnet.server.settings import Settings
from tests.server.conftest import Serve, client_of, running
from tests.server.test_api import JPEG, picture

pytestmark = pytest.mark.slow
TOKEN = "correct-horse-battery"


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


def test_bodies_are_limited_before_they_are_read(shared: httpx.Client) -> None:
    assert shared.post("/api/search", content=bytes((1 << 20) + 1), headers=JPEG).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(1600):  # 100 MB without a length
            yield bytes(1 << 16)

    assert shared.post("/api/search", content=endless(), headers=JPEG).status_code == 413
    assert shared.post("/api/search", content=bytes(100 << 20), headers=JPEG).status_code == 413
    answer = shared.post("/api/search/feature", content=b"[" * 100_000, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert shared.get("/health").status_code == 200


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
    with socket.create_connection((shared.base_url.host, shared.base_url.port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = int(raw.makefile("rb").readline().split()[1])
    assert status in (404, 422)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", ""]
)
def test_other_hosts_are_refused(shared: httpx.Client, host: str) -> None:
    answer = shared.get("/api/gallery", headers={"host": host})
    assert answer.status_code in (400, 403)
    assert "people" not in answer.text


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
        with socket.create_connection(place, timeout=5) as raw:
            try:
                raw.sendall(flood)
                answer = raw.recv(100)
            except OSError:
                continue  # cut off
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), flood[:40]
    assert shared.get("/health").status_code == 200


def test_slow_uploads_and_slow_headers_are_cut(shared: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PATIENCE", 2.0)
    place = (shared.base_url.host, shared.base_url.port)
    with socket.create_connection(place, timeout=10) as body, socket.create_connection(place, timeout=10) as header:
        body.sendall(
            b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nx"
        )
        header.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
        assert body.recv(100).startswith(b"HTTP/1.1 408")
        with contextlib.suppress(ConnectionResetError):
            assert header.recv(100) == b""


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


def test_when_the_places_are_taken_the_next_are_refused_at_once(serve: Serve, people: Path) -> None:
    client = serve()
    batcher = client.work.batcher
    go = threading.Event()
    stream = batcher._embedder.stream

    class Stuck:
        def stream(self, crops: object) -> object:
            go.wait(20)
            return stream(crops)

    batcher._embedder, batcher._seconds = Stuck(), 1.0  # so slow that there are 16 places, 12 of them for one client
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(client.post, "/api/search", content=picture(people), headers=JPEG) for _ in range(12)]
        while batcher.waiting < 12:
            time.sleep(0.01)
        start = time.perf_counter()
        refused = httpx.post(f"{client.base_url}api/search", content=picture(people), headers=JPEG)
        assert time.perf_counter() - start < 1
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        batcher.waiting += 4  # of others
        refused = httpx.post(f"{client.base_url}api/search", content=picture(people), headers=JPEG)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        batcher.waiting -= 4
        assert client.get("/health").status_code == 200
        go.set()
        assert {answer.result().status_code for answer in asked} == {200}
    assert batcher.waiting == batcher.coming == 0


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
    settings = Settings(host="0.0.0.0", allow_hosts=("gallery.lan",))
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
        {"allow_hosts": ("a b",)},
    ):
        with pytest.raises(OptionError):
            Settings(**wrong)


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

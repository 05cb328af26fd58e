"""Links: which are followed (faults 11 to 14), and where else a file is looked for."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from osnet.errors import OptionError, UrlError
from osnet.hub import urls
from osnet.hub.fetch import fetch
from tests.conftest import CardMaker
from tests.servers import Server, whole

PUBLISHED = "https://download.mindspore.cn/models/r1.6/a.ckpt"


@pytest.fixture
def rules() -> urls.Rules:
    return urls.rules([PUBLISHED], ["models.example:8443", "[::1]:9"], ["https://mirror.example/base"], False)


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to open a socket fails the test, through every layer."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.__init__", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.usefixtures("no_socket")
@pytest.mark.parametrize(
    "link",
    [
        "file:///etc/passwd.ckpt",
        "FILE:///etc/passwd.ckpt",
        "ftp://download.mindspore.cn/a.ckpt",
        "data:text/plain,a.ckpt",
        "javascript:a.ckpt",
        "download.mindspore.cn/a.ckpt",
        "//download.mindspore.cn/a.ckpt",
        "/etc/passwd.ckpt",
        "https:/download.mindspore.cn/a.ckpt",
        "https:download.mindspore.cn/a.ckpt",
        "https://",
    ],
)
def test_fault_11_scheme(link: str, make_card: CardMaker, tmp_path: Path) -> None:
    with pytest.raises(UrlError, match=r"expected https|names no") as caught:
        fetch(make_card(link), cache_dir=tmp_path / "cache", allow_http=True)
    assert link in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_fault_12_http(http_server: Server, make_card: CardMaker, tmp_path: Path) -> None:
    card = make_card(http_server.on("/a.ckpt", whole(b"abc")), b"abc")
    with pytest.raises(UrlError, match="got http; allow it by name with --allow-http"):
        fetch(card, cache_dir=tmp_path / "cache", allow_hosts=[http_server.host])
    assert http_server.connections == 0
    assert not (tmp_path / "cache").exists()
    path = fetch(card, cache_dir=tmp_path / "cache", allow_hosts=[http_server.host], allow_http=True)
    assert path.read_bytes() == b"abc"


@pytest.mark.usefixtures("no_socket")
@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/a.ckpt",
        "https://user:pass@download.mindspore.cn/a.ckpt",
        "https://user@download.mindspore.cn/a.ckpt",
        "https://download.mindspore.cn@evil.example/a.ckpt",
        "https://download.mindspore.cn:pass@evil.example/a.ckpt",
        "https://evil.example\\@download.mindspore.cn/a.ckpt",
        "https://evil.example\\.download.mindspore.cn/a.ckpt",
        "https://download.mindspore.cn.evil.example/a.ckpt",
        "https://evildownload.mindspore.cn/a.ckpt",
        "https://mindspore.cn/a.ckpt",
        "https://download.mindspore.cn./a.ckpt",
        "https://download.mindspоre.cn/a.ckpt",  # noqa: RUF001 - a Cyrillic o
        "https://xn--download.mindspore.cn/a.ckpt",
        "https://download.mindspore.cn:8443/a.ckpt",
        "https://download.mindspore.cn:0/a.ckpt",
        "https://download.mindspore.cn:99999/a.ckpt",
        "https://download.mindspore.cn:/a.ckpt",
        "https://download.mindspore.cn:80/a.ckpt",
        "https://download.mindspore.cn#@evil.example/a.ckpt",
        "https://evil.example?@download.mindspore.cn/a.ckpt",
        "https://download.mindspore.cn%2eevil.example/a.ckpt",
        "https://[::1]/a.ckpt",
        "https://127.0.0.1/a.ckpt",
        "https://2130706433/a.ckpt",
        "https://models.example/a.ckpt",
    ],
)
def test_fault_13_host(link: str, make_card: CardMaker, tmp_path: Path) -> None:
    with pytest.raises(UrlError) as caught:
        fetch(make_card(link), cache_dir=tmp_path / "cache", allow_hosts=["models.example:8443"])
    assert ":pass@" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("no_socket")
@pytest.mark.parametrize(
    "last",
    [
        "..",
        "",
        ".",
        "%2e%2e",
        "%2E%2E",
        "%252e%252e",
        "..%2f..%2fx.ckpt",
        "a\\..\\b.ckpt",
        "a%5c..%5cb.ckpt",
        "C:x.ckpt",
        "C%3Ax.ckpt",
        "%5c%5cserver%5cshare.ckpt",
        "x%00.ckpt",
        "x%0a.ckpt",
        "x" * 300 + ".ckpt",
        ".hidden.ckpt",
        "-rf.ckpt",
        "nul.ckpt",
        "COM1.ckpt",
        "x.ckpt.",
        "%ff.ckpt",
        "x%e2%80%ae.ckpt",
        "osnet_dukemtmc.md",
        "osnet",
    ],
)
def test_fault_14_file_name(last: str, make_card: CardMaker, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "precious").write_text("x")
    with pytest.raises(UrlError) as caught:
        fetch(make_card(f"https://download.mindspore.cn/models/{last}"), cache_dir=cache)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert files_in(cache) == ["precious"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://download.mindspore.cn/a.ckpt", True),
        ("https://DOWNLOAD.mindspore.CN/a.ckpt", True),
        ("https://download.mindspore.cn:443/a.ckpt", True),
        ("https://models.example:8443/a.ckpt?sign=a/b", True),
        ("https://models.example/a.ckpt", False),
        ("https://[::1]:9/a.ckpt", True),
        ("https://[::1]:10/a.ckpt", False),
        ("https://mirror.example/a.ckpt", True),
        ("https://mirror.example:444/a.ckpt", False),
        ("http://download.mindspore.cn/a.ckpt", False),
    ],
)
def test_allowed_hosts(rules: urls.Rules, url: str, allowed: bool) -> None:
    if allowed:
        assert rules.check(url).path == "/a.ckpt"
    else:
        with pytest.raises(UrlError):
            rules.check(url)


@pytest.mark.parametrize(
    "host", ["https://a.example", "a.example/x", "a b", "user@a.example", "a.example:0", "a:99999"]
)
def test_allowed_host_that_is_none(host: str) -> None:
    with pytest.raises(OptionError, match="HOST:PORT"):
        urls.rules([], [host], [], False)


@pytest.mark.parametrize(
    "mirror", ["mirror.example", "https://u:p@mirror.example", "https://mirror.example/?x=", "ftp://m"]
)
def test_mirror_that_is_none(mirror: str) -> None:
    with pytest.raises(UrlError):
        urls.rules([], [], [mirror], False)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.ckpt", "https://download.mindspore.cn/b.ckpt"),
        ("b.ckpt", "https://download.mindspore.cn/models/r1.6/b.ckpt"),
        ("//mirror.example/b.ckpt", "https://mirror.example/b.ckpt"),
        ("https://mirror.example/b.ckpt", "https://mirror.example/b.ckpt"),
        ("//evil.example/b.ckpt", None),
        ("http://download.mindspore.cn/b.ckpt", None),
        ("file:///b.ckpt", None),
        ("https://download.mindspore.cn@evil.example/", None),
        ("ht\ttps://evil.example/", None),
        ("\\\\evil.example/", None),
    ],
)
def test_redirect(rules: urls.Rules, location: str, target: str | None) -> None:
    if target:
        assert rules.check_redirect(PUBLISHED, location) == target
    else:
        with pytest.raises(UrlError, match="redirects"):
            rules.check_redirect(PUBLISHED, location)


def test_https_never_becomes_http_even_where_http_is_allowed() -> None:
    rules = urls.rules([PUBLISHED], [], [], True)
    rules.check("http://download.mindspore.cn/a.ckpt")
    with pytest.raises(UrlError, match="never becomes http"):
        rules.check_redirect(PUBLISHED, "http://download.mindspore.cn/a.ckpt")


def test_candidates() -> None:
    links = ["https://one.example/models/r1/a.ckpt?x=1", "https://two.example/b.ckpt"]
    assert urls.download_urls(links, ["https://m.example/base/", "https://n.example"]) == (
        "https://m.example/base/models/r1/a.ckpt?x=1",
        "https://m.example/base/b.ckpt",
        "https://m.example/base/a.ckpt",
        "https://n.example/models/r1/a.ckpt?x=1",
        "https://n.example/b.ckpt",
        "https://n.example/a.ckpt",
        *links,
    )
    assert urls.download_urls(links, []) == tuple(links)


@pytest.mark.parametrize("last", ["a.ckpt", "A-1_b+c=d@e.ckpt", "mAP83.0.CKPT", "a%20b.ckpt", "a(1).ckpt"])
def test_file_name(last: str) -> None:
    assert urls.file_name(f"https://x.example/r/{last}?y=/z") == last.replace("%20", " ")


PIECES = st.sampled_from(
    [
        "https://",
        "http://",
        "download.mindspore.cn",
        "evil.example",
        "a.ckpt",
        "443",
        "%2e",
        "..",
        "x",
        "\r\n",
        "\u3002",
        *list("@:/\\?#[]. \t\0"),
        "\u00e9",
        "\u2215",
    ]
)


@settings(deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=60)))
@example("https://download.mindspore.cn/a.ckpt")
def test_fuzz_an_allowed_link_goes_to_the_host_that_every_parser_sees(url: str) -> None:
    rules = urls.rules([PUBLISHED], [], [], False)
    try:
        link = rules.check(url)
    except UrlError:
        return
    split = urlsplit(url)
    assert (split.scheme, split.hostname, split.port or 443) == ("https", "download.mindspore.cn", 443)
    assert (link.host, link.port) == ("download.mindspore.cn", 443)
    assert re.fullmatch(r"https://download\.mindspore\.cn(:443)?([/?].*)?", url, re.IGNORECASE)


@settings(deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=40)))
@example("a.ckpt")
def test_fuzz_a_file_name_stays_in_its_folder(last: str) -> None:
    try:
        name = urls.file_name("https://download.mindspore.cn/" + last)
    except UrlError:
        return
    folder = Path("/cache/mindspore/1.6")
    assert (folder / name).resolve() == folder / name
    assert Path(name).name == name
    assert name.isprintable()

"""Keywords overrule the environment; what is not understood is an error that names its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from osnet.errors import CacheError, OptionError
from osnet.hub.settings import DEFAULT_TIMEOUT, read_settings

ENVIRONMENT = {
    "OSNET_CACHE": "/from/environment",
    "OSNET_OFFLINE": "yes",
    "OSNET_MIRROR": "https://a.example, https://b.example/x",
    "OSNET_TIMEOUT": "12.5",
    "OSNET_ALLOW_HOST": "h.example:1",
    "OSNET_ALLOW_HTTP": "1",
}


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = read_settings(environ={})
    assert settings.cache == Path("/home/somebody/.mscache")
    assert (settings.offline, settings.mirrors, settings.allow_hosts, settings.allow_http) == (False, (), (), False)
    assert settings.timeout == DEFAULT_TIMEOUT


def test_environment() -> None:
    settings = read_settings(environ=ENVIRONMENT)
    assert settings.cache == Path("/from/environment")
    assert settings.offline
    assert settings.allow_http
    assert settings.mirrors == ("https://a.example", "https://b.example/x")
    assert settings.timeout == 12.5
    assert settings.allow_hosts == ("h.example:1",)


def test_keywords_overrule_the_environment() -> None:
    settings = read_settings(
        cache_dir="here",
        offline=False,
        mirrors="https://c.example",
        timeout=3,
        allow_hosts=["k.example"],
        allow_http=False,
        environ=ENVIRONMENT,
    )
    assert settings.cache == Path("here").absolute()
    assert not settings.offline
    assert not settings.allow_http
    assert settings.mirrors == ("https://c.example",)
    assert settings.timeout == 3.0
    assert settings.allow_hosts == ("k.example",)


def test_a_mirror_is_an_address_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir(tmp_path)
    given = [
        "/media/usb",
        "https://a.example/x",
        "file:///m/a%20b%C3%A9",
        "FILE://localhost/n",
        "~/w",
        "here",
        Path("x.ckpt"),
    ]
    settings = read_settings(mirrors=given)
    assert settings.mirrors == ("https://a.example/x",)
    folders = ["/media/usb", "/m/a b\u00e9", "/n", "/home/somebody/w", tmp_path / "here", tmp_path / "x.ckpt"]
    assert settings.folders == tuple(map(Path, folders))
    assert read_settings(mirrors=Path("/m")).folders == (Path("/m"),)
    environ = {**ENVIRONMENT, "OSNET_MIRROR": "file:///a%20b,https://c.example /d"}
    settings = read_settings(environ=environ)
    assert (settings.mirrors, settings.folders) == (("https://c.example",), (Path("/a b"), Path("/d")))


@pytest.mark.parametrize("mirror", ["file://server/share", "file:x", "file://", "file:///a%00b", "a\0b", "file://["])
def test_a_mirror_that_is_neither(mirror: str) -> None:
    with pytest.raises(OptionError, match="mirrors: expected"):
        read_settings(mirrors=mirror)


@pytest.mark.parametrize("value", ["0", "false", "No", "off", "", " "])
def test_switch_that_is_off(value: str) -> None:
    assert not read_settings(environ={"OSNET_CACHE": "/c", "OSNET_OFFLINE": value}).offline


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OSNET_OFFLINE", "maybe"),
        ("OSNET_ALLOW_HTTP", "2"),
        ("OSNET_TIMEOUT", "soon"),
        ("OSNET_TIMEOUT", "0"),
        ("OSNET_TIMEOUT", "-1"),
        ("OSNET_TIMEOUT", "nan"),
        ("OSNET_TIMEOUT", "inf"),
        ("OSNET_CACHE", " "),
    ],
)
def test_bad_variable(variable: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"{variable}: expected .*, got {value!r}"):
        read_settings(environ={"OSNET_CACHE": "/c", variable: value})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("offline", "yes"),
        ("allow_http", 1),
        ("timeout", "soon"),
        ("timeout", True),
        ("mirrors", 3),
        ("mirrors", [None]),
        ("allow_hosts", [""]),
        ("cache_dir", "a\0b"),
    ],
)
def test_bad_keyword(keyword: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{keyword}: expected"):
        read_settings(environ={"OSNET_CACHE": "/c"}, **{keyword: value})  # type: ignore[arg-type]


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(CacheError, match=r"HOME.*OSNET_CACHE"):
        read_settings(environ={})

"""`register` gives an imported mindspore_hub OSNet's names."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from osnet import mshub
from osnet.errors import CardError, DependencyError, OfflineError
from osnet.hub import catalog
from osnet.hub.card import Card
from osnet.mshub.install import install
from tests.mshub.conftest import DATA, ROOT, UID, Calls, digest, digest_of
from tests.servers import Server


def test_needs_the_import_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mindspore_hub", raising=False)
    with pytest.raises(DependencyError, match="import mindspore_hub first"):
        mshub.register()
    mshub.unregister()


def test_twice_is_once_and_unregister_restores(hub: types.ModuleType) -> None:
    original = hub.load
    mshub.register()
    wrapper = hub.load
    mshub.register()
    assert hub.load is wrapper is not original
    assert inspect.signature(hub.load) == inspect.signature(original)
    mshub.unregister()
    assert hub.load is original
    mshub.unregister()
    assert hub.load is original


def test_many_threads_register_once(hub: types.ModuleType) -> None:
    original = hub.load
    threads = [threading.Thread(target=mshub.register) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hub.load.__wrapped__ is original


def test_somebody_who_wrapped_it_later_is_left_alone(hub: types.ModuleType, calls: Calls) -> None:
    mshub.register()
    ours = hub.load
    hub.load = theirs = lambda *args, **kwargs: ours(*args, **kwargs)
    mshub.unregister()
    assert hub.load is theirs
    assert hub.load("osnet") == "original"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("mindspore/1.6/resnet50_cifar10", 10), {"pretrained": False}),
        (("mindspore/ascend/1.6/osnet_dukemtmc",), {}),
        (("https://gitee.com/mindspore/hub/blob/master/mshub_res/assets/mindspore/1.6/osnet_dukemtmc.md",), {}),
        (("gone.md",), {"source": "local"}),
        ((7,), {}),
        (("osnet",), {"source": "local"}),
    ],
)
def test_other_names_reach_the_original(
    args: tuple[object, ...], kwargs: dict[str, object], hub: types.ModuleType, calls: Calls
) -> None:
    mshub.register()
    assert hub.load(*args, **kwargs) == "original"
    assert calls == [(args, {"source": "gitee", "pretrained": True, **kwargs})]


def test_cards_of_other_networks_reach_the_original(hub: types.ModuleType, publish: Callable[..., Card]) -> None:
    mshub.register()
    other = publish(DATA, name="resnet50", model_name="resnet50")
    assert hub.load(str(other.path), source="local") == "original"
    other.path.write_text("model-name: resnet50\nno card")
    assert hub.load(str(other.path), source="local") == "original"


def test_a_bad_card_of_an_osnet_never_reaches_the_original(hub: types.ModuleType, card: Card, calls: Calls) -> None:
    mshub.register()
    card.path.write_text(card.path.read_text().replace("asset-sha256", "asset-sha"))
    with pytest.raises(CardError, match="asset-sha256"):
        hub.load(str(card.path), source="local")
    assert calls == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["osnet", "osnet_market1501", UID, UID.replace("mindspore", "MindSpore")])
def test_our_names_are_ours(name: str, hub: types.ModuleType, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mindspore")
    monkeypatch.setenv("OSNET_OFFLINE", "1")
    mshub.register()
    with pytest.raises(OfflineError):
        hub.load(name)
    assert calls == []


@pytest.mark.parametrize("place", ["mindspore_hub's own", "set_hub_dir"])
def test_installed_cards_are_found_by_uid_and_by_name(
    place: str,
    hub: types.ModuleType,
    publish: Callable[..., Card],
    calls: Calls,
    hub_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place == "set_hub_dir":
        manage = types.ModuleType("mindspore_hub.manage")
        manage.get_hub_dir = lambda: str(hub_dir)
        monkeypatch.setitem(sys.modules, "mindspore_hub.manage", manage)
    else:
        monkeypatch.setenv("HOME", str(hub_dir.parent))
    install(publish(DATA, name="osnet_mine", user_id="me"), hub_dir=hub_dir)
    found = []
    monkeypatch.setattr("osnet.mshub.short_names._load", lambda card, *args, **kwargs: found.append(card))
    mshub.register()
    for name in ("me/1.6/osnet_mine", "osnet_mine", "Me/1.6/OSNet_mine"):
        hub.load(name)
    assert [card.path for card in found] == [hub_dir / "me/1.6/osnet_mine.md"] * 3
    assert hub.load("me/1.6/osnet_other") == "original"
    install(publish(DATA, name="osnet_mine", user_id="you"), hub_dir=hub_dir)
    with pytest.raises(CardError, match=r"got me/1\.6/osnet_mine, you/1\.6/osnet_mine; load it by its uid"):
        hub.load("osnet_mine")


def test_importing_patches_nothing(hub: types.ModuleType) -> None:
    original = hub.load
    code = "import sys, types\nm = types.ModuleType('mindspore_hub'); m.load = 7; sys.modules['mindspore_hub'] = m\n"
    code += "import osnet, osnet.mshub, osnet.mshub.install, osnet.cli.app\nassert m.load == 7\n"
    code += "assert not {'mindspore', 'requests'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    assert hub.load is original


@pytest.mark.slow
def test_registered_names_load_verified_and_offline(
    publish: Callable[..., Card],
    published: bytes,
    catalogue: Path,
    hub: types.ModuleType,
    calls: Calls,
    https_server: Server,
) -> None:
    pytest.importorskip("mindspore")
    own = publish(published)
    shutil.copy(own.path, catalogue / f"{UID}.md")
    catalog._card.cache_clear()
    mshub.register()
    expected = digest(702)
    assert digest_of(hub.load("osnet", 702)) == expected
    asked = len(https_server.requests)
    for name in (UID, str(own.path)):
        assert digest_of(hub.load(name, num_classes=702)) == expected
    assert digest_of(hub.load(str(own.path), source="local")) == digest(0)
    assert len(https_server.requests) == asked  # cached: no request
    assert hub.load(UID, 5, pretrained=False).num_classes == 5
    hub.load("osnet", force_reload=True)
    assert len(https_server.requests) == asked + 1
    for keywords in ({"pretrained": 1}, {"force_reload": None}, {"classes": 3}):
        with pytest.raises(TypeError):
            hub.load("osnet", **keywords)
    assert calls == []


@pytest.mark.slow
def test_a_registered_card_finds_its_checkpoint_beside_it(
    publish: Callable[..., Card],
    published: bytes,
    hub: types.ModuleType,
    hub_dir: Path,
    https_server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mindspore")
    installed, _, checkpoint = install(publish(published), hub_dir=hub_dir)
    mshub.register()
    asked = len(https_server.requests)
    assert digest_of(hub.load(str(installed), source="local")) == digest(0)
    assert len(https_server.requests) == asked
    checkpoint.write_bytes(published[:-1])
    monkeypatch.setenv("OSNET_OFFLINE", "1")
    with pytest.raises(ValueError, match="offline; the file is kept"):
        hub.load(str(installed), source="local")

"""Cards whose links are served here, laid out for mindspore_hub, and a hub that writes down what reaches it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from osnet import mshub
from osnet.hub import catalog
from osnet.hub.card import Card
from osnet.mshub import package
from osnet.mshub.check import Finding
from tests.conftest import CardMaker
from tests.servers import Server, whole

ROOT = Path(__file__).parents[2]
UID = "mindspore/1.6/osnet_dukemtmc"
DATA = b"what a card publishes" * 50
FILE = "osnet_ascend_v160_dukemtmc_research_cv_mAP67.ckpt"

Calls = list[tuple[tuple[object, ...], dict[str, object]]]


@pytest.fixture
def hub_dir(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".mscache"


@pytest.fixture
def publish(https_server: Server, make_card: CardMaker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Card]:
    """``publish(data)``: a card with the uid of the seed card whose links are served here."""
    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)

    def run(data: bytes, name: str = "osnet_dukemtmc", folder: str = "osnet", **values: str) -> Card:
        repository = https_server.on(f"/of.com/tree/master/research/cv/{folder}", whole(b"a page"))
        link = https_server.on(f"/files/{name}/{FILE}", whole(data))
        return make_card(link, data, name=name, repo_link=f"<{repository}>", **values)

    return run


@pytest.fixture
def card(publish: Callable[..., Card]) -> Card:
    return publish(DATA)


@pytest.fixture
def catalogue(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's cards are this one, under the seed card's uid."""
    folder = tmp_path / "cards"
    (folder / UID).parent.mkdir(parents=True)
    shutil.copy(card.path, folder / f"{UID}.md")
    monkeypatch.setattr(catalog, "CARDS", folder)
    for lookup in (catalog._uids, catalog._card):
        lookup.cache_clear()
    yield folder
    for lookup in (catalog._uids, catalog._card):
        lookup.cache_clear()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, but the copy of the package."""
    files = [path for path in folder.rglob("*") if path.is_file() and package.STANDALONE not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files)}


def notes(findings: tuple[Finding, ...]) -> list[tuple[str, bool]]:
    return [(Path(finding.what).name, finding.good) for finding in findings]


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> Iterator[types.ModuleType]:
    """An imported ``mindspore_hub`` whose `load` writes down what reaches it."""
    module = types.ModuleType("mindspore_hub")

    def load(name, *args, source="gitee", pretrained=True, force_reload=False, **kwargs):
        calls.append(((name, *args), {"source": source, "pretrained": pretrained, **kwargs}))
        return "original"

    module.load = load
    monkeypatch.setitem(sys.modules, "mindspore_hub", module)
    yield module
    mshub.unregister()


@pytest.fixture(scope="module")
def published() -> bytes:
    """Recipe weights in the layout of the published checkpoints, with Adam's state: 30 MB."""
    from osnet.checkpoint.mindspore import write_ckpt
    from osnet.variants import get_variant
    from tests.recipe import recipe_arrays

    entries = json.loads((ROOT / "tests/fixtures/published_checkpoint_layout.json").read_text())
    weights = recipe_arrays(get_variant("osnet_x1_0"), 702)
    return write_ckpt({n: weights[n] if n in weights else np.zeros(s, d.lower()) for n, s, d in entries})


def digest(num_classes: int) -> tuple[int, str]:
    from osnet.variants import get_variant
    from tests.recipe import recipe_arrays

    whole = hashlib.sha256()
    arrays = recipe_arrays(get_variant("osnet_x1_0"), num_classes)
    for name, array in sorted(arrays.items()):
        whole.update(name.encode() + array.tobytes())
    return len(arrays), whole.hexdigest()


def digest_of(network) -> tuple[int, str]:
    whole = hashlib.sha256()
    for name, parameter in sorted(network.parameters_dict().items()):
        whole.update(name.encode() + parameter.asnumpy().tobytes())
    return len(network.parameters_dict()), whole.hexdigest()

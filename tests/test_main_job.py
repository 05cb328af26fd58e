"""The main job, whole: a card, a real HTTPS server, a verified file in the published layout, weights, features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import osnet
from osnet.checkpoint.mindspore import write_ckpt
from osnet.errors import HashError
from osnet.variants import IMAGE_MEAN, IMAGE_STD, VARIANTS, to_torchreid
from tests.conftest import CardMaker
from tests.recipe import recipe_array, recipe_arrays
from tests.servers import Server, whole

pytestmark = pytest.mark.slow

LAYOUT = json.loads((Path(__file__).parent / "fixtures" / "published_checkpoint_layout.json").read_text())
CLASSES = 702


@pytest.fixture(scope="module")
def published() -> bytes:
    """A checkpoint with the very entries of a published one: 702 identities, Adam's state and counters beside."""
    weights = recipe_arrays(VARIANTS["osnet_x1_0"], CLASSES)
    dtypes = {"Float32": np.float32, "Int32": np.int32, "Int64": np.int64}
    arrays = {
        name: weights[name] if name in weights else np.zeros(shape, dtypes[dtype]) for name, shape, dtype in LAYOUT
    }
    data = write_ckpt(arrays)
    assert len(arrays) == 1147
    assert 30e6 < len(data) < 31e6
    return data


def test_from_a_card_to_features_and_through_every_mishap(
    published: bytes, https_server: Server, make_card: CardMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)
    card = make_card(https_server.on("/models/r1/osnet.ckpt", whole(published)), published)
    assert card.path is not None
    image = np.random.default_rng(0).integers(0, 256, (256, 128, 3), np.uint8)

    first = osnet.Embedder(str(card.path), precision="fp32")
    assert first.weights.num_classes == CLASSES
    assert first.weights.sha256 == card.checkpoint.sha256
    assert len(first.weights.extras) == 1147 - len(first.weights.arrays)
    features = first(image)
    assert features.shape == (1, 512)
    assert https_server.paths == ["/models/r1/osnet.ckpt"]

    https_server.on("/models/r1/osnet.ckpt", whole(b"gone"))  # the address gives something else from now on
    again = osnet.Embedder(card.path, precision="fp32", offline=True)
    np.testing.assert_array_equal(again(image), features)
    assert len(https_server.paths) == 1

    path = osnet.fetch(card)
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(HashError, match="offline"):
        osnet.Embedder(card, offline=True)
    with pytest.raises(HashError, match="expected"):
        osnet.Embedder(card)
    https_server.on("/models/r1/osnet.ckpt", whole(published))
    healed = osnet.Embedder(card, precision="fp32")
    np.testing.assert_array_equal(healed(image), features)
    assert path.read_bytes() == published


def test_mindspore_loads_the_same_file(
    published: bytes, https_server: Server, make_card: CardMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mindspore")
    import mindspore

    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)
    card = make_card(https_server.on("/r1/osnet.ckpt", whole(published)), published)
    network = osnet.load(card, num_classes=CLASSES)
    assert network.load_report.used == 487
    assert network.load_report.new == ()
    shape = network.classifier.weight.shape
    np.testing.assert_array_equal(
        network.classifier.weight.asnumpy(), recipe_array(to_torchreid("classifier.weight"), tuple(shape), "w")
    )
    image = np.random.default_rng(0).integers(0, 256, (256, 128, 3), np.uint8)
    x = ((image / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)).transpose(2, 0, 1)[None].astype(np.float32)
    features = network(mindspore.Tensor(x)).asnumpy()
    expected = osnet.Embedder(card, precision="fp32", normalize=False)(image)
    np.testing.assert_allclose(features, expected, rtol=0, atol=2e-5 * np.abs(expected).max())

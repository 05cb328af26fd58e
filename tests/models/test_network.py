from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from osnet.errors import OptionError, UnknownModelError
from osnet.variants import VARIANTS, parameters
from tests.recipe import CLASSES, recipe_input, recipe_weights

pytestmark = pytest.mark.slow
pytest.importorskip("mindspore")

import mindspore  # noqa: E402

from osnet.models.load import create_model, network_from_weights  # noqa: E402

DATA = Path(__file__).parents[1] / "fixtures"
REFERENCE = np.load(DATA / "torchreid_features.npz")


@pytest.mark.parametrize("name", VARIANTS)
def test_features_are_torchreids(name: str) -> None:
    network = network_from_weights(recipe_weights(name), CLASSES)
    x = mindspore.Tensor(recipe_input())
    features, expected = network(x).asnumpy(), REFERENCE[name]
    assert np.abs(features - expected).max() <= 1e-5 * np.abs(expected).max()
    pooled, mean = network.feature_map(x).asnumpy().mean(axis=(2, 3)), REFERENCE[f"{name}:map_mean"]
    assert np.abs(pooled - mean).max() <= 1e-5 * np.abs(mean).max()


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_names_and_shapes(name: str) -> None:
    found = {key: tuple(value.shape) for key, value in create_model(name, 7).parameters_dict().items()}
    assert found == {p.name: p.shape for p in parameters(VARIANTS[name], 7)}


def test_x1_0_trains_the_published_parameters_in_the_published_order() -> None:
    layout = [name for name, *_ in json.loads((DATA / "published_checkpoint_layout.json").read_text())]
    trained = [parameter.name for parameter in create_model("osnet_x1_0", 702).trainable_params()]
    assert trained == layout[: len(trained)]


def test_training_gives_logits_and_inference_features() -> None:
    network = network_from_weights(recipe_weights("osnet_x0_25"), CLASSES)
    x = mindspore.Tensor(recipe_input())
    features = network(x).asnumpy()
    network.set_train(True)
    assert network(x).shape == (2, CLASSES)
    assert network.features(x).shape == (2, 512)
    network.set_train(False)
    assert features.shape == (2, 512)


def test_a_training_step_lowers_the_loss_and_reaches_every_parameter() -> None:
    from mindspore import nn

    mindspore.set_seed(0)
    network = create_model("osnet_ain_x0_25", 2)
    network.set_train(True)
    x, labels = mindspore.Tensor(recipe_input()), mindspore.Tensor([0, 1], mindspore.int32)
    loss = nn.CrossEntropyLoss()
    optimizer = nn.SGD(network.trainable_params(), learning_rate=0.05)
    step = mindspore.value_and_grad(lambda: loss(network(x), labels), None, optimizer.parameters)
    before, gradients = step()
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)
    untouched = [p.name for p, g in zip(optimizer.parameters, gradients) if not np.any(g.asnumpy())]
    # a gate of x0.25 has one to two hidden units, which ReLU may switch off
    assert not [name for name in untouched if ".gate." not in name]
    optimizer(gradients)
    after, _ = step()
    assert float(after.asnumpy()) < float(before.asnumpy())


def test_graph_mode_gives_the_same_features() -> None:
    network = network_from_weights(recipe_weights("osnet_x0_25"))
    x = mindspore.Tensor(recipe_input())
    eager = network(x).asnumpy()
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    try:
        compiled = network(x).asnumpy()
    finally:
        mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    np.testing.assert_allclose(compiled, eager, rtol=0, atol=1e-5 * np.abs(eager).max())


def test_unknown_names_and_bad_sizes_are_refused() -> None:
    with pytest.raises(UnknownModelError, match="Known: osnet_x1_0"):
        create_model("resnet50")
    for bad in (-1, 2.5, "10", True):
        with pytest.raises(OptionError, match="num_classes"):
            create_model("osnet_x0_25", bad)  # type: ignore[arg-type]

"""A compiled step against the same step as it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from osnet.training.config import TrainConfig

pytestmark = pytest.mark.slow
ms = pytest.importorskip("mindspore")


def one_block(network: Any) -> Any:
    """`network` with one of its six omni-scale blocks: every kind of layer, in a sixth of the time to compile."""
    from osnet.models.network import ConvLayer

    network.conv2 = ms.nn.SequentialCell(network.conv2[0], network.conv2[2])
    network.conv3, network.conv4 = ConvLayer(64, 128), ms.nn.Identity()
    return network


def after_two_steps(config: TrainConfig, *, compiled: bool) -> tuple[list[tuple[float, float, float]], np.ndarray]:
    """What each step says, and all parameters in a row."""
    from osnet.models.load import create_model
    from osnet.training.ranks import Ranks
    from osnet.training.step import Stepper, graph_mode

    ms.set_seed(0)
    network = one_block(create_model("osnet_x0_25", 4 if config.cross_entropy else 0))
    rng = np.random.default_rng(0)
    labels = np.arange(8, dtype=np.int32) // 2
    said = []
    with graph_mode(compiled):
        stepper = Stepper(network, config, Ranks())
        for _ in range(2):
            images = rng.integers(0, 256, (config.accumulation, 8, 32, 32, 3), np.uint8)
            said.append(stepper([(ms.Tensor(part), ms.Tensor(labels)) for part in images], 1e-3))
    return said, np.concatenate([p.asnumpy().ravel() for p in network.get_parameters()])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "changes", [{"accumulation": 1, "triplet": 1}, {"accumulation": 2, "cross_entropy": 0, "supervised_contrastive": 1}]
)
def test_a_compiled_step_is_the_step_as_written(changes: dict[str, object]) -> None:
    # an epsilon that keeps Adam from making much of gradients that are all rounding
    config = TrainConfig(
        batch_size=8, images_per_identity=2, optimizer="adamw", clip_norm=1.0, epsilon=1e-2
    ).replace(**changes)  # fmt: skip
    mode = ms.get_context("mode")
    said, weights = after_two_steps(config, compiled=True)
    assert ms.get_context("mode") == mode
    expected, as_written = after_two_steps(config, compiled=False)
    assert said[0] == pytest.approx(expected[0], rel=1e-4)
    assert said[1] == pytest.approx(expected[1], rel=1e-2)
    assert np.abs(weights - as_written).max() < 1e-4
    assert said[0][2] > config.clip_norm  # so that clipping was at work


def test_frozen_statistics_stay_and_their_gradient_is_that_of_an_affine_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside batch norm written with plain operations, whose gradient MindSpore derives."""
    from mindspore.nn.layer.normalization import _BatchNorm

    from osnet.models.load import network_from_weights
    from osnet.training.ranks import Ranks
    from osnet.training.step import Stepper
    from tests.recipe import recipe_weights

    def affine(self: Any, x: Any) -> Any:
        shape = (1, -1, 1, 1)[: x.ndim]
        scale = self.gamma * ms.ops.rsqrt(self.moving_variance + self.eps)
        return x * scale.reshape(shape) + (self.beta - self.moving_mean * scale).reshape(shape)

    config = TrainConfig(batch_size=8, images_per_identity=2, freeze_norm=True, optimizer="sgd", momentum=0.0)
    images = ms.Tensor(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
    labels = ms.Tensor(np.arange(8, dtype=np.int32) // 2)
    start = recipe_weights("osnet_x0_25", 4).arrays

    def moved() -> dict[str, np.ndarray]:
        network = network_from_weights(recipe_weights("osnet_x0_25", 4), 4)
        Stepper(network, config, Ranks())([(images, labels)], 0.1)
        return {p.name: p.asnumpy() - start[p.name] for p in network.get_parameters()}

    found = moved()
    monkeypatch.setattr(_BatchNorm, "construct", affine)
    for name, change in moved().items():
        if "moving" in name:
            assert not found[name].any()
        else:
            assert change.any()
            assert np.abs(found[name] - change).max() < 1e-3 * np.abs(change).max() + 1e-6, name


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_long_gradient_is_clipped(accumulation: int) -> None:
    """Plain gradient descent from everywhere the same: the step is as long as the rate times the limit."""
    from osnet.models.load import create_model
    from osnet.training.ranks import Ranks
    from osnet.training.step import Stepper

    config = TrainConfig(
        batch_size=4, images_per_identity=2, optimizer="sgd", momentum=0, weight_decay=0, clip_norm=0.5,
        supervised_contrastive=0,
        accumulation=accumulation,
    )  # fmt: skip
    ms.set_seed(0)
    network = create_model("osnet_x0_25", 2)
    before = [p.asnumpy().copy() for p in network.trainable_params()]
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    batch = (ms.Tensor(images), ms.Tensor(np.array([0, 0, 1, 1], np.int32)))
    _, _, norm = Stepper(network, config, Ranks())([batch] * accumulation, 1e-2)
    moved = np.sqrt(sum(float(((p.asnumpy() - b) ** 2).sum()) for p, b in zip(network.trainable_params(), before)))
    assert norm > config.clip_norm
    assert moved == pytest.approx(1e-2 * config.clip_norm, rel=1e-3)

"""Depthwise convolutions in compiled loops beside the sums as they are written, and beside MindSpore's kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
ms = pytest.importorskip("mindspore")
pytest.importorskip("numba")

SIZES = [(3, 4, 8, 4), (2, 3, 5, 7), (1, 2, 1, 1)]


def sums(x: np.ndarray, weight: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, gradient of x and gradient of the weights, in double precision, one shift of the image at a time."""
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out, of_padded, of_weight = np.zeros(x.shape), np.zeros(padded.shape), np.zeros(weight.shape)
    for a in range(3):
        for b in range(3):
            shifted = padded[:, :, a : a + height, b : b + width]
            out += weight[None, :, 0, a, b, None, None] * shifted
            of_padded[:, :, a : a + height, b : b + width] += weight[None, :, 0, a, b, None, None] * gradient
            of_weight[:, 0, a, b] = (shifted * gradient).sum(axis=(0, 2, 3))
    return out, of_padded[:, :, 1:-1, 1:-1], of_weight


@pytest.mark.parametrize("size", SIZES)
def test_the_loops_give_the_sums_as_written(size: tuple[int, ...]) -> None:
    from osnet.training.depthwise import backward, forward

    rng = np.random.default_rng(0)
    x, gradient = rng.standard_normal((2, *size)).astype(np.float32)
    weight = rng.standard_normal((size[1], 1, 3, 3)).astype(np.float32)
    found = (forward(x, weight), *backward(x, weight, gradient))
    for value, expected in zip(found, sums(x, weight, gradient)):
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_a_compiled_network_uses_the_loops_and_its_gradients_are_those_of_mindspore() -> None:
    from osnet.models.network import LightConv3x3
    from osnet.training.depthwise import speed_up_depthwise
    from osnet.training.step import graph_mode

    ms.set_seed(0)
    network = LightConv3x3(16).set_train(False)
    params = ms.ParameterTuple(network.trainable_params())
    x = ms.Tensor(np.random.default_rng(0).standard_normal((4, 16, 12, 6)).astype(np.float32))

    def mean_square(x: Any) -> Any:
        return (network(x) ** 2).mean()

    def run() -> list[np.ndarray]:
        with graph_mode():
            value, gradients = ms.ops.value_and_grad(mean_square, 0, params)(x)
            return [value.asnumpy(), gradients[0].asnumpy(), *(g.asnumpy() for g in gradients[1])]

    before = run()
    assert speed_up_depthwise(network) == 1  # and not the 1x1 convolution before it
    after = run()
    for value, expected in zip(after, before):
        assert np.abs(value - expected).max() < 1e-5 * np.abs(expected).max()
    for value, again in zip(after, run()):
        assert value.tobytes() == again.tobytes()


def test_other_devices_keep_their_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from osnet.models.network import LightConv3x3
    from osnet.training.depthwise import speed_up_depthwise

    monkeypatch.setattr(ms, "get_context", lambda key: {"device_target": "Ascend"}[key])
    assert speed_up_depthwise(LightConv3x3(16)) == 0

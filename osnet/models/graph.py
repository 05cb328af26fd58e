"""The nine OSNets as a graph for inference, written once for every kind of graph.

`network` describes the architecture by the operations of `Operations`; `osnet.models.openvino_graph` and
`osnet.models.onnx_graph` are the two that carry them out. Batch norm is folded into the convolution before it (in
float64, then rounded once) and the classifier is left out. The graph computes what the network does in inference mode:
features (B, 512).

References: Zhou et al., ICCV 2019 and TPAMI 2021; batch norm folding as in Jacob et al., CVPR 2018, eq. 14.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from osnet.variants import NORM_EPSILON, STREAMS, Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights
    from osnet.models.input_format import InputFormat


class Operations(Protocol):
    """What a graph is built from. A tensor is whatever the implementation takes for one; images are NCHW."""

    def convolution(
        self,
        name: str,
        x: Any,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        *,
        stride: int,
        padding: int,
        depthwise: bool,
    ) -> Any:
        """`kernel` (out, in / groups, height, width), `bias` (out,); the node is called `name`."""
        ...

    def dense(self, name: str, x: Any, weight: NDArray[Any], bias: NDArray[Any]) -> Any:
        """x (B, in), `weight` (out, in), `bias` (out,) → (B, out); the node is called `name`."""
        ...

    def instance_norm(self, x: Any, gain: NDArray[Any], shift: NDArray[Any], epsilon: float) -> Any: ...

    def relu(self, x: Any) -> Any: ...

    def sigmoid(self, x: Any) -> Any: ...

    def add(self, a: Any, b: Any) -> Any: ...

    def multiply(self, a: Any, b: Any) -> Any: ...

    def max_pool(self, x: Any) -> Any:
        """3x3, stride 2, padding 1."""
        ...

    def average_pool(self, x: Any) -> Any:
        """2x2, stride 2."""
        ...

    def mean(self, x: Any, *, flat: bool) -> Any:
        """Of each channel: (B, C) if `flat`, else (B, C, 1, 1)."""
        ...

    def image(self, x: Any, size: tuple[int, int] | None) -> Any:
        """uint8 (B, H, W, 3) → float32 (B, 3, H, W); resized to `size` as Pillow's bilinear filter does, if given."""
        ...

    def normalise(self, x: Any, shift: NDArray[Any], scale: NDArray[Any]) -> Any:
        """(x - shift) * scale for each channel; from here on in the precision of the graph."""
        ...


def network(operations: Operations, weights: Weights, source: Any, input_format: InputFormat) -> tuple[Any, Any]:
    """Features (B, 512) of the input `source`, and the last map before pooling."""
    x = source
    if input_format.layout == "nhwc":
        x = operations.image(x, input_format.size if input_format.any_size else None)
    constants = input_format.shift_and_scale()
    if constants is not None:
        x = operations.normalise(x, *constants)
    layers = _Layers(operations, weights)
    last_map = _backbone(layers, x)
    return _head(layers, last_map), last_map


class _Layers:
    """The layers of the network; `weights` are looked up by prefix."""

    def __init__(self, operations: Operations, weights: Weights) -> None:
        self.operations = operations
        self.variant = weights.variant
        self._arrays = weights.arrays
        self._used: Counter[str] = Counter()

    def conv(
        self, x: Any, prefix: str, *, norm: str = "", stride: int = 1, padding: int = 0, depthwise: bool = False
    ) -> Any:
        """A convolution, with the batch norm `norm` folded in or, without one, its own bias if it has any."""
        kernel = self._arrays[f"{prefix}.weight"]
        bias: NDArray[Any] | None = self._arrays.get(f"{prefix}.bias")
        if norm:
            scale, bias = self._fold(norm)
            kernel = (kernel.astype(np.float64) * scale.reshape(-1, 1, 1, 1)).astype(np.float32)
        return self.operations.convolution(
            self._name(prefix), x, kernel, bias, stride=stride, padding=padding, depthwise=depthwise
        )

    def dense(self, x: Any, prefix: str, norm: str) -> Any:
        """A dense layer with the batch norm `norm` folded in."""
        scale, shift = self._fold(norm)
        weight = self._arrays[f"{prefix}.weight"].astype(np.float64) * scale[:, None]
        bias = self._arrays[f"{prefix}.bias"] * scale + shift
        return self.operations.dense(self._name(prefix), x, weight, bias)

    def instance_norm(self, x: Any, prefix: str) -> Any:
        gain, shift = self._arrays[f"{prefix}.gamma"], self._arrays[f"{prefix}.beta"]
        return self.operations.instance_norm(x, gain, shift, NORM_EPSILON)

    def relu(self, x: Any) -> Any:
        return self.operations.relu(x)

    def _name(self, prefix: str) -> str:
        """`prefix`, and from its second use (the four streams of a block share one gate) a number after it."""
        self._used[prefix] += 1
        return prefix if self._used[prefix] == 1 else f"{prefix}.{self._used[prefix]}"

    def _fold(self, norm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and shift, float64, that the batch norm `norm` comes to with its moving statistics."""
        gamma, beta, mean, variance = (
            self._arrays[f"{norm}.{word}"].astype(np.float64)
            for word in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        return scale, beta - mean * scale


def _backbone(layers: _Layers, x: Any) -> Any:
    operations, variant = layers.operations, layers.variant
    if variant.stem_norm == "batch":
        x = layers.conv(x, "conv1.conv", norm="conv1.bn", stride=2, padding=3)
    else:
        x = layers.instance_norm(layers.conv(x, "conv1.conv", stride=2, padding=3), "conv1.bn")
    # After the ReLU nothing is negative, so the padding value (zero in MindSpore, -inf in torch) makes no difference.
    x = operations.max_pool(layers.relu(x))
    for index, block in enumerate(variant.blocks):
        x = _block(layers, x, block)
        if index in (1, 3):
            prefix = variant.transition(index // 2 + 2)
            x = layers.relu(layers.conv(x, f"{prefix}.conv", norm=f"{prefix}.bn"))
            x = operations.average_pool(x)
    return layers.relu(layers.conv(x, "conv5.conv", norm="conv5.bn"))


def _block(layers: _Layers, x: Any, block: Block) -> Any:
    """One omni-scale block: four streams of growing depth, weighted by one shared gate, summed (ICCV 2019, eq. 3)."""
    operations, prefix = layers.operations, block.prefix
    y = layers.relu(layers.conv(x, f"{prefix}.conv1.conv", norm=f"{prefix}.conv1.bn"))
    total = None
    for depth in range(1, STREAMS + 1):
        stream = y
        for light in layers.variant.stream(prefix, depth):
            stream = layers.conv(stream, f"{light}.conv1")
            stream = layers.relu(layers.conv(stream, f"{light}.conv2", norm=f"{light}.bn", padding=1, depthwise=True))
        gated = operations.multiply(stream, _gate(layers, stream, f"{prefix}.gate"))
        total = gated if total is None else operations.add(total, gated)
    if block.instance_norm == "inside":
        y = layers.instance_norm(layers.conv(total, f"{prefix}.conv3.conv"), f"{prefix}.IN")
    else:
        y = layers.conv(total, f"{prefix}.conv3.conv", norm=f"{prefix}.conv3.bn")
    if block.in_channels != block.out_channels:
        x = layers.conv(x, f"{prefix}.downsample.conv", norm=f"{prefix}.downsample.bn")
    y = operations.add(y, x)
    if block.instance_norm == "after":
        y = layers.instance_norm(y, f"{prefix}.IN")
    return layers.relu(y)


def _gate(layers: _Layers, x: Any, prefix: str) -> Any:
    """Weights (B, C, 1, 1) in 0..1 of the channels of x, from their means."""
    pooled = layers.operations.mean(x, flat=False)
    hidden = layers.relu(layers.conv(pooled, f"{prefix}.fc1"))
    return layers.operations.sigmoid(layers.conv(hidden, f"{prefix}.fc2"))


def _head(layers: _Layers, last_map: Any) -> Any:
    pooled = layers.operations.mean(last_map, flat=True)
    return layers.relu(layers.dense(pooled, "fc.0", "fc.1"))

"""The nine OSNets as an OpenVINO graph, built from `Weights` without MindSpore.

Batch norm is folded into the convolution before it (in float64, then rounded once), the classifier is left out, and
the batch is dynamic unless it is given. The graph computes what the network does in inference mode: features (B, 512).

References: Zhou et al., ICCV 2019 and TPAMI 2021; batch norm folding as in Jacob et al., CVPR 2018, eq. 14.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import DependencyError
from osnet.variants import INPUT_HEIGHT, INPUT_WIDTH, NORM_EPSILON, STREAMS, Block

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's R, G and B in 0..1, which every OSNet was trained with."""


_import_lock = threading.Lock()
_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The package openvino, imported in a way that contacts nobody.

    On import, ``openvino.tools.ovc`` sends an event to Google Analytics through the package openvino_telemetry, and
    writes an identifier to ``~/intel``. Where that package cannot be imported, it takes a stub of its own instead; so
    for the moment of the import it cannot be. The only place of this package that imports OpenVINO.

    Raises:
        DependencyError: OpenVINO cannot be imported.
    """
    with _import_lock:
        if "openvino" not in sys.modules:
            hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == _TELEMETRY}
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        else:
            hidden = None
        try:
            import openvino
        except ImportError as error:
            raise DependencyError(f"OpenVINO cannot be imported ({error}); install it: pip install openvino") from error
        finally:
            if hidden is not None:
                del sys.modules[_TELEMETRY]
                sys.modules.update(hidden)
        # The binding sets itself up at its first array; two threads that do so at once wait for each other for ever.
        _ = openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True).data
    return openvino


def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process, never freed.

    On processors with AMX, each Core gives its thread an alternate signal stack and takes it away when it is freed.
    When two are freed in the order in which they were made, the stack that stays registered is gone, and the next
    signal that Python handles, such as Ctrl-C, ends the process (OpenVINO 2026.4).

    Raises:
        DependencyError: OpenVINO cannot be imported.
    """
    return _core_of(os.getpid())


@cache
def _core_of(_process: int) -> Any:
    core = import_openvino().Core()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(core))  # it must outlive every cache and module
    return core


def build_graph(
    weights: Weights,
    *,
    images: bool = False,
    feature_map: bool = False,
    height: int = INPUT_HEIGHT,
    width: int = INPUT_WIDTH,
    batch: int | None = None,
) -> openvino.Model:
    """An OpenVINO model of the network that `weights` belong to.

    Args:
        weights: weights of any variant.
        images: True for an input of decoded crops, uint8 ``(B, height, width, 3)`` in RGB, normalised inside the
            graph; False for float32 ``(B, 3, height, width)``, normalised already.
        feature_map: True for a second output, the last map before pooling.
        height, width: size of the input in pixels.
        batch: number of images B; None for any number.

    Returns:
        A model with the input ``images`` (or ``input``) and the output ``features`` float32 ``(B, 512)`` and, if asked
        for, ``feature_map`` float32 ``(B, channels, height / 16, width / 16)``.
    """
    openvino = import_openvino()
    op = openvino.opset8
    count = -1 if batch is None else batch
    if images:
        source = op.parameter(openvino.PartialShape([count, height, width, 3]), np.uint8, name="images")
        x = _normalise(op, source)
    else:
        source = op.parameter(openvino.PartialShape([count, 3, height, width]), np.float32, name="input")
        x = source
    layers = _Layers(op, weights)
    last_map = _backbone(layers, x)
    outputs = {"features": _head(layers, last_map)}
    if feature_map:
        outputs["feature_map"] = last_map
    results = []
    for name, node in outputs.items():
        node.output(0).set_names({name})
        results.append(op.result(node))
    source.output(0).set_names({"images" if images else "input"})
    return openvino.Model(results, [source], weights.variant.name)


def _normalise(op: Any, source: Any) -> Any:
    """uint8 (B, H, W, 3) → float32 (B, 3, H, W), (x / 255 - mean) / std."""
    scale = 255 * np.asarray(IMAGE_STD)
    x = op.transpose(op.convert(source, "f32"), np.array([0, 3, 1, 2]))
    x = op.subtract(x, _channels(255 * np.asarray(IMAGE_MEAN)))
    return op.multiply(x, _channels(1 / scale))


def _channels(values: NDArray[Any]) -> NDArray[np.float32]:
    return values.astype(np.float32).reshape(1, -1, 1, 1)


class _Layers:
    """The layers of the network as operations; `weights` are looked up by prefix."""

    def __init__(self, op: Any, weights: Weights) -> None:
        self.op = op
        self.variant = weights.variant
        self._arrays = weights.arrays

    def conv(
        self, x: Any, prefix: str, *, norm: str = "", stride: int = 1, padding: int = 0, depthwise: bool = False
    ) -> Any:
        """A convolution, with the batch norm `norm` folded in or, without one, its own bias if it has any."""
        op = self.op
        kernel = self._arrays[f"{prefix}.weight"]
        bias: NDArray[Any] | None = self._arrays.get(f"{prefix}.bias")
        if norm:
            scale, bias = self._fold(norm)
            kernel = (kernel.astype(np.float64) * scale.reshape(-1, 1, 1, 1)).astype(np.float32)
        strides, pads, dilations = [stride, stride], [padding, padding], [1, 1]
        if depthwise:
            groups = kernel[:, :, None]  # (out, 1, kh, kw) → (groups, 1, 1, kh, kw)
            y = op.group_convolution(x, _constant(op, groups), strides, pads, pads, dilations)
        else:
            y = op.convolution(x, _constant(op, kernel), strides, pads, pads, dilations)
        return y if bias is None else op.add(y, _channels(bias))

    def dense(self, x: Any, prefix: str, norm: str) -> Any:
        """A dense layer with the batch norm `norm` folded in; x is (B, in), the result (B, out)."""
        scale, shift = self._fold(norm)
        weight = self._arrays[f"{prefix}.weight"].astype(np.float64) * scale[:, None]
        bias = self._arrays[f"{prefix}.bias"] * scale + shift
        y = self.op.matmul(x, _constant(self.op, weight.astype(np.float32)), False, True)
        return self.op.add(y, bias.astype(np.float32).reshape(1, -1))

    def instance_norm(self, x: Any, prefix: str) -> Any:
        op = self.op
        y = op.mvn(x, np.array([2, 3]), True, NORM_EPSILON, "inside_sqrt")
        y = op.multiply(y, _channels(self._arrays[f"{prefix}.gamma"]))
        return op.add(y, _channels(self._arrays[f"{prefix}.beta"]))

    def relu(self, x: Any) -> Any:
        return self.op.relu(x)

    def _fold(self, norm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and shift, float64, that the batch norm `norm` comes to with its moving statistics."""
        gamma, beta, mean, variance = (
            self._arrays[f"{norm}.{word}"].astype(np.float64)
            for word in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        return scale, beta - mean * scale


def _constant(op: Any, array: NDArray[Any]) -> Any:
    return op.constant(np.ascontiguousarray(array))


def _backbone(layers: _Layers, x: Any) -> Any:
    op, variant = layers.op, layers.variant
    if variant.stem_norm == "batch":
        x = layers.conv(x, "conv1.conv", norm="conv1.bn", stride=2, padding=3)
    else:
        x = layers.instance_norm(layers.conv(x, "conv1.conv", stride=2, padding=3), "conv1.bn")
    # After the ReLU nothing is negative, so the padding value (zero in MindSpore, -inf in torch) makes no difference.
    x = op.max_pool(layers.relu(x), [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    for index, block in enumerate(variant.blocks):
        x = _block(layers, x, block)
        if index in (1, 3):
            prefix = variant.transition(index // 2 + 2)
            x = layers.relu(layers.conv(x, f"{prefix}.conv", norm=f"{prefix}.bn"))
            x = op.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True)
    return layers.relu(layers.conv(x, "conv5.conv", norm="conv5.bn"))


def _block(layers: _Layers, x: Any, block: Block) -> Any:
    """One omni-scale block: four streams of growing depth, weighted by one shared gate, summed (ICCV 2019, eq. 3)."""
    op, prefix = layers.op, block.prefix
    y = layers.relu(layers.conv(x, f"{prefix}.conv1.conv", norm=f"{prefix}.conv1.bn"))
    total = None
    for depth in range(1, STREAMS + 1):
        stream = y
        for light in layers.variant.stream(prefix, depth):
            stream = layers.conv(stream, f"{light}.conv1")
            stream = layers.relu(layers.conv(stream, f"{light}.conv2", norm=f"{light}.bn", padding=1, depthwise=True))
        gated = op.multiply(stream, _gate(layers, stream, f"{prefix}.gate"))
        total = gated if total is None else op.add(total, gated)
    if block.instance_norm == "inside":
        y = layers.instance_norm(layers.conv(total, f"{prefix}.conv3.conv"), f"{prefix}.IN")
    else:
        y = layers.conv(total, f"{prefix}.conv3.conv", norm=f"{prefix}.conv3.bn")
    if block.in_channels != block.out_channels:
        x = layers.conv(x, f"{prefix}.downsample.conv", norm=f"{prefix}.downsample.bn")
    y = op.add(y, x)
    if block.instance_norm == "after":
        y = layers.instance_norm(y, f"{prefix}.IN")
    return layers.relu(y)


def _gate(layers: _Layers, x: Any, prefix: str) -> Any:
    """Weights (B, C, 1, 1) in 0..1 of the channels of x, from their means."""
    op = layers.op
    pooled = op.reduce_mean(x, np.array([2, 3]), True)
    hidden = layers.relu(layers.conv(pooled, f"{prefix}.fc1"))
    return op.sigmoid(layers.conv(hidden, f"{prefix}.fc2"))


def _head(layers: _Layers, last_map: Any) -> Any:
    pooled = layers.op.reduce_mean(last_map, np.array([2, 3]), False)
    return layers.relu(layers.dense(pooled, "fc.0", "fc.1"))

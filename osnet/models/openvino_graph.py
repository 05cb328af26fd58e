"""OSNet as an OpenVINO model, and the only place of this package that imports OpenVINO."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import DependencyError
from osnet.models.graph import network
from osnet.models.input_format import InputFormat

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

_import_lock = threading.Lock()
_TELEMETRY = "openvino_telemetry"


@contextlib.contextmanager
def telemetry_hidden() -> Iterator[None]:
    """What is imported within finds no package openvino_telemetry, through which OpenVINO's packages send events to
    Google Analytics and write an identifier to ``~/intel``. Without it they take stubs of their own."""
    with _import_lock:
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == _TELEMETRY}
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules[_TELEMETRY]
            sys.modules.update(hidden)


def import_openvino() -> Any:
    """The package openvino, imported in a way that contacts nobody; the only place of this package that imports it.

    Raises:
        DependencyError: OpenVINO cannot be imported.
    """
    with telemetry_hidden():
        try:
            import openvino
        except ImportError as error:
            raise DependencyError(f"OpenVINO cannot be imported ({error}); install it: pip install openvino") from error
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


def build_openvino(
    weights: Weights,
    input_format: InputFormat = InputFormat(),  # noqa: B008 - frozen
    *,
    feature_map: bool = False,
) -> openvino.Model:
    """An OpenVINO model of the network that `weights` belong to.

    Args:
        weights: weights of any variant.
        input_format: what its input looks like.
        feature_map: True for a second output, the last map before pooling.

    Returns:
        A model with the input ``input_format.name`` and the output ``features`` float32 ``(B, 512)`` and, if asked
        for, ``feature_map`` float32 ``(B, channels, height / 16, width / 16)``.
    """
    openvino = import_openvino()
    shape = openvino.PartialShape([-1 if length is None else length for length in input_format.shape])
    source = openvino.opset8.parameter(shape, input_format.dtype, name=input_format.name)
    source.set_layout(openvino.Layout(input_format.layout.upper()))
    features, last_map = network(_OpenVINOOperations(openvino), weights, source, input_format)
    results = []
    for name, node in {"features": features, **({"feature_map": last_map} if feature_map else {})}.items():
        node.output(0).set_names({name})
        results.append(openvino.opset8.result(node))
    source.output(0).set_names({input_format.name})
    return openvino.Model(results, [source], weights.variant.name)


class _OpenVINOOperations:
    """`osnet.models.graph.Operations` as nodes of OpenVINO."""

    def __init__(self, openvino: Any) -> None:
        self._op = openvino.opset8
        self._interpolate = openvino.opset11.interpolate

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
        strides, pads, dilations = [stride, stride], [padding, padding], [1, 1]
        if depthwise:
            groups = kernel[:, :, None]  # (out, 1, kh, kw) → (groups, 1, 1, kh, kw)
            y = self._op.group_convolution(x, self._constant(groups), strides, pads, pads, dilations)
        else:
            y = self._op.convolution(x, self._constant(kernel), strides, pads, pads, dilations)
        y.set_friendly_name(name)
        return y if bias is None else self._op.add(y, _channels(bias))

    def dense(self, name: str, x: Any, weight: NDArray[Any], bias: NDArray[Any]) -> Any:
        y = self._op.matmul(x, self._constant(weight), False, True)
        y.set_friendly_name(name)
        return self._op.add(y, bias.astype(np.float32).reshape(1, -1))

    def instance_norm(self, x: Any, gain: NDArray[Any], shift: NDArray[Any], epsilon: float) -> Any:
        y = self._op.mvn(x, np.array([2, 3]), True, epsilon, "inside_sqrt")
        return self._op.add(self._op.multiply(y, _channels(gain)), _channels(shift))

    def relu(self, x: Any) -> Any:
        return self._op.relu(x)

    def sigmoid(self, x: Any) -> Any:
        return self._op.sigmoid(x)

    def add(self, a: Any, b: Any) -> Any:
        return self._op.add(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self._op.multiply(a, b)

    def max_pool(self, x: Any) -> Any:
        return self._op.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)

    def average_pool(self, x: Any) -> Any:
        return self._op.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True)

    def mean(self, x: Any, *, flat: bool) -> Any:
        return self._op.reduce_mean(x, np.array([2, 3]), not flat)

    def image(self, x: Any, size: tuple[int, int] | None) -> Any:
        y = self._op.transpose(self._op.convert(x, "f32"), np.array([0, 3, 1, 2]))
        if size is None:
            return y
        for axis, length in ((3, size[1]), (2, size[0])):  # Pillow rounds after each direction
            y = self._interpolate(y, np.array([length], np.int32), "bilinear_pillow", "sizes", axes=np.array([axis]))
            y = self._op.round(y, "half_away_from_zero")
        return y

    def normalise(self, x: Any, shift: NDArray[Any], scale: NDArray[Any]) -> Any:
        return self._op.multiply(self._op.subtract(x, _channels(shift)), _channels(scale))

    def _constant(self, array: NDArray[Any]) -> Any:
        return self._op.constant(np.ascontiguousarray(array, np.float32))


def _channels(values: NDArray[Any]) -> NDArray[np.float32]:
    return values.astype(np.float32).reshape(1, -1, 1, 1)

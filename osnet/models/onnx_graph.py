"""OSNet as an ONNX model, written without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import DependencyError
from osnet.import_order import guard_protobuf
from osnet.models.graph import network
from osnet.models.input_format import InputFormat
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from osnet.checkpoint.weights import Weights

_OPSET, _OPSET_RESIZE = 17, 18
"""The oldest that have all operations (18: an antialiased Resize), for TensorRT and ONNX Runtime of some age."""
_IR_VERSION = 8


def build_onnx(
    weights: Weights,
    input_format: InputFormat = InputFormat(),  # noqa: B008 - frozen
    *,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """An ONNX model of the network that `weights` belong to.

    Args:
        weights: weights of any variant.
        input_format: what its input looks like.
        half: compute in float16; the input stays as it is, and the features are float32.
        metadata: kept in the file's ``metadata_props``.

    Returns:
        A checked model with the input ``input_format.name`` and the output ``features`` float32 ``(B, 512)``.

    Raises:
        DependencyError: the package onnx is missing.
    """
    onnx = import_onnx()
    kinds = onnx.TensorProto
    lengths = ["batch", *("height", "width")] if input_format.layout == "nhwc" else ["batch", "", "height", "width"]
    shape = [named if length is None else length for length, named in zip(input_format.shape, [*lengths, ""])]
    kind = kinds.UINT8 if input_format.layout == "nhwc" else kinds.FLOAT
    operations = _OnnxOperations(onnx, half=half)
    x = input_format.name
    if half and input_format.shift_and_scale() is None:
        x = operations.cast(x, kinds.FLOAT16)
    features, _ = network(operations, weights, x, input_format)
    if half:
        features = operations.cast(features, kinds.FLOAT)
    operations.nodes[-1].output[0] = "features"
    graph = onnx.helper.make_graph(
        operations.nodes,
        weights.variant.name,
        [onnx.helper.make_tensor_value_info(input_format.name, kind, shape)],
        [onnx.helper.make_tensor_value_info("features", kinds.FLOAT, [shape[0], FEATURE_DIM])],
        operations.constants,
    )
    opset = onnx.helper.make_opsetid("", _OPSET_RESIZE if input_format.any_size else _OPSET)
    model: ModelProto = onnx.helper.make_model(
        graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="osnet"
    )
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        DependencyError: it is missing.
    """
    guard_protobuf()
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise DependencyError(f'onnx cannot be imported ({error}); install it: pip install "osnet[onnx]"') from error
    return onnx


class _OnnxOperations:
    """`osnet.models.graph.Operations` as nodes of ONNX; a tensor is its name."""

    def __init__(self, onnx: Any, *, half: bool) -> None:
        self._onnx = onnx
        self._float = np.float16 if half else np.float32
        self._half = half
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

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
        arrays = [kernel] if bias is None else [kernel, bias]
        return self._node(
            "Conv",
            [x, *map(self._constant, arrays)],
            name,
            kernel_shape=kernel.shape[2:],
            strides=[stride, stride],
            pads=[padding] * 4,
            group=len(kernel) if depthwise else 1,
        )

    def dense(self, name: str, x: Any, weight: NDArray[Any], bias: NDArray[Any]) -> Any:
        return self._node("Gemm", [x, self._constant(weight), self._constant(bias)], name, transB=1)

    def instance_norm(self, x: Any, gain: NDArray[Any], shift: NDArray[Any], epsilon: float) -> Any:
        return self._node("InstanceNormalization", [x, self._constant(gain), self._constant(shift)], epsilon=epsilon)

    def relu(self, x: Any) -> Any:
        return self._node("Relu", [x])

    def sigmoid(self, x: Any) -> Any:
        return self._node("Sigmoid", [x])

    def add(self, a: Any, b: Any) -> Any:
        return self._node("Add", [a, b])

    def multiply(self, a: Any, b: Any) -> Any:
        return self._node("Mul", [a, b])

    def max_pool(self, x: Any) -> Any:
        return self._node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def average_pool(self, x: Any) -> Any:
        return self._node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def mean(self, x: Any, *, flat: bool) -> Any:
        pooled = self._node("GlobalAveragePool", [x])
        return self._node("Flatten", [pooled]) if flat else pooled

    def image(self, x: Any, size: tuple[int, int] | None) -> Any:
        y = self._node("Transpose", [self.cast(x, self._onnx.TensorProto.FLOAT)], perm=[0, 3, 1, 2])
        if size is None:
            return y
        for axis, length in ((3, size[1]), (2, size[0])):  # Pillow rounds after each direction
            sizes = self._constant(np.array([length]), np.int64)
            y = self._node("Resize", [y, "", "", sizes], mode="linear", antialias=1, axes=[axis])
            y = self._node("Floor", [self._node("Add", [y, self._constant(np.array(0.5, np.float32), np.float32)])])
        return y

    def normalise(self, x: Any, shift: NDArray[Any], scale: NDArray[Any]) -> Any:
        moved = self._node("Sub", [x, self._constant(shift.reshape(1, -1, 1, 1), np.float32)])
        y = self._node("Mul", [moved, self._constant(scale.reshape(1, -1, 1, 1), np.float32)])
        return self.cast(y, self._onnx.TensorProto.FLOAT16) if self._half else y

    def cast(self, x: Any, kind: int) -> Any:
        return self._node("Cast", [x], to=kind)

    def _node(self, kind: str, inputs: list[Any], name: str = "", **attributes: Any) -> str:
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, array: NDArray[Any], dtype: Any = None) -> str:
        name = f"constant_{len(self.constants)}"
        values = np.ascontiguousarray(array, dtype or self._float)
        self.constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

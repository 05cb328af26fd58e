"""OSNet as a MINDIR file, MindSpore's own format: the batch is fixed, and MindSpore must be installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import OptionError
from osnet.models.input_format import InputFormat
from osnet.models.load import network_from_weights, require_mindspore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights


def write_mindir(weights: Weights, path: Path, input_format: InputFormat, metadata: Mapping[str, str]) -> None:
    """Write the network of `weights` to `path`, with `metadata` in its ``user_info``.

    Raises:
        OptionError: `input_format` is not float32 (B, 3, H, W) with a fixed B.
        DependencyError: MindSpore is missing.
    """
    if input_format.batch is None or input_format.layout != "nchw":
        raise OptionError("a .mindir file has layout 'nchw' and a fixed batch: MindSpore cannot run a dynamic one")
    require_mindspore()
    import mindspore

    network: Any = network_from_weights(weights.without_classifier())
    constants = input_format.shift_and_scale()
    if constants is not None:
        network = _normalising(network, *constants)

    def describe(model: Any) -> None:
        for key, value in metadata.items():
            entry = model.user_info.add()
            entry.key, entry.value = key, value

    x = mindspore.Tensor(np.zeros((input_format.batch, 3, *input_format.size), np.float32))
    mindspore.export(network, x, file_name=str(path), file_format="MINDIR", custom_func=describe)


def _normalising(network: Any, shift: NDArray[np.float32], scale: NDArray[np.float32]) -> Any:
    from mindspore import Tensor, nn

    class Normalising(nn.Cell):
        """(x - shift) * scale for each channel, then the network."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.shift, self.scale = (Tensor(values.reshape(1, 3, 1, 1)) for values in (shift, scale))

        def construct(self, x: Any) -> Any:
            return self.network((x - self.shift) * self.scale)

    return Normalising().set_train(False)


def read_mindir(path: Path) -> tuple[str, tuple[int, ...], tuple[int, ...], dict[str, str]]:
    """Name and shape of the input, shape of the output, and ``user_info`` of the file at `path`."""
    require_mindspore()
    from mindspore.train import mind_ir_pb2

    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    (source,), (features,) = model.graph.input, model.graph.output
    info = {entry.key: entry.value for entry in model.user_info}
    return source.name, tuple(source.tensor[0].dims), tuple(features.tensor[0].dims), info


def open_mindir(path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The file at `path` as a function of its input tensor."""
    require_mindspore()
    import mindspore
    from mindspore import nn

    network = nn.GraphCell(mindspore.load(str(path)))
    return lambda x: network(mindspore.Tensor(x)).asnumpy()

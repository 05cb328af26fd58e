"""MindSpore, on CPU, GPU or Ascend."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from osnet.errors import OptionError
from osnet.models.input_format import InputFormat, fill
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

_TARGETS = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}


class MindSporeBackend:
    """The MindSpore cell on the device that MindSpore's context names; one thread at a time computes."""

    name = "mindspore"
    precision = "fp32"
    parallel = 1

    def __init__(
        self, weights: Weights, precision: str, size: tuple[int, int], batch_size: int | None, device: str
    ) -> None:
        if precision in ("bf16", "fp16"):
            raise OptionError(f"precision {precision!r}: the mindspore backend computes in fp32; use 'fp32' or 'auto'")
        self.device = _set_device(device)
        from osnet.models.load import network_from_weights

        self._network = network_from_weights(weights.without_classifier())
        self._size = size
        self._lock = threading.Lock()
        self.batch_size = batch_size or 16

    def run(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        import mindspore

        graph_mode = mindspore.get_context("mode") == mindspore.GRAPH_MODE
        crops = iter(crops)
        while group := list(islice(crops, self.batch_size)):
            batch, count = np.stack(group), len(group)
            if graph_mode:  # each new shape compiles for seconds
                batch = fill(batch, self.batch_size)
            x = InputFormat(size=self._size).feed(batch)
            with self._lock:
                features = self._network(mindspore.Tensor(x)).asnumpy()[:count]
            yield np.ascontiguousarray(features, np.float32).reshape(count, FEATURE_DIM)

    def warm_up(self) -> None:
        next(self.run([np.zeros((*self._size, 3), np.uint8)]))

    def leave_to_parent(self) -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._network))


def _set_device(device: str) -> str:
    """Make MindSpore compute on `device` from now on, and return its name.

    Raises:
        OptionError: MindSpore has no such device here.
        DependencyError: MindSpore is missing.
    """
    from osnet.models.load import require_mindspore

    require_mindspore()
    import mindspore

    if device != "auto":
        name, _, number = device.partition(":")
        if name not in _TARGETS or not (number or "0").isdigit():
            raise OptionError(
                f"device: the mindspore backend knows {', '.join(_TARGETS)} and e.g. ascend:1, got {device!r}"
            )
        try:
            mindspore.set_device(_TARGETS[name], *([int(number)] if number else []))
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise OptionError(f"device {device!r}: MindSpore cannot use it here ({reason:.160})") from error
    return str(mindspore.get_context("device_target")).lower()

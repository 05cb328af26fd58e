"""MindSpore, on CPU, GPU or Ascend."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import mindspore
import numpy as np

from osnet.errors import OptionError
from osnet.models.artefact import Artefact
from osnet.models.input_format import InputFormat, fill
from osnet.models.load import network_from_weights
from osnet.models.mindir import open_mindir
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.inference.backends import Source

_TARGETS = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}


class MindSporeBackend:
    """The MindSpore cell, or a MINDIR file, on the device that MindSpore's context names; one thread at a time."""

    name = "mindspore"
    precision = "fp32"
    parallel = 1

    def __init__(
        self, source: Source, precision: str, size: tuple[int, int], batch_size: int | None, device: str
    ) -> None:
        if precision in ("bf16", "fp16"):
            raise OptionError(f"precision {precision!r}: the mindspore backend computes in fp32; use 'fp32' or 'auto'")
        self.device = _set_device(device)
        self._size = size
        self._lock = threading.Lock()
        self._compute: Callable[[NDArray[Any]], NDArray[np.float32]]
        if isinstance(source, Artefact):
            self._input = source.input_format
            self._compute = open_mindir(source.path)
            self.precision = source.precision
        else:
            network = network_from_weights(source.without_classifier())
            self._input = InputFormat(size=size)
            self._compute = lambda x: network(mindspore.Tensor(x)).asnumpy()
        self.batch_size = self._input.batch or batch_size or 16

    def run(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        # In graph mode each new shape compiles for seconds.
        fixed = self._input.batch is not None or mindspore.get_context("mode") == mindspore.GRAPH_MODE
        crops = iter(crops)
        while group := list(islice(crops, self.batch_size)):
            batch, count = np.stack(group), len(group)
            x = self._input.feed(fill(batch, self.batch_size) if fixed else batch)
            with self._lock:
                features = self._compute(x)[:count]
            yield np.ascontiguousarray(features, np.float32).reshape(count, FEATURE_DIM)

    def warm_up(self) -> None:
        next(self.run([np.zeros((*self._size, 3), np.uint8)]))

    def leave_to_parent(self) -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._compute))


def _set_device(device: str) -> str:
    """Make MindSpore compute on `device` from now on, and return its name.

    Raises:
        OptionError: MindSpore has no such device here.
    """
    if device != "auto":
        name, _, number = device.partition(":")
        if name not in _TARGETS or not (number or "0").isdigit():
            raise OptionError(
                f"device: expected one of {', '.join(_TARGETS)} (or ascend:1) for the mindspore backend, got {device!r}"
            )
        if number or mindspore.get_context("device_target") != _TARGETS[name]:
            try:
                mindspore.set_device(_TARGETS[name], *([int(number)] if number else []))
            except (RuntimeError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise OptionError(f"device {device!r}: MindSpore cannot use it here ({reason:.160})") from error
    return str(mindspore.get_context("device_target")).lower()

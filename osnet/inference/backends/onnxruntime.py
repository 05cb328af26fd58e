"""ONNX Runtime, on the CPU or whatever its execution providers reach."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import OptionError
from osnet.models.artefact import Artefact, import_onnxruntime, precision_of
from osnet.models.input_format import InputFormat, fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.inference.backends import Source

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""Device to execution provider; those that take a number are given as ``cuda:0``."""

_NUMBERED = ("cuda", "tensorrt", "rocm", "directml")


class OnnxRuntimeBackend:
    """A session on one device; several threads may run it at once."""

    name = "onnxruntime"
    parallel = 1

    def __init__(
        self, source: Source, precision: str, size: tuple[int, int], batch_size: int | None, device: str
    ) -> None:
        onnxruntime = import_onnxruntime()
        provider, number = _provider(device, onnxruntime.get_available_providers())
        self.device = "cpu" if device == "auto" else device
        on_gpu = self.device != "cpu"
        run = "fp16" if precision == "fp16" or (precision == "fast" and on_gpu) else "fp32"
        if precision == "bf16" or (isinstance(source, Artefact) and precision == "fp16" != source.precision):
            raise OptionError(
                f"precision {precision!r}: ONNX Runtime computes as the file says; expected 'auto', or 'fp16' with "
                "weights (osnet export --precision writes other files)"
            )
        if isinstance(source, Artefact):
            self._input, model = source.input_format, str(source.path)
            self.precision = source.precision
        else:
            from osnet.models.onnx_graph import build_onnx

            self._input = InputFormat("bytes", "nhwc", size)
            model = build_onnx(source, self._input, half=run == "fp16").SerializeToString()
            self.precision = precision_of(source, run)
        self._size = size
        self.batch_size = self._input.batch or batch_size or (32 if on_gpu else 8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        settings = [{"device_id": str(number)}] if number is not None else [{}]
        self._session: Any = onnxruntime.InferenceSession(
            model, options, providers=[provider], provider_options=settings
        )
        if self._session.get_providers()[0] != provider:  # it takes the CPU without an error
            raise OptionError(f"device {device!r}: ONNX Runtime could not start {provider}; is its driver installed?")

    def run(self, crops: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        crops = iter(crops)
        while part := list(islice(crops, self.batch_size)):
            batch = fill(np.stack(part), self._input.batch or 1)
            features = self._session.run(None, {self._input.name: self._input.feed(batch)})[0]
            yield np.ascontiguousarray(features[: len(part)], np.float32)

    def warm_up(self) -> None:
        next(self.run([np.zeros((*self._size, 3), np.uint8)]))

    def leave_to_parent(self) -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))


def _provider(device: str, available: list[str]) -> tuple[str, int | None]:
    """Execution provider and number of `device`.

    Raises:
        OptionError: no such device, or not in this build of ONNX Runtime.
    """
    name, _, number = ("cpu" if device == "auto" else device).partition(":")
    if name not in PROVIDERS or (number and (name not in _NUMBERED or not number.isdigit())):
        known = ", ".join(f"{known}:0" if known in _NUMBERED else known for known in PROVIDERS)
        raise OptionError(f"device: expected one of {known} for the onnxruntime backend, got {device!r}")
    if PROVIDERS[name] not in available:
        raise OptionError(
            f"device {device!r}: this onnxruntime has no {PROVIDERS[name]}, only {', '.join(available)}; install the "
            "package that has it, such as onnxruntime-gpu"
        )
    return PROVIDERS[name], int(number or 0) if name in _NUMBERED else None

"""Running an exported file as a program does that knows nothing of this package: tensors in, features out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.inference.images import prepare
from osnet.models.artefact import artefact_kind, import_onnxruntime
from osnet.models.input_format import InputFormat, fill
from osnet.models.mindir import open_mindir
from osnet.models.openvino_graph import openvino_core

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run_file(path: Path, input_format: InputFormat, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Features float32 (N, 512), as the file gives them, of `pictures`, uint8 (h, w, 3) in RGB and of any size."""
    run = open_file(path)
    rows = []
    for picture in pictures:
        if input_format.any_size:
            crop = picture
        else:
            crop = prepare(picture, height=input_format.size[0], width=input_format.size[1])
        rows.append(run(input_format.feed(fill(crop[None], input_format.batch or 1)))[:1])
    return np.concatenate(rows)


def open_file(path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The file at `path` as a function of its input tensor."""
    if artefact_kind(path) == "mindspore":
        return open_mindir(path)
    if artefact_kind(path) == "onnx":
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]
    compiled = openvino_core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: compiled([x])[0].copy()

"""The peers that our figures stand beside. Each is optional: what is not installed is named and left out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from osnet.variants import to_torchreid


def torchreid_network(name: str, arrays: Mapping[str, np.ndarray], num_classes: int) -> Any:
    """torchreid's network `name` in inference mode with `arrays` (MindSpore names) loaded.

    Its file is executed alone: the package around it wants torchvision, of which there is no CPU build everywhere.
    """
    import torch

    module = "osnet_ain" if "_ain_" in name else "osnet"
    files = importlib.metadata.files("torchreid") or []
    path = next(file for file in files if file.name == f"{module}.py" and "models" in file.parts).locate()
    spec = importlib.util.spec_from_file_location(f"peer_{module}", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    network = getattr(loaded, name)(num_classes=num_classes, pretrained=False)
    state = {to_torchreid(key): torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    missing = network.load_state_dict(state, strict=False).missing_keys
    if [key for key in missing if not key.endswith("num_batches_tracked")]:
        raise ValueError(f"torchreid's {name} misses {missing[:3]}")
    return network.eval()


def onnx_bytes(network: Any) -> bytes:
    """A torch `network`, exported by torch with a dynamic batch."""
    import torch

    buffer = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 256, 128),),
        buffer,
        input_names=["input"],
        output_names=["features"],
        dynamic_axes={"input": {0: "batch"}, "features": {0: "batch"}},
        dynamo=False,
    )
    return buffer.getvalue()


def onnx_session(network: Any) -> Any:
    """An ONNX Runtime session of a torch `network`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx_bytes(network), options, providers=["CPUExecutionProvider"])


def openvino_queue(network: Any, batch: int, precision: str) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """A torch `network`, exported by torch and run by OpenVINO's own queue of requests; takes batches of `batch`."""
    import openvino

    model = openvino.Core().read_model(onnx_bytes(network))
    model.reshape([batch, 3, 256, 128])
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", hints))
    results: dict[int, np.ndarray] = {}
    queue.set_callback(lambda request, place: results.update({place: request.get_output_tensor(0).data.copy()}))

    def run(parts: list[np.ndarray]) -> list[np.ndarray]:
        for place, part in enumerate(parts):
            queue.start_async([part], place)
        queue.wait_all()
        return [results[place] for place in range(len(parts))]

    return run

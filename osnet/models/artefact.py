"""Networks in files that other programs run: ``.onnx``, OpenVINO's ``.xml`` with its ``.bin``, and ``.mindir``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from osnet.errors import CheckpointError, DependencyError, OptionError, WeightsError
from osnet.files import PathLike, read_whole
from osnet.models.input_format import VALUES, InputFormat
from osnet.models.openvino_graph import import_openvino, openvino_core
from osnet.variants import FEATURE_DIM, INPUT_HEIGHT, INPUT_WIDTH

if TYPE_CHECKING:
    from osnet.checkpoint.weights import Weights

SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".mindir": "mindspore"}

METADATA = "osnet"
"""Where a file keeps what `osnet.export` wrote: ``osnet.*`` in ONNX's ``metadata_props`` and in MINDIR's ``user_info``,
``osnet`` in OpenVINO's ``rt_info``."""


@dataclass(frozen=True)
class Artefact:
    """An exported network.

    Attributes:
        path: of the file.
        kind: ``onnx``, ``openvino`` or ``mindspore``.
        sha256: of its bytes; of ``.xml`` and ``.bin`` together.
        input_format: how it is fed.
        network: such as ``osnet_x0_25``; the file's name without suffix where the file does not say.
        precision: ``fp32``, ``fp16``, ``int8``: what the file computes with.
        metadata: what `osnet.export` wrote into the file; empty for files from elsewhere.
    """

    path: Path
    kind: str
    sha256: str
    input_format: InputFormat
    network: str
    precision: str
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def checkpoint_sha256(self) -> str:
        """SHA-256 of the checkpoint that it was exported from; its own where the file does not say."""
        return self.metadata.get("checkpoint_sha256") or self.sha256

    @property
    def source(self) -> str:
        return str(self.path)

    @property
    def input_size(self) -> tuple[int, int]:
        return self.input_format.size


def artefact_kind(model: object) -> str | None:
    """``onnx``, ``openvino`` or ``mindspore`` from the suffix of a file's name, None for everything else."""
    return SUFFIXES.get(Path(model).suffix.lower()) if isinstance(model, (str, os.PathLike)) else None


def precision_of(source: Weights | Artefact, run: str) -> str:
    """What is computed with when a backend runs `source` in `run`, which is ``fp32`` unless another was asked for."""
    stored = source.precision if isinstance(source, Artefact) else "fp32"
    return run if stored == "fp32" else stored if run == "fp32" else f"{stored}+{run}"


def read_artefact(path: PathLike, values: str | None = None) -> Artefact:
    """The exported network in the file at `path`.

    Args:
        path: ``.onnx``, ``.xml`` or ``.mindir``.
        values: ``normalized``, ``unit`` or ``bytes``: what its input takes, for a file that does not say it itself.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or has not one input of images.
        WeightsError: its features are not (B, 512).
        OptionError: the file does not say what its input takes, and `values` does not either, or they differ.
        DependencyError: onnxruntime, which reads ``.onnx``, or MindSpore, which reads ``.mindir``, is missing.
    """
    path = Path(path)
    kind = artefact_kind(path)
    digest = hashlib.sha256(read_whole(path))
    if kind == "openvino":
        digest.update(read_whole(path.with_suffix(".bin")))
    name, dtype, shape, output, metadata = read_interface(path)
    if len(output) != 2 or output[1] not in (FEATURE_DIM, None):
        raise WeightsError(f"{path}: expected features of shape (B, {FEATURE_DIM}), got {shape_text(output)}")
    if metadata:
        try:
            input_format = InputFormat.from_dict(metadata, batch=shape[0], name=name)
        except (KeyError, OptionError) as error:
            raise CheckpointError(
                f"{path}: what it says about its input makes no sense ({error}); export it again"
            ) from None
        if values is not None and values != input_format.values:
            raise OptionError(f"input: {path} says that it takes {input_format.values!r}, got {values!r}; leave it out")
    else:
        input_format = _foreign(path, name, dtype, shape, values)
    return Artefact(
        path=path,
        kind=str(kind),
        sha256=digest.hexdigest(),
        input_format=input_format,
        network=metadata.get("network", path.stem),
        precision=metadata.get("precision", "fp32"),
        metadata=metadata,
    )


Shape = tuple[Any, ...]  # None for any length


class Interface(NamedTuple):
    """What a file says of itself: name, dtype and shape of its input, shape of its output, and what `export` wrote."""

    name: str
    dtype: str
    shape: Shape
    output: Shape
    metadata: dict[str, str]


def read_interface(path: Path) -> Interface:
    """The `Interface` of the exported network at `path`.

    Raises:
        CheckpointError: the file cannot be read, or is damaged.
        DependencyError: onnxruntime, which reads ``.onnx``, or MindSpore, which reads ``.mindir``, is missing.
    """
    readers = {"onnx": _read_onnx, "openvino": _read_openvino, "mindspore": _read_mindir}
    try:
        return readers[str(artefact_kind(path))](path)
    except DependencyError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} cannot be read ({reason:.160}); export it again") from error


def _foreign(path: Path, name: str, dtype: str, shape: Shape, values: str | None) -> InputFormat:
    if values is None:
        raise OptionError(
            f"{path} was not exported by osnet and does not say what its input takes; say it with input=... "
            f"(--input): {', '.join(VALUES)}"
        )
    layout = "nhwc" if dtype == "uint8" else "nchw"
    batch, *rest = shape if len(shape) == 4 else (None,)
    height, width, channels = rest if layout == "nhwc" and rest else (*rest[1:], rest[0]) if rest else (None,) * 3
    if len(shape) != 4 or channels not in (3, None) or dtype not in ("uint8", "float32"):
        raise CheckpointError(
            f"{path}: expected an input float32 (B, 3, H, W) or uint8 (B, H, W, 3), got {dtype} {shape_text(shape)}"
        )
    size = (height or INPUT_HEIGHT, width or INPUT_WIDTH)
    return InputFormat(values, layout, size, batch, name=name)


def shape_text(shape: Shape) -> str:
    """As ``(any, 3, 256, 128)``."""
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"


def _read_onnx(path: Path) -> Interface:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,), features = session.get_inputs(), session.get_outputs()[0]
    shape, output = (
        tuple(n if isinstance(n, int) and n > 0 else None for n in put.shape) for put in (source, features)
    )
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}.get(source.type, source.type)
    metadata = _ours(session.get_modelmeta().custom_metadata_map)
    return Interface(source.name, dtype, shape, output, metadata)


def _read_openvino(path: Path) -> Interface:
    import_openvino()
    model = openvino_core().read_model(str(path))
    source, features = model.input(), model.output(0)
    shape, output = (
        tuple(d.get_length() if d.is_static else None for d in put.get_partial_shape()) for put in (source, features)
    )
    dtype = {"f32": "float32", "u8": "uint8"}.get(source.get_element_type().get_type_name(), "another type")
    metadata: dict[str, str] = {}
    if model.has_rt_info([METADATA]):
        metadata = {key: value.astype(str) for key, value in model.get_rt_info([METADATA]).astype(dict).items()}
    return Interface(source.get_any_name(), dtype, shape, output, metadata)


def _read_mindir(path: Path) -> Interface:
    from osnet.models.mindir import read_mindir

    name, shape, output, texts = read_mindir(path)
    return Interface(name, "float32", shape, output, _ours(texts))


def _ours(texts: Mapping[str, str]) -> dict[str, str]:
    """What `export` wrote among the `texts` of a file."""
    prefix = f"{METADATA}."
    return {key[len(prefix) :]: value for key, value in texts.items() if key.startswith(prefix)}


def import_onnxruntime() -> Any:
    """The package onnxruntime.

    Raises:
        DependencyError: it is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            f'onnxruntime cannot be imported ({error}); install it: pip install "osnet[onnx]", or onnxruntime-gpu'
        ) from error
    return onnxruntime

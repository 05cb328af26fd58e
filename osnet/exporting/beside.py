"""The text of the files that other programs look for beside an exported network.

The keys and their meaning were read from the programs and their documents; the values are this package's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    from osnet.models.input_format import InputFormat

OPENVINO_FOLDER = "_openvino_model"
"""How the name of a folder ends that BoxMOT takes for an OpenVINO model."""

TRITON_LARGEST_BATCH = 64
DEEPSTREAM_BATCH = 100


def nothing(_path: Path, _input: InputFormat) -> dict[Path, str]:
    """No file."""
    return {}


def boxmot(path: Path, input_format: InputFormat) -> dict[Path, str]:
    """The size of the input, which BoxMOT cannot read from an ``.xml``."""
    about = {
        "schema_version": 1,
        "preprocess": "resize",
        "model_kwargs_schema_version": 1,
        "model_kwargs": {"img_size": list(input_format.size)},
    }
    text = json.dumps(about, indent=2) + "\n"
    files = {boxmot_metadata(path): text}
    if path.suffix.lower() == ".xml" and path.parent.resolve().name.lower().endswith(OPENVINO_FOLDER):
        files[path.parent / "manifest.json"] = text  # read when the folder is named instead of the file
    return files


def boxmot_metadata(path: Path) -> Path:
    """Where BoxMOT looks for what a file does not say itself."""
    return path.with_name(f"{path.name}.metadata.json")


def ultralytics(path: Path, _input: InputFormat) -> dict[Path, str]:
    """A whole configuration of BoT-SORT, since Ultralytics fills in no defaults."""
    return {
        path.with_name(f"{path.stem}-botsort.yaml"): f"""\
# model.track(..., tracker="this file"). Correct the path in `model` when you move the network.
tracker_type: botsort
track_high_thresh: 0.25
track_low_thresh: 0.1
new_track_thresh: 0.25
track_buffer: 30
match_thresh: 0.8
fuse_score: True
gmc_method: sparseOptFlow
proximity_thresh: 0.5
appearance_thresh: 0.8
with_reid: True
model: {_quoted(path.resolve())}
"""
    }


def deepstream(path: Path, input_format: InputFormat) -> dict[Path, str]:
    """The section for a configuration of NvDCF or NvDeepSORT."""
    height, width = input_format.size
    return {
        path.with_name(f"{path.stem}-reid.yml"): f"""\
# Replaces the section ReID of the tracker's configuration, for example config_tracker_NvDCF_accuracy.yml.
# The network normalises its input itself: leave netScaleFactor and offsets as they are.
ReID:
  reidType: 2  # 1: DeepSORT, 2: re-association, 3: both
  batchSize: {input_format.batch or DEEPSTREAM_BATCH}
  workspaceSize: 1000
  reidFeatureSize: {FEATURE_DIM}
  reidHistorySize: 100
  inferDims: [3, {height}, {width}]
  networkMode: 0  # 0: fp32, 1: fp16
  inputOrder: 0  # NCHW
  colorFormat: 0  # RGB
  offsets: [0.0, 0.0, 0.0]
  netScaleFactor: 1.0
  keepAspc: 0
  addFeatureNormalization: 1
  onnxFile: {_quoted(path.resolve())}
"""
    }


def triton(path: Path, input_format: InputFormat) -> dict[Path, str]:
    """The configuration of the model; one folder up where `path` is in a version's folder such as ``1``."""
    version = path.parent.resolve()
    folder = path.parent.parent if version.name.isdecimal() else path.parent
    runs = 'platform: "onnxruntime_onnx"' if path.suffix.lower() == ".onnx" else 'backend: "openvino"'
    shape = [-1 if length is None else length for length in input_format.shape]
    largest, batching, batch = 0, "", shape[:1]
    if input_format.batch is None:
        largest, batching, batch = TRITON_LARGEST_BATCH, "dynamic_batching { }\n", []
    kind = "TYPE_UINT8" if input_format.layout == "nhwc" else "TYPE_FP32"
    return {
        folder / "config.pbtxt": f"""\
{runs}
default_model_filename: {_quoted(path.name)}
max_batch_size: {largest}
input [ {{ name: {_quoted(input_format.name)} data_type: {kind} dims: {[*batch, *shape[1:]]} }} ]
output [ {{ name: "features" data_type: TYPE_FP32 dims: {[*batch, FEATURE_DIM]} }} ]
{batching}"""
    }


def _quoted(text: Path | str) -> str:
    """In double quotes, as YAML and protobuf's text format read it."""
    return json.dumps(str(text), ensure_ascii=False)

"""Activation maps: where on a crop the last feature map has high values.

As in Zhou et al. (ICCV 2019, following Zagoruyko and Komodakis, ICLR 2017): absolute values summed over the
channels, scaled to Euclidean length 1 over the positions; for display scaled to 0..1 and drawn over the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from osnet.inference.images import prepare
from osnet.models.input_format import InputFormat
from osnet.models.openvino_graph import build_openvino, openvino_core
from osnet.report.charts import INK, SOFT, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from osnet.checkpoint.weights import Weights

_IN_A_ROW = 6


def activation_maps(weights: Weights, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute maps (N, H / 16, W / 16), each of length 1, of crops uint8 (N, H, W, 3) in RGB, computed in float32.

    Raises:
        DependencyError: OpenVINO is missing.
    """
    height, width = crops.shape[1:3]
    graph = build_openvino(weights, InputFormat("bytes", "nhwc", (height, width)), feature_map=True)
    network = openvino_core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    last = np.concatenate([network([crop[None]])["feature_map"] for crop in crops])
    strength = np.abs(last).sum(axis=1)
    length = np.sqrt((strength.astype(np.float64) ** 2).sum(axis=(1, 2), keepdims=True))
    scaled: NDArray[np.float32] = (strength / np.maximum(length, 1e-12)).astype(np.float32)
    return scaled


def overlay(crop: NDArray[np.uint8], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`crop` (H, W, 3) with `strength` (h, w) drawn over it: low values are dark, high ones bright."""
    from matplotlib import colormaps

    low, high = float(strength.min()), float(strength.max())
    stretched = (strength - low) / max(high - low, 1e-12)
    height, width = crop.shape[:2]
    smooth = np.asarray(Image.fromarray(stretched.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))
    smooth = np.clip(smooth, 0, 1)
    colour = colormaps["turbo"](smooth)[:, :, :3] * 255
    grey = crop.mean(axis=2, keepdims=True).repeat(3, axis=2)
    laid: NDArray[np.uint8] = np.clip(0.45 * grey + 0.55 * colour, 0, 255).astype(np.uint8)
    return laid


def draw(weights: Weights, paths: Sequence[Path], captions: Sequence[str], size: tuple[int, int]) -> Figure:
    """Each crop of `paths`, resized to `size`, beside itself with its activation map, under its caption."""
    height, width = size
    crops = np.stack([prepare(path, height=height, width=width) for path in paths])
    maps = activation_maps(weights, crops)
    columns = min(_IN_A_ROW, len(paths))
    rows = -(-len(paths) // columns)
    made, cells = figure(1.66 * columns, 2.05 * rows, columns, rows)
    for axes in cells:
        axes.set_axis_off()
    gap = np.full((height, 6, 3), 255, np.uint8)
    for axes, crop, strength, caption in zip(cells, crops, maps, captions):
        axes.imshow(np.concatenate([crop, gap, overlay(crop, strength)], axis=1), interpolation="lanczos")
        colour = INK if caption.startswith("query\n") else SOFT
        axes.set_title(caption, fontsize=8, color=colour, pad=3, parse_math=False)
    return made

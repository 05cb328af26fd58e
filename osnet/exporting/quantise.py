"""int8: an OpenVINO model quantised after training, with the layers kept in float that cost most accuracy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.errors import DependencyError, ImageError
from osnet.inference.images import prepare
from osnet.models.input_format import InputFormat
from osnet.models.openvino_graph import telemetry_hidden

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

LEAST_IMAGES, MOST_IMAGES = 16, 300
"""To calibrate with; 100 and 300 crops gave the same accuracy, 30 a little less."""

KEPT_OPERATIONS = ("Multiply", "Add")
KEPT_LAYERS = ("conv1.conv", "fc.0")
"""Stay in float. Mean and least cosine to fp32 of an x0.25 trained on MSMT17, on 400 crops of CUHK03-NP, calibrated on
100 others: all in int8 0.986, 0.929; without products (of the gates) 0.992, 0.960; also without the first convolution
and the dense layer 0.995, 0.973; also without sums 0.997, 0.973; and with the ranges of all that was seen instead of a
quantile of them 0.998, 0.992."""


def quantise(graph: openvino.Model, input_format: InputFormat, pictures: Sequence[NDArray[np.uint8]]) -> openvino.Model:
    """`graph` with convolutions in int8, calibrated on `pictures`.

    Ranges of activations are the smallest and largest values that were seen, since OSNet's gates make rare large values
    that matter; weights have a range for each channel; biases are corrected.

    Args:
        graph: of `osnet.models.openvino_graph.build_openvino`.
        input_format: of its input.
        pictures: uint8 (h, w, 3) RGB of any size.

    Returns:
        Another model with the same input and output.

    Raises:
        ImageError: fewer than 16 pictures, or all alike.
        DependencyError: NNCF is missing.
    """
    height, width = input_format.size
    crops = [prepare(picture, height=height, width=width) for picture in pictures]
    if len(crops) < LEAST_IMAGES:
        raise ImageError(f"int8 is calibrated on images: expected at least {LEAST_IMAGES}, got {len(crops)}")
    if all(np.array_equal(crop, crops[0]) for crop in crops):
        raise ImageError(f"int8 is calibrated on images, and these {len(crops)} are all alike; give pictures of people")
    nncf = _import_nncf()
    advanced = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    )
    with contextlib.redirect_stdout(sys.stderr):  # where NNCF's progress belongs
        quantised: openvino.Model = nncf.quantize(
            graph,
            nncf.Dataset([input_format.feed(crop[None]) for crop in crops]),
            subset_size=len(crops),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=list(KEPT_LAYERS), types=list(KEPT_OPERATIONS)),
            advanced_parameters=advanced,
        )
    return quantised


def _import_nncf() -> Any:
    try:
        with telemetry_hidden():
            import nncf
            import nncf.quantization.range_estimator
    except ImportError as error:
        raise DependencyError(f'NNCF cannot be imported ({error}); install it: pip install "osnet[int8]"') from error
    nncf.set_log_level(40)  # logging.ERROR: progress is the caller's
    return nncf

"""The ONNX model of every network gives torchreid's features, at any batch, for any kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from osnet.inference.images import prepare
from osnet.models.input_format import InputFormat
from osnet.models.onnx_graph import build_onnx
from osnet.variants import IMAGE_MEAN, IMAGE_STD, VARIANTS
from tests.recipe import recipe_input, recipe_weights

onnxruntime = pytest.importorskip("onnxruntime")
REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "torchreid_features.npz")
TOLERANCE = 1e-5
"""Largest difference, as a part of the largest feature."""


def run(model: Any, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": x})[0]  # type: ignore[no-any-return]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", VARIANTS)
def test_features_are_torchreids(name: str) -> None:
    found = run(build_onnx(recipe_weights(name)), recipe_input())
    assert np.abs(found - REFERENCE[name]).max() <= TOLERANCE * np.abs(REFERENCE[name]).max()
    half = run(build_onnx(recipe_weights(name), half=True), recipe_input())
    assert cosines(half, REFERENCE[name]).min() >= 0.9999


def test_the_batch_is_dynamic_unless_it_is_given() -> None:
    x = np.random.default_rng(1).standard_normal((64, 3, 64, 32)).astype(np.float32)
    weights = recipe_weights("osnet_x0_25")
    model = build_onnx(weights, InputFormat(size=(64, 32)))
    together = run(model, x)
    for count in (1, 2, 17):
        assert np.abs(run(model, x[:count]) - together[:count]).max() <= TOLERANCE * np.abs(together).max()
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        run(build_onnx(weights, InputFormat(size=(64, 32), batch=2)), x[:3])


@pytest.mark.parametrize(("values", "layout"), [("unit", "nchw"), ("bytes", "nchw"), ("bytes", "nhwc")])
def test_the_normalisation_is_inside(values: str, layout: str) -> None:
    weights = recipe_weights("osnet_x0_25")
    images = np.random.default_rng(2).integers(0, 256, (2, 256, 128, 3)).astype(np.uint8)
    normalised = ((images / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)).transpose(0, 3, 1, 2)
    expected = run(build_onnx(weights), normalised.astype(np.float32))
    x = {
        ("unit", "nchw"): (images / 255).transpose(0, 3, 1, 2).astype(np.float32),
        ("bytes", "nchw"): images.transpose(0, 3, 1, 2).astype(np.float32),
        ("bytes", "nhwc"): images,
    }[values, layout]
    found = run(build_onnx(weights, InputFormat(values, layout)), x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(300, 117), (90, 41), (700, 300), (256, 128)])
def test_the_resize_inside_is_nearly_pillows(shape: tuple[int, int]) -> None:
    """Pillow rounds to whole numbers after each direction, the graph does not."""
    small = np.random.default_rng(3).integers(0, 256, (24, 12, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))
    weights = recipe_weights("osnet_x0_25")
    expected = run(build_onnx(weights, InputFormat("bytes", "nhwc")), prepare(picture)[None])
    found = run(build_onnx(weights, InputFormat("bytes", "nhwc", any_size=True)), picture[None])
    assert cosines(found, expected).min() > 0.9999

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osnet.models.input_format import InputFormat
from osnet.models.openvino_graph import build_openvino, openvino_core
from osnet.variants import IMAGE_MEAN, IMAGE_STD, VARIANTS
from tests.recipe import recipe_input, recipe_weights

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "torchreid_features.npz")
TOLERANCE = 1e-5
"""Largest difference, as a part of the largest feature."""


def compile_fp32(model):  # type: ignore[no-untyped-def]
    return openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize("name", VARIANTS)
def test_features_are_torchreids(name: str) -> None:
    run = compile_fp32(build_openvino(recipe_weights(name), feature_map=True))
    result = run(recipe_input())
    for found, expected in (
        (result["features"], REFERENCE[name]),
        (result["feature_map"].mean(axis=(2, 3)), REFERENCE[f"{name}:map_mean"]),
    ):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_the_batch_is_dynamic_and_rows_do_not_mix() -> None:
    run = compile_fp32(build_openvino(recipe_weights("osnet_x0_25")))
    x = np.random.default_rng(1).standard_normal((5, 3, 256, 128)).astype(np.float32)
    together = run(x)["features"]
    one_by_one = np.concatenate([run(x[i : i + 1])["features"] for i in range(5)])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-5 * np.abs(together).max())
    assert np.abs(together[0] - together[1]).max() > 1e-4 * np.abs(together).max()


def test_an_image_input_normalises_as_torchreid_does() -> None:
    weights = recipe_weights("osnet_x0_25")
    images = np.random.default_rng(2).integers(0, 256, (2, 256, 128, 3)).astype(np.uint8)
    normalised = ((images / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)).transpose(0, 3, 1, 2)
    expected = compile_fp32(build_openvino(weights))(normalised.astype(np.float32))["features"]
    found = compile_fp32(build_openvino(weights, InputFormat("bytes", "nhwc")))(images)["features"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())

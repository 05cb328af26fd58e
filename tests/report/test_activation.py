"""Activation maps against the last feature map, channel by channel."""

from __future__ import annotations

import numpy as np
import pytest

from osnet.models.input_format import InputFormat
from osnet.models.openvino_graph import build_openvino, openvino_core
from osnet.report.activation import activation_maps, overlay
from tests.recipe import recipe_weights


@pytest.mark.slow
def test_maps_are_absolute_sums_over_channels_of_length_one() -> None:
    weights = recipe_weights("osnet_x0_25")
    crops = np.random.default_rng(0).integers(0, 256, (3, 256, 128, 3), np.uint8)
    maps = activation_maps(weights, crops)
    graph = build_openvino(weights, InputFormat("bytes", "nhwc"), feature_map=True)
    network = openvino_core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    last = network([crops])["feature_map"]
    assert maps.shape == (3, *last.shape[2:]) == (3, 16, 8)
    for found, channels in zip(maps, last):
        total = np.zeros((16, 8))
        for channel in channels:
            total += abs(channel)
        np.testing.assert_allclose(found, total / np.sqrt((total**2).sum()), rtol=1e-4)


def test_strong_places_glow_and_weak_ones_stay_dark() -> None:
    crop = np.full((256, 128, 3), 128, np.uint8)
    strength = np.zeros((16, 8), np.float32)
    strength[2, 5] = 1
    laid = overlay(crop, strength)
    assert laid.shape == crop.shape
    red, blue = laid[:, :, 0].astype(int), laid[:, :, 2].astype(int)
    hot = np.unravel_index(np.argmax(laid.astype(int).sum(axis=2)), red.shape)
    assert 2 * 16 <= hot[0] < 3 * 16
    assert 5 * 16 <= hot[1] < 6 * 16
    assert (red[200:] <= blue[200:]).all()
    np.testing.assert_array_equal(overlay(crop, np.zeros((16, 8), np.float32))[0, 0], laid[250, 10])  # no division by 0

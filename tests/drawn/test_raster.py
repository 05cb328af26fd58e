"""Painting all parts at once gives what painting pixel by pixel gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from osnet.drawn.body import build, draw_pose
from osnet.drawn.person import draw_crowd
from osnet.drawn.raster import Canvas, Light
from osnet.drawn.solids import Solids, View
from osnet.drawn.streams import stream
from tests.oracles.painting import paint_slowly

LIGHT = Light(0.48, -0.6, 0.64, 0.5, 0.7)


@pytest.mark.parametrize("number", range(4))
def test_agrees_with_the_slow_painter(number: int) -> None:
    person = draw_crowd(1, 4)[number]
    rng = stream("pose", number)
    figure = build(person, draw_pose(person, rng), View(rng.uniform(0, math.tau), rng.uniform(0, 0.5), 5.0))
    # Smooth textures, so that a rounding at a texel's border shows no other colour.
    atlas = np.zeros_like(figure.atlas)
    atlas[:] = np.arange(atlas.shape[1], dtype=np.uint8)[None, :, None] * 12 + 40
    object.__setattr__(figure, "atlas", atlas)
    left, top, _, bottom = figure.extent
    scale = 60 / (bottom - top)
    blank = np.zeros((60, 34, 3), np.uint8)
    canvas = Canvas(blank)
    canvas.paint(figure, LIGHT, scale, left + 0.1, top)  # a part hangs over the edge
    colour, nearest = paint_slowly(blank, figure, LIGHT, scale, left + 0.1, top)
    same = np.isclose(canvas.colour.T.reshape(colour.shape), colour, atol=0.5).all(-1)
    assert same.mean() > 0.995, "float32 may decide a handful of border pixels otherwise"
    covered = nearest > -1e8
    assert covered.mean() > 0.15
    assert (covered == (canvas.nearest.reshape(covered.shape) > -1e8)).mean() > 0.998


def test_the_texture_turns_with_the_body() -> None:
    """A stripe on the breast is seen from the front, not from behind, and at the edge from the side."""
    atlas = np.full((3, 1, 64 * 64), 100, np.uint8)
    atlas.reshape(3, 64, 64)[:, :, 30:34] = 250
    seen = {}
    for degrees in (0, 60, 180):
        solids = Solids(View(math.radians(degrees), 0.0, 50.0), atlas)
        solids.ball((0, 0, 0.9), 0.2, 0.2, 0.4, 0)
        solids.limb((0, 0, 3.0), (0, 0, 3.1), 0.1, 0.1, 0)  # out of the picture
        canvas = Canvas(np.zeros((80, 40, 3), np.uint8))
        canvas.paint(solids.figure(), Light(0, 0, 1, 1.0, 0.0), 100.0, -0.2, -0.4)
        bright = np.flatnonzero(canvas.colour.reshape(3, 80, 40)[0, 40] > 130)
        seen[degrees] = bright.mean() if bright.size else None
    assert seen[0] == pytest.approx(19.5, abs=1)
    assert seen[60] == pytest.approx(19.5 + 20 * math.sin(math.radians(60)), abs=1.5), "where View.project puts it"
    assert seen[180] is None


def test_nothing_in_the_picture_leaves_it_as_it_was() -> None:
    figure = build(*_somebody())
    image = np.full((20, 10, 3), 77, np.uint8)
    canvas = Canvas(image)
    canvas.paint(figure, LIGHT, 10.0, 50.0, 50.0)
    assert (canvas.image() == image).all()


def _somebody() -> tuple:
    person = draw_crowd(2, 1)[0]
    return person, draw_pose(person, stream("x")), View(0.0, 0.1, 8.0)

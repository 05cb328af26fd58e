"""Painting one pixel at a time: what `osnet.drawn.raster` must agree with."""

from __future__ import annotations

import math

import numpy as np

from osnet.drawn.raster import SAMPLES, TEXELS, Figure, Light


def paint_slowly(
    image: np.ndarray, figure: Figure, light: Light, scale: float, left: float, top: float
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (height, width, 3) and nearest depth (height, width), by a loop over pixels and parts."""
    colour = image.astype(np.float64)
    nearest = np.full(image.shape[:2], -1e9)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            px, py = (column + 0.5) / scale + left, (row + 0.5) / scale + top
            for number in range(len(figure.lines)):
                seen = _hit(figure, number, light, px, py)
                if seen is not None and seen[0] > nearest[row, column]:
                    nearest[row, column], colour[row, column] = seen
    return colour, nearest


def _hit(figure: Figure, number: int, light: Light, px: float, py: float) -> tuple[float, np.ndarray] | None:
    x, y, ux, uy, start, length, row_start, row_length, turn, bend = figure.lines[number]
    along = (px - x) * ux + (py - y) * uy
    across = (px - x) * uy - (py - y) * ux
    sample = math.floor((along - start) / length * SAMPLES)
    if not 0 <= sample < SAMPLES or abs(across) >= figure.half[number, sample]:
        return None
    v = across / figure.half[number, sample]
    normal = v**3 if figure.boxy[number] else v
    facing = math.sqrt(1 - normal**2)
    depth = figure.depth[number, sample] + figure.bulge[number, sample] * facing
    axial = figure.axial[number, sample]
    lean = math.sqrt(1 - axial**2)
    nx, ny = axial * ux + lean * normal * uy, axial * uy - lean * normal * ux
    lit = max(0.0, nx * light.x + ny * light.y + lean * facing * light.z)
    shade = (light.ambient + light.direct * lit) * (0.62 + 0.38 * facing)
    column = math.floor((math.asin(normal) / math.tau - turn + 1.5) * TEXELS) % TEXELS
    row = math.floor((along - row_start - bend * facing) / row_length * TEXELS)
    texel = min(TEXELS - 1, max(0, row)) * TEXELS + column
    return depth, figure.atlas[:, figure.texture[number], texel] * shade

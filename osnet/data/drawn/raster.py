"""From parts of a body to pixels: round shapes with textures, lit, the nearer hiding the farther.

A part is a solid of revolution around a line in the image (a limb, a trunk, a head), squeezed in depth. Each pixel
inside it has a place along the line and one across; together they give the surface's normal (light), its depth (what
hides what) and its place on the texture, which goes once around the body: column 0 is the back, the middle the front.
Only +, -, *, / and square roots touch a pixel, so that every processor rounds alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SAMPLES = 48
"""Points at which a part's outline is sampled along its line."""

TEXELS = 64
"""Rows and columns of a texture; a power of two, so that columns wrap around with a mask."""

_ARCSINE = np.array([math.asin(max(-1.0, min(1.0, i / 256 - 1))) / math.tau for i in range(513)], np.float32)
_COUNT = np.arange(1024, dtype=np.float32)


@dataclass(frozen=True)
class Part:
    """One solid, in metres of the image plane (x right, y down), ready to paint.

    Attributes:
        x, y: where its line starts. ux, uy: unit direction of the line.
        start, length: the sampled stretch of the line, from `start`, caps included.
        half: half the width seen at each sample, (SAMPLES,). bulge: half the depth. axial: how far the surface leans
            along the line there, -1 to 1. depth: of the line itself, larger is nearer.
        texture: (3, TEXELS, TEXELS) float32, 0 to 255; rows go from `row_start` on, `row_length` in all.
        turn: turns (0 to 1) that the body has turned away from the viewer.
        bend: metres along the line that the nearest surface appears lower, for a camera that looks down.
        boxy: corners like a box instead of round.
    """

    x: float
    y: float
    ux: float
    uy: float
    start: float
    length: float
    half: Array
    bulge: Array
    axial: Array
    depth: Array
    texture: Array
    row_start: float
    row_length: float
    turn: float = 0.0
    bend: float = 0.0
    boxy: bool = False

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom."""
        half, ends = float(self.half.max()), (self.start, self.start + self.length)
        xs = [self.x + self.ux * end for end in ends]
        ys = [self.y + self.uy * end for end in ends]
        dx, dy = abs(self.uy) * half, abs(self.ux) * half
        return min(xs) - dx, min(ys) - dy, max(xs) + dx, max(ys) + dy


@dataclass(frozen=True)
class Light:
    """A direction that light comes from (unit: right, down, towards the viewer), and how much is ambient or direct."""

    x: float
    y: float
    z: float
    ambient: float
    direct: float


class Canvas:
    """Pixels with depth. `colour` is (3, height * width) float32, 0 to 255."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.height, self.width = image.shape[:2]
        self.colour: Array = np.ascontiguousarray(image.reshape(-1, 3).T, np.float32)
        self.nearest = np.full(self.height * self.width, -1e9, np.float32)

    def image(self) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        limited = np.minimum(np.maximum(self.colour, 0), 255).astype(np.uint8)
        return np.ascontiguousarray(limited.T).reshape(self.height, self.width, 3)

    def paint(self, part: Part, light: Light, scale: float, left: float, top: float) -> None:
        """Paint `part` where nothing nearer stands; (left, top) in metres is the corner of the canvas."""
        x0, y0, x1, y1 = part.extent
        c0, c1 = max(0, math.floor((x0 - left) * scale)), min(self.width, math.ceil((x1 - left) * scale))
        r0, r1 = max(0, math.floor((y0 - top) * scale)), min(self.height, math.ceil((y1 - top) * scale))
        if c0 >= c1 or r0 >= r1:
            return
        # The square of pixels in samples along the line and metres across it; outside the line the width is 0.
        dx = (_COUNT[c0:c1] + np.float32(0.5)) / np.float32(scale) + np.float32(left - part.x)
        dy = ((_COUNT[r0:r1] + np.float32(0.5)) / np.float32(scale) + np.float32(top - part.y))[:, None]
        ux, uy = np.float32(part.ux), np.float32(part.uy)
        per_metre = np.float32(SAMPLES / part.length)
        along = (dx * ux + np.float32(1 / per_metre - part.start)) * per_metre + dy * (uy * per_metre)
        across = dx * uy - dy * ux
        np.maximum(along, 0, out=along)
        np.minimum(along, SAMPLES + 1, out=along)
        sample = along.astype(np.intp)
        half = np.zeros(SAMPLES + 2, np.float32)
        half[1:-1] = part.half
        chosen = (np.abs(across) < half.take(sample)).ravel().nonzero()[0]
        if not chosen.size:
            return
        sample, along = sample.ravel().take(chosen) - 1, along.ravel().take(chosen)
        v = across.ravel().take(chosen) / part.half.take(sample)
        square = v * v
        if part.boxy:
            v, square = v * square, square * square * square
        facing = np.sqrt(1 - square)
        target = chosen + chosen // (c1 - c0) * (self.width - c1 + c0) + (r0 * self.width + c0)
        depth = part.depth.take(sample) + part.bulge.take(sample) * facing
        nearer = (depth > self.nearest.take(target)).nonzero()[0]
        if nearer.size < chosen.size:
            sample, along, v, facing = sample.take(nearer), along.take(nearer), v.take(nearer), facing.take(nearer)
            target, depth = target.take(nearer), depth.take(nearer)
        self.nearest[target] = depth
        axial = part.axial.take(sample)
        lean = np.sqrt(1 - axial * axial)
        sideways = np.float32(part.uy * light.x - part.ux * light.y)
        forwards = np.float32(part.ux * light.x + part.uy * light.y)
        lit = axial * forwards + lean * (v * sideways + facing * np.float32(light.z))
        shade = np.float32(light.ambient) + np.float32(light.direct) * np.maximum(lit, 0)
        # Edges see less of the sky: a soft outline that parts one limb from the next.
        shade *= np.float32(0.62) + np.float32(0.38) * facing
        turns = _ARCSINE.take(((v + 1) * 256).astype(np.intp)) + np.float32(1.5 - part.turn)
        column = (turns * TEXELS).astype(np.intp) & (TEXELS - 1)
        rows_per_metre = TEXELS / part.row_length
        row = along * np.float32(rows_per_metre * part.length / SAMPLES)
        row += np.float32(rows_per_metre * (part.start - part.row_start - part.length / SAMPLES))
        row -= np.float32(rows_per_metre * part.bend) * facing
        texel = np.minimum(np.maximum(row, 0), TEXELS - 1).astype(np.intp) * TEXELS + column
        for plane, texture in zip(self.colour, part.texture):
            plane[target] = texture.take(texel) * shade

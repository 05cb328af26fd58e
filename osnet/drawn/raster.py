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


@dataclass(frozen=True)
class Figure:
    """P parts of one body, in metres of the image plane (x right, y down), ready to paint.

    Attributes:
        lines: (P, 10) float64. Of each part: x, y where its line starts and its unit direction ux, uy; the sampled
            stretch of the line, from `start`, `length` long, caps included; the stretch that the texture's rows cover,
            likewise; the turns (0 to 1) that the part is turned away from the viewer; the metres along the line that
            the nearest surface appears lower, for a camera that looks down.
        half: (P, SAMPLES) float32, half the width seen at each sample. bulge: half the depth. axial: how far the
            surface leans along the line there, -1 to 1. depth: of the line itself, larger is nearer.
        texture: (P,) number of each part's texture in `atlas`.
        boxy: (P,) whether a part has corners like a box.
        atlas: (3, textures, TEXELS * TEXELS) uint8.
    """

    lines: NDArray[np.float64]
    half: Array
    bulge: Array
    axial: Array
    depth: Array
    texture: NDArray[np.intp]
    boxy: NDArray[np.bool_]
    atlas: NDArray[np.uint8]

    @cached_property
    def extents(self) -> tuple[NDArray[np.float64], ...]:
        """left, top, right, bottom of each part, (P,) each, and the largest half width."""
        x, y, ux, uy, start, length = self.lines.T[:6]
        reach = self.half.max(1).astype(np.float64)
        ax, ay, dx, dy = x + ux * start, y + uy * start, ux * length, uy * length
        aside, above = np.abs(uy) * reach, np.abs(ux) * reach
        return (
            ax + np.minimum(dx, 0) - aside,
            ay + np.minimum(dy, 0) - above,
            ax + np.maximum(dx, 0) + aside,
            ay + np.maximum(dy, 0) + above,
            reach,
        )

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom of the whole figure."""
        left, top, right, bottom, _ = self.extents
        return float(left.min()), float(top.min()), float(right.max()), float(bottom.max())


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

    def darken(self, shadow: Array) -> None:
        """Take away that share of the light, (height, width)."""
        self.colour *= 1 - shadow.ravel()

    def paint(self, figure: Figure, light: Light, scale: float, left: float, top: float) -> None:
        """Paint `figure` where nothing nearer stands; (left, top) in metres is the corner of the canvas.

        All parts at once: an array call on a few thousand pixels costs little more than one on a few hundred.
        """
        x, y, ux, uy, start, length, row_start, row_length, turn, bend = figure.lines.T
        count = len(x)
        row_part, row_y, first, columns, reach_lost = self._rows(figure, scale, left, top)
        if reach_lost:
            return
        # Candidates: every pixel of every row. Along the line in samples (0 and the last are outside), across it in
        # metres; both are linear in the pixel's column.
        dy = (row_y + 0.5) / scale + (top - y[row_part])
        per_metre = SAMPLES / length
        pixel = np.arange(int(columns.sum()))
        column = pixel - np.repeat(np.cumsum(columns) - columns - first, columns)
        px = (column.astype(np.float32) + np.float32(0.5)) * np.float32(1 / scale) + np.float32(left)
        along = px * np.repeat((ux * per_metre)[row_part].astype(np.float32), columns)
        along += np.repeat(
            (((uy[row_part] * dy) - (x * ux + start)[row_part]) * per_metre[row_part] + 1).astype(np.float32), columns
        )
        across = px * np.repeat(uy[row_part].astype(np.float32), columns)
        across -= np.repeat(((x * uy)[row_part] + dy * ux[row_part]).astype(np.float32), columns)
        np.maximum(along, 0, out=along)
        np.minimum(along, SAMPLES + 1, out=along)
        key = along.astype(np.intp) + np.repeat(row_part * (SAMPLES + 2), columns)
        tables = np.zeros((4, count, SAMPLES + 2), np.float32)
        for table, values in zip(tables, (figure.half, figure.bulge, figure.axial, figure.depth)):
            table[:, 1:-1] = values
        half, bulge, axials, depths = tables.reshape(4, -1)
        chosen = (np.abs(across) < half.take(key)).nonzero()[0]
        key, along = key.take(chosen), along.take(chosen)
        v = across.take(chosen) / half.take(key)
        part = key // (SAMPLES + 2)
        target = column.take(chosen) + np.repeat(row_y * self.width, columns).take(chosen)
        square = v * v
        boxes = figure.boxy.take(part).nonzero()[0]
        if boxes.size:
            v[boxes] *= square[boxes]
            square[boxes] = v[boxes] * v[boxes]
        facing = np.sqrt(1 - square)
        depth = depths.take(key) + bulge.take(key) * facing
        ends = np.searchsorted(part, np.arange(count + 1)).tolist()
        for begin, end in zip(ends, ends[1:]):  # within one part no pixel comes twice
            place = target[begin:end]
            self.nearest[place] = np.maximum(self.nearest.take(place), depth[begin:end])
        seen = (depth == self.nearest.take(target)).nonzero()[0]
        key, along, part, target = key.take(seen), along.take(seen), part.take(seen), target.take(seen)
        v, facing = v.take(seen), facing.take(seen)

        def of_part(values: NDArray[np.float64]) -> Array:
            taken: Array = values.astype(np.float32).take(part)
            return taken

        axial = axials.take(key)
        lit = axial * of_part(ux * light.x + uy * light.y)
        lit += np.sqrt(1 - axial * axial) * (v * of_part(uy * light.x - ux * light.y) + facing * np.float32(light.z))
        shade = np.float32(light.ambient) + np.float32(light.direct) * np.maximum(lit, 0)
        # Edges see less of the sky: a soft outline that parts one limb from the next.
        shade *= np.float32(0.62) + np.float32(0.38) * facing
        turns = _ARCSINE.take(((v + 1) * 256).astype(np.intp)) + of_part(1.5 - turn)
        texel = (turns * TEXELS).astype(np.intp) & (TEXELS - 1)
        rows_per_metre = TEXELS / row_length
        row = along * of_part(rows_per_metre / per_metre)
        row += of_part(rows_per_metre * (start - row_start - 1 / per_metre)) - of_part(rows_per_metre * bend) * facing
        texel += np.minimum(np.maximum(row, 0), TEXELS - 1).astype(np.intp) * TEXELS
        texel += (figure.texture * (TEXELS * TEXELS)).take(part)
        for plane, texture in zip(self.colour, figure.atlas.reshape(3, -1)):
            plane[target] = texture.take(texel) * shade

    def _rows(
        self, figure: Figure, scale: float, left: float, top: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], bool]:
        """The rows of pixels in which parts may lie: part, row, first column and number of columns of each."""
        x, y, ux, uy = figure.lines.T[:4]
        x0, y0, x1, y1, reach = figure.extents
        left_edge = np.clip(np.floor((x0 - left) * scale), 0, self.width)
        right_edge = np.clip(np.ceil((x1 - left) * scale), 0, self.width)
        r0 = np.clip(np.floor((y0 - top) * scale), 0, self.height).astype(np.intp)
        r1 = np.clip(np.ceil((y1 - top) * scale), 0, self.height).astype(np.intp)
        tall = r1 - r0
        part = np.repeat(np.arange(len(tall)), tall)
        row = np.arange(len(part)) - np.repeat(np.cumsum(tall) - tall - r0, tall)
        # Of a slanting limb each row crosses only a piece.
        steep = np.maximum(np.abs(uy), 0.2)
        slope = np.where(np.abs(uy) > 0.2, ux / np.where(np.abs(uy) > 0.2, uy, 1), 0)
        spread = np.where(np.abs(uy) > 0.2, reach / steep, 1e3)
        middle = x[part] + ((row + 0.5) / scale + top - y[part]) * slope[part]
        first = np.maximum(np.floor((middle - spread[part] - left) * scale), left_edge[part])
        last = np.minimum(np.ceil((middle + spread[part] - left) * scale), right_edge[part])
        columns = np.maximum(last - first, 0).astype(np.intp)
        return part, row, first.astype(np.intp), columns, not columns.any()

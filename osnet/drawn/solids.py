"""The three shapes that bodies and bags are made of, as a view sees them: limbs, balls and trunks.

Body coordinates are metres: x to one side, y where the person faces, z up from the ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osnet.drawn.raster import SAMPLES, Array, Figure

Point = tuple[float, float, float]

_STEPS = (np.arange(SAMPLES) + 0.5) / SAMPLES


@dataclass(frozen=True)
class View:
    """How a camera sees a person: turned by `yaw` (0: facing the camera), from above by `pitch`, both in radians.

    `distance` in metres; `aside` and `nearer` (metres) move the person in the picture.
    """

    yaw: float
    pitch: float
    distance: float
    aside: float = 0.0
    nearer: float = 0.0

    def project(self, point: Point) -> tuple[float, float, float, float]:
        """x right, y down, nearness (metres in the image plane) and the scale there."""
        x, y, z = point
        right = x * math.cos(self.yaw) + y * math.sin(self.yaw) + self.aside
        towards = y * math.cos(self.yaw) - x * math.sin(self.yaw) + self.nearer
        rise = z - 0.9
        up = rise * math.cos(self.pitch) - towards * math.sin(self.pitch)
        near = towards * math.cos(self.pitch) + rise * math.sin(self.pitch)
        scale = self.distance / (self.distance - near)
        return right * scale, -up * scale, near, scale


def _length(a: float, b: float) -> float:
    """As math.hypot, whose last digit differs between versions of Python."""
    return math.sqrt(a * a + b * b)


class Solids:
    """Collects shapes, then works out the outlines of all limbs and all balls at once."""

    def __init__(self, view: View, atlas: NDArray[np.uint8]) -> None:
        self._view, self._atlas = view, atlas
        self._limbs: list[tuple[float, ...]] = []
        self._balls: list[tuple[float, ...]] = []
        self._trunks: list[tuple[tuple[float, ...], tuple[Array, Array, Array, Array]]] = []

    def limb(self, start: Point, end: Point, first: float, last: float, texture: int) -> None:
        """A round limb between two joints with its radii there."""
        ax, ay, near_a, scale_a = self._view.project(start)
        bx, by, near_b, scale_b = self._view.project(end)
        length = max(1e-3, _length(bx - ax, by - ay))
        line = (ax, ay, (bx - ax) / length, (by - ay) / length, length)
        self._limbs.append((*line, first * scale_a, last * scale_b, near_a, near_b, texture))

    def ball(self, centre: Point, a: float, b: float, c: float, texture: int, *, boxy: bool = False) -> None:
        """An ellipsoid, or a box with round edges, with half axes to the side, to the front and up."""
        x, y, near, scale = self._view.project(centre)
        cos, sin = math.cos(self._view.yaw), math.sin(self._view.yaw)
        steep, flat = math.sin(self._view.pitch), math.cos(self._view.pitch)
        deep = _length(a * sin, b * cos)
        tall = _length(c * flat, deep * steep) * scale
        turn = math.atan2(b * sin, a * cos) / math.tau
        across, thick = _length(a * cos, b * sin) * scale, _length(deep * flat, c * steep) * scale
        self._balls.append((x, y, tall, across, thick, near, turn, boxy, texture))

    def trunk(self, top: Point, bottom: Point, wide: Sequence[float], deep: Sequence[float], texture: int) -> None:
        """A body of oval sections: half widths and half depths at even steps from top to bottom."""
        ax, ay, near_a, scale_a = self._view.project(top)
        bx, by, near_b, scale_b = self._view.project(bottom)
        length = max(1e-3, _length(bx - ax, by - ay))
        knots = np.linspace(0, 1, len(wide))
        a, b = np.interp(_STEPS, knots, wide), np.interp(_STEPS, knots, deep)
        cos, sin = math.cos(self._view.yaw), math.sin(self._view.yaw)
        zoom = scale_a + (scale_b - scale_a) * _STEPS
        half = np.sqrt((a * cos) * (a * cos) + (b * sin) * (b * sin)) * zoom
        bulge = np.sqrt((a * sin) * (a * sin) + (b * cos) * (b * cos)) * zoom
        axial = np.zeros(SAMPLES)
        axial[1:-1] = (half[:-2] - half[2:]) * (SAMPLES / 2 / length)
        turn = math.atan2(max(deep) * sin, max(wide) * cos) / math.tau
        bend = float(bulge[SAMPLES // 2]) * math.sin(self._view.pitch)
        line = (ax, ay, (bx - ax) / length, (by - ay) / length, 0.0, length, 0.0, length, turn, bend, texture)
        tables = (half, bulge, np.minimum(np.maximum(axial, -0.9), 0.9), near_a + (near_b - near_a) * _STEPS)
        self._trunks.append((line, tables))

    def figure(self) -> Figure:
        """All shapes so far; there is a limb and a ball among them."""
        limbs, balls = self._limb_arrays(), self._ball_arrays()
        lines = np.concatenate([np.array([line for line, _ in self._trunks]).reshape(-1, 11), limbs[0], balls[0]])
        half, bulge, axial, depth = (
            np.concatenate([*(trunk[i][None] for _, trunk in self._trunks), limbs[1][i], balls[1][i]], dtype=np.float32)
            for i in range(4)
        )
        boxy = np.zeros(len(lines), np.bool_)
        boxy[len(lines) - len(self._balls) :] = [ball[7] for ball in self._balls]
        return Figure(
            lines=np.ascontiguousarray(lines[:, :10]),
            half=half,
            bulge=bulge,
            axial=axial,
            depth=depth,
            texture=lines[:, 10].astype(np.intp),
            boxy=boxy,
            atlas=self._atlas,
        )

    def _limb_arrays(self) -> tuple[Array, tuple[Array, ...]]:
        limbs = np.array(self._limbs)
        x, y, ux, uy, length, first, last, near_a, near_b, texture = limbs.T
        total, zero = first + length + last, np.zeros(len(limbs))
        turn = np.full(len(limbs), self._view.yaw / math.tau)
        lines = np.stack([x, y, ux, uy, -first, total, zero, length, turn, zero, texture], 1)
        place = _STEPS * total[:, None] - first[:, None]
        share = np.minimum(np.maximum(place / length[:, None], 0), 1)
        beyond = np.minimum(place, 0) / first[:, None] + np.maximum(place - length[:, None], 0) / last[:, None]
        half = (first[:, None] + (last - first)[:, None] * share) * np.sqrt(1 - beyond * beyond)
        return lines, (half, half, beyond, near_a[:, None] + (near_b - near_a)[:, None] * share)

    def _ball_arrays(self) -> tuple[Array, tuple[Array, ...]]:
        balls = np.array(self._balls)
        x, y, tall, across, thick, near, turn, boxy, texture = balls.T
        zero = np.zeros(len(balls))
        bend = tall * (0.5 * math.sin(self._view.pitch))
        lines = np.stack([x, y, zero, zero + 1, -tall, 2 * tall, -tall, 2 * tall, turn, bend, texture], 1)
        beyond = _STEPS * 2 - 1
        axial = np.where(boxy[:, None] > 0, beyond * beyond * beyond, beyond)
        outline = np.sqrt(1 - axial * axial)
        return lines, (across[:, None] * outline, thick[:, None] * outline, axial, near[:, None] + 0 * outline)

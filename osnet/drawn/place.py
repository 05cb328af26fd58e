"""The place that a camera overlooks: flat ground in front of a wall, seen in perspective.

Ground coordinates are metres: x to the right of the camera, z away from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from osnet.drawn.camera import Camera

TALL = 1.75
"""Height of a person in metres for whom the picture is framed."""

WALL = 0.9
"""Metres between the farthest walker and the wall."""


@dataclass(frozen=True)
class Place:
    """A pinhole camera above the ground.

    Attributes:
        width, height: of a frame in pixels.
        focal: length in pixels.
        up: height of the camera in metres. pitch: how far it looks down, in radians.
        near, far: range of z in which people walk.
    """

    width: int
    height: int
    focal: float
    up: float
    pitch: float
    near: float
    far: float

    def pixel(self, x: float, z: float, rise: float = 0.0) -> tuple[float, float, float]:
        """Column, row and pixels per metre of a point `rise` metres above the ground."""
        depth = self.depth(z, rise)
        below = (self.up - rise) * math.cos(self.pitch) - z * math.sin(self.pitch)
        return self.width / 2 + self.focal * x / depth, self.height / 2 + self.focal * below / depth, self.focal / depth

    def depth(self, z: float, rise: float = 0.0) -> float:
        """Metres along the camera's axis."""
        return z * math.cos(self.pitch) + (self.up - rise) * math.sin(self.pitch)

    def half_width(self, z: float) -> float:
        """Metres of ground from the middle of the picture to its side."""
        return self.width / 2 * self.depth(z) / self.focal

    @property
    def foot(self) -> float:
        """Row in which the wall meets the ground."""
        return self.pixel(0, self.far + WALL)[1]


def overlook(camera: Camera, width: int, height: int) -> Place:
    """The place of `camera`, framed so that the nearest walkers are six tenths of the picture tall, their feet at its
    lower edge. The higher a camera hangs in single pictures, the higher it hangs here."""
    inside = camera.world == "indoor"
    far = min(12.0, max(8.0, 2.2 * camera.distance)) if inside else min(16.0, max(10.0, 1.4 * camera.distance))
    near = 0.36 * far
    steep = math.degrees(camera.pitch)
    up = 2.3 + (steep - 17) / 19 if inside else 2.5 + 2.0 * (steep - 3) / 18
    focal = 0.6 * height * near / TALL
    pitch = math.atan2(up, near) - math.atan2(0.45 * height, focal)
    return Place(width, height, focal, up, pitch, near, far)

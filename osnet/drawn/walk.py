"""Who walks where and when: each person goes from camera to camera and crosses the view of each."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osnet.drawn.body import Pose, draw_pose
from osnet.drawn.camera import Camera
from osnet.drawn.person import Person
from osnet.drawn.place import Place
from osnet.drawn.streams import stream

Ground = tuple[float, float]
"""x and z in metres."""

TRAVEL = (2.0, 7.0)
"""Seconds between one camera and the next, least and most."""

_SIDE = 0.9
"""Metres beyond the edge of the picture at which a walk begins and ends."""

_STEP = 0.1
"""Metres between the points at which it is checked whether somebody is still in view."""


@dataclass(frozen=True)
class Walk:
    """One person's way through the view of one camera.

    Attributes:
        person: index into the crowd. camera: 1, 2, ...
        start: second at which it begins; below 0 for people who are on their way when the video begins.
        path: (P, 2) float64, points on the ground. walked: (P,) metres from the start to each of them.
        speed: metres per second.
        pose: at the start. cycle: metres in which the phase of the walk goes once around.
    """

    person: int
    camera: int
    start: float
    path: NDArray[np.float64]
    walked: NDArray[np.float64]
    speed: float
    pose: Pose
    cycle: float

    @property
    def end(self) -> float:
        return self.start + float(self.walked[-1]) / self.speed

    def at(self, second: float) -> tuple[Ground, float, Pose]:
        """Position, heading (0: towards the camera, growing to its right) and pose at a time within the walk."""
        way = (second - self.start) * self.speed
        (x, z), before, after = self._point(way), self._point(way - 0.2), self._point(way + 0.2)
        heading = math.atan2(after[0] - before[0], before[1] - after[1])
        phase = (self.pose.phase + math.tau * way / self.cycle) % math.tau
        return (x, z), heading, dataclasses.replace(self.pose, phase=phase)

    def _point(self, way: float) -> Ground:
        return float(np.interp(way, self.walked, self.path[:, 0])), float(np.interp(way, self.walked, self.path[:, 1]))


def walks(
    seed: int, crowd: Sequence[Person], cameras: Sequence[Camera], places: Sequence[Place], seconds: float
) -> list[Walk]:
    """Every walk of everybody in the first `seconds`, one person after the other, each one's in order of time."""
    found = []
    for number, person in enumerate(crowd):
        rng = stream("tour", seed, cameras[0].world, person.key)
        at, now = number % len(cameras), 0.0
        while now < seconds:
            walk = _walk(number, person, cameras[at], places[at], now, rng)
            if not now:  # somewhere on the way when the video begins
                walk = dataclasses.replace(walk, start=-rng.uniform(0, 0.8) * walk.end)
            found.append(walk)
            now = walk.end + rng.uniform(*TRAVEL)
            if len(cameras) > 1:
                at = rng.choice([other for other in range(len(cameras)) if other != at])
    return found


def _walk(number: int, person: Person, camera: Camera, place: Place, start: float, rng: random.Random) -> Walk:
    pose = draw_pose(person, rng)
    pose = dataclasses.replace(pose, stride=rng.uniform(0.7, 1.0))
    # Two steps as far apart as the legs reach (`body`: 0.44 radians each way, 0.46 of the height long).
    reach = 0.44 * pose.stride * (0.55 if person.lower == "maxi" else 1)
    cycle = 4 * 0.46 * person.height * math.sin(reach)
    path = _path(camera, place, rng)
    walked = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(path, axis=0) ** 2).sum(1)))])
    return Walk(number, camera.number, start, path, walked, cycle * rng.uniform(0.85, 1.05), pose, cycle)


def _path(camera: Camera, place: Place, rng: random.Random) -> NDArray[np.float64]:
    """From one edge of the view through a point in it to another edge, mostly in the camera's usual direction."""
    z = place.near + (place.far - place.near) * rng.uniform(0.02, 0.97) ** 1.3
    middle = (rng.uniform(-0.6, 0.6) * place.half_width(z), z)
    course = camera.course + (math.pi if rng.random() < 0.35 else 0) + rng.gauss(0, 1.2 * camera.spread)
    first = _to_edge(place, middle, course + math.pi)
    last = _to_edge(place, middle, course + rng.gauss(0, 0.15))
    points = np.array([*first[::-1], middle, *last])
    for _ in range(4):  # Chaikin's corner cutting
        cut = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], 1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


def _to_edge(place: Place, start: Ground, course: float) -> list[Ground]:
    """The way out of the view from `start`. Those who come to the wall, or too close to the camera, turn to a side."""
    (x, z), dx, dz = start, math.sin(course), -math.cos(course)
    closest = 0.6 * place.near
    while abs(x) < place.half_width(z) + _SIDE and closest < z < place.far:
        x, z = x + _STEP * dx, z + _STEP * dz
    if closest < z < place.far:
        return [(x, z)]
    along = place.far - 1.2 if z >= place.far else 0.8 * place.near
    side = 1 if dx >= 0 else -1
    return [(x, min(place.far - 0.2, max(closest, z))), (side * (place.half_width(along) + _SIDE), along)]

"""How a person stands and walks: from identity, pose and view to the parts that `raster` paints.

Body coordinates are metres: x to one side, y where the person faces, z up from the ground. A view turns the body by
`yaw` (0: facing the camera), looks down by `pitch` and shrinks what is far.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osnet.data.drawn.person import Person
from osnet.data.drawn.raster import SAMPLES, Array, Part
from osnet.data.drawn.wardrobe import Wardrobe, dress

Point = tuple[float, float, float]

_STEPS = (np.arange(SAMPLES, dtype=np.float32) + np.float32(0.5)) / np.float32(SAMPLES)


@dataclass(frozen=True)
class View:
    """Angles in radians, distance in metres; `aside` and `nearer` (metres) move the person in the picture."""

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


@dataclass(frozen=True)
class Pose:
    """Phase of the walk in radians, length of the stride (0 stands still, 1 walks fast), lean forward in radians, and
    what each arm does: ``swing``, ``phone``, ``pocket`` or ``carry``."""

    phase: float
    stride: float
    lean: float
    arms: tuple[str, str]


def draw_pose(person: Person, rng: random.Random) -> Pose:
    """A pose for one picture of `person`."""
    stride = rng.uniform(0.55, 1.0) if rng.random() < 0.8 else rng.uniform(0, 0.15)
    arms = [rng.choice(("swing", "swing", "swing", "swing", "pocket", "phone")) for _ in range(2)]
    if person.bag in ("handbag", "carrier", "suitcase"):
        arms[(person.bag_side + 1) // 2] = "carry"
    return Pose(rng.uniform(0, math.tau), stride, rng.uniform(0.0, 0.09), (arms[0], arms[1]))


def build(person: Person, pose: Pose, view: View) -> list[Part]:
    """The parts of `person` as `view` sees them."""
    return _Figure(person, pose, view).parts()


class _Figure:
    def __init__(self, person: Person, pose: Pose, view: View) -> None:
        self.person, self.pose, self.view = person, pose, view
        self.clothes: Wardrobe = dress(person)
        self.h, self.g = person.height, person.height * person.girth
        self.found: list[Part] = []

    def parts(self) -> list[Part]:
        self._legs()
        self._trunk()
        self._arms()
        self._head()
        self._bag()
        return self.found

    def _tilt(self, x: float, y: float, z: float) -> Point:
        """The upper body leans forward around the hips."""
        rise = z - 0.5 * self.h
        return x, y + rise * math.sin(self.pose.lean), 0.5 * self.h + rise * math.cos(self.pose.lean)

    # shapes

    def _limb(self, start: Point, end: Point, first: float, last: float, texture: Array) -> None:
        """A round limb between two joints with its radii there."""
        ax, ay, near_a, scale_a = self.view.project(start)
        bx, by, near_b, scale_b = self.view.project(end)
        first, last = first * scale_a, last * scale_b
        length = max(1e-3, math.hypot(bx - ax, by - ay))
        total = first + length + last
        place = _STEPS * np.float32(total) - np.float32(first)
        share = np.clip(place / np.float32(length), 0, 1)
        beyond = (np.minimum(place, 0) / np.float32(first)) + np.maximum(place - np.float32(length), 0) / np.float32(
            last
        )
        half = (np.float32(first) + np.float32(last - first) * share) * np.sqrt(1 - beyond * beyond)
        self.found.append(
            Part(
                x=ax, y=ay, ux=(bx - ax) / length, uy=(by - ay) / length, start=-first, length=total,
                half=half, bulge=half, axial=beyond, depth=np.float32(near_a) + np.float32(near_b - near_a) * share,
                texture=texture, row_start=0.0, row_length=length, turn=self.view.yaw / math.tau,
            )
        )  # fmt: skip

    def _trunk_part(
        self, top: Point, bottom: Point, wide: Sequence[float], deep: Sequence[float], texture: Array, *,
        boxy: bool = False,
    ) -> None:  # fmt: skip
        """A body of oval sections: half widths and half depths at even steps from top to bottom, ends rounded."""
        ax, ay, near_a, scale_a = self.view.project(top)
        bx, by, near_b, scale_b = self.view.project(bottom)
        length = max(1e-3, math.hypot(bx - ax, by - ay))
        knots = np.linspace(0, 1, len(wide))
        a = np.interp(_STEPS, knots, wide).astype(np.float32)
        b = np.interp(_STEPS, knots, deep).astype(np.float32)
        cos, sin = math.cos(self.view.yaw), math.sin(self.view.yaw)
        zoom = np.float32(scale_a) + np.float32(scale_b - scale_a) * _STEPS
        half = np.sqrt((a * np.float32(cos)) ** 2 + (b * np.float32(sin)) ** 2) * zoom
        bulge = np.sqrt((a * np.float32(sin)) ** 2 + (b * np.float32(cos)) ** 2) * zoom
        turn = math.atan2(max(deep) * sin, max(wide) * cos) / math.tau
        axial = np.clip(-(np.gradient(half) / np.float32(length / SAMPLES)), -0.9, 0.9).astype(np.float32)
        self.found.append(
            Part(
                x=ax, y=ay, ux=(bx - ax) / length, uy=(by - ay) / length, start=0.0, length=length,
                half=half.astype(np.float32), bulge=bulge.astype(np.float32), axial=axial,
                depth=np.float32(near_a) + np.float32(near_b - near_a) * _STEPS, texture=texture, row_start=0.0,
                row_length=length, turn=turn, bend=float(bulge.mean()) * math.sin(self.view.pitch), boxy=boxy,
            )
        )  # fmt: skip

    def _ball(self, centre: Point, a: float, b: float, c: float, texture: Array, *, boxy: bool = False) -> None:
        """An ellipsoid with half axes to the side, to the front and up."""
        x, y, near, scale = self.view.project(centre)
        cos, sin, pitch = math.cos(self.view.yaw), math.sin(self.view.yaw), self.view.pitch
        across = math.hypot(a * cos, b * sin)
        deep = math.hypot(a * sin, b * cos)
        tall = math.hypot(c * math.cos(pitch), deep * math.sin(pitch)) * scale
        thick = math.hypot(deep * math.cos(pitch), c * math.sin(pitch)) * scale
        beyond = _STEPS * 2 - 1
        power = beyond**4 if boxy else beyond
        round_ = np.sqrt(1 - power * power)
        self.found.append(
            Part(
                x=x, y=y, ux=0.0, uy=1.0, start=-tall, length=2 * tall,
                half=(np.float32(across * scale) * round_).astype(np.float32),
                bulge=(np.float32(thick) * round_).astype(np.float32), axial=power.astype(np.float32),
                depth=np.full(SAMPLES, near, np.float32), texture=texture, row_start=-tall, row_length=2 * tall,
                turn=math.atan2(b * sin, a * cos) / math.tau, bend=tall * 0.5 * math.sin(pitch), boxy=boxy,
            )
        )  # fmt: skip

    # the body

    def _legs(self) -> None:
        h, g, pose, person, clothes = self.h, self.g, self.pose, self.person, self.clothes
        loose = {"wide": 1.45, "leggings": 0.88, "shorts": 1.12}.get(person.lower, 1.05)
        reach = 0.44 * pose.stride * (0.55 if person.lower == "maxi" else 1)
        for side in (-1, 1):
            phase = pose.phase + (math.pi if side > 0 else 0)
            swing = reach * math.sin(phase)
            bend = 0.1 + 0.85 * pose.stride * max(0.0, math.cos(phase + 0.35)) ** 2
            hip = (side * 0.052 * g, 0.0, 0.5 * h)
            knee = (side * 0.054 * g, 0.235 * h * math.sin(swing + bend * 0.35), 0.5 * h - 0.235 * h * math.cos(swing))
            shank = swing - bend * 0.75
            ankle = (side * 0.05 * g, knee[1] + 0.225 * h * math.sin(shank), knee[2] - 0.225 * h * math.cos(shank))
            flare = 0.036 * g * loose if person.lower == "wide" else 0.027 * g * loose
            knee_size = 0.036 * g * (1.25 if person.lower == "wide" else 1.0)
            self._limb(
                hip,
                knee,
                0.056 * g * loose,
                0.043 * g * loose if person.lower == "shorts" else knee_size * loose,
                clothes.thigh,
            )
            bare = person.lower in ("shorts", "skirt")
            self._limb(knee, ankle, (0.034 if bare else 0.036 * loose) * g, 0.024 * g if bare else flare, clothes.shin)
            tip = math.sin(shank) * 0.35
            toe = (ankle[0] + side * 0.012 * h, ankle[1] + 0.085 * h, ankle[2] - 0.02 * h + 0.085 * h * min(0.0, tip))
            heel = (ankle[0], ankle[1] - 0.012 * h, ankle[2] - 0.016 * h)
            self._limb(heel, toe, 0.027 * h, 0.021 * h, clothes.shoe)

    def _trunk(self) -> None:
        h, g, person, clothes = self.h, self.g, self.person, self.clothes
        thick = {"coat": 1.12, "jacket": 1.08, "hoodie": 1.08, "vest": 1.1, "tank": 0.97}.get(person.upper, 1.0)
        heavy = max(0.0, person.girth - 1.0)
        slim = person.curve
        a = np.array([0.042, 0.105 - 0.012 * slim, 0.114 - 0.014 * slim, 0.107 - 0.012 * slim, 0.098 - 0.012 * slim,
                      0.092 - 0.014 * slim + 0.04 * heavy, 0.096 + 0.04 * heavy, 0.101 + 0.008 * slim,
                      0.092])  # fmt: skip
        b = np.array([0.04, 0.052, 0.064, 0.069 + 0.01 * slim, 0.066 + 0.006 * slim, 0.06 + 0.09 * heavy,
                      0.062 + 0.09 * heavy, 0.068 + 0.04 * heavy, 0.055])  # fmt: skip
        self._trunk_part(
            self._tilt(0, 0, 0.848 * h), (0, 0, 0.465 * h), list(a * g * thick), list(b * g * thick), clothes.trunk
        )
        spread = 0.20 * self.pose.stride
        if person.upper in ("coat", "dress") or person.lower in ("skirt", "maxi"):
            own = person.upper in ("coat", "dress")
            end = 0.1 if person.lower == "maxi" and not own else 0.31 if own else 0.27
            flare = 0.105 if person.upper == "coat" else 0.125
            wide = [0.093 * g * thick, 0.104 * g * thick, 0.108 * g, flare * g]
            deep = [0.066 * g * thick, 0.078 * g * thick, 0.09 * h + spread * 0.3, 0.095 * h + spread * 0.55]
            self._trunk_part((0, 0, 0.585 * h), (0, 0, end * h), wide, deep, clothes.skirt)
        if person.upper == "hoodie":
            self._ball(self._tilt(0, -0.055 * g, 0.835 * h), 0.075 * g, 0.045 * g, 0.04 * h, clothes.hood)
        if person.scarf != "none":
            self._ball(self._tilt(0, 0.008 * h, 0.848 * h), 0.064 * g, 0.062 * g, 0.03 * h, clothes.scarf)
            self._limb(
                self._tilt(0.03 * g, 0.075 * g * thick, 0.83 * h), self._tilt(0.035 * g, 0.085 * g * thick, 0.7 * h),
                0.02 * h, 0.024 * h, clothes.scarf,
            )  # fmt: skip

    def _arms(self) -> None:
        h, g, pose, person, clothes = self.h, self.g, self.pose, self.person, self.clothes
        puff = {"coat": 1.25, "jacket": 1.2, "hoodie": 1.2, "shirt": 1.06}.get(person.upper, 1.0)
        shoulder_x = (0.112 - 0.014 * person.curve) * g
        for side, does in zip((-1, 1), pose.arms):
            phase = pose.phase + (0 if side > 0 else math.pi)
            swing = 0.45 * pose.stride * math.sin(phase) if does == "swing" else 0.0
            elbow_bend = 0.25 + 0.3 * pose.stride
            out = 0.16
            if does == "carry":
                swing, elbow_bend, out = 0.05 * math.sin(phase), 0.08, 0.14
            elif does == "pocket":
                swing, elbow_bend, out = -0.25, 0.75, 0.3
            elif does == "phone":
                swing, elbow_bend, out = 0.25, 2.1, 0.12
            shoulder = self._tilt(side * shoulder_x, 0.0, 0.806 * h)
            elbow = (
                shoulder[0] + side * 0.165 * h * math.sin(out),
                shoulder[1] + 0.165 * h * math.sin(swing),
                shoulder[2] - 0.165 * h * math.cos(swing) * math.cos(out),
            )
            lift = swing + elbow_bend
            inward = -0.25 if does in ("phone", "pocket") else 0.04
            hand = (
                elbow[0] + side * 0.145 * h * math.sin(inward),
                elbow[1] + 0.145 * h * math.sin(lift),
                elbow[2] - 0.145 * h * math.cos(lift),
            )
            self._limb(shoulder, elbow, 0.034 * g * puff, 0.028 * g * puff, clothes.upper_arm)
            tip = hand if does == "pocket" else _beyond(elbow, hand, 1 / 3)
            self._limb(elbow, tip, 0.028 * g * puff, 0.019 * g * min(puff, 1.1), clothes.forearm)
            if does == "carry":
                self._carried((hand[0] + side * 0.02 * h, hand[1], hand[2] - 0.035 * h))

    def _head(self) -> None:
        h, person, clothes = self.h, self.person, self.clothes
        neck = 0.032 * h if person.curve > 0.5 else 0.037 * h
        self._limb(self._tilt(0, 0, 0.83 * h), self._tilt(0, 0.006 * h, 0.885 * h), neck * 1.1, neck, clothes.neck)
        x, y, z = self._tilt(0, 0.016 * h, 0.931 * h)
        self._ball((x, y, z), 0.047 * h, 0.057 * h, 0.069 * h, clothes.head)
        covered = person.headwear in ("beanie", "headscarf")
        hair = "none" if person.headwear == "headscarf" else person.hair
        if hair in ("bob", "long"):
            self._ball((x, y - 0.014 * h, z + 0.004 * h), 0.06 * h, 0.058 * h, 0.074 * h, clothes.hair)
            drop = 0.075 if hair == "bob" else 0.19
            self._limb(
                (x, y - 0.032 * h, z - 0.01 * h), (x, y - 0.052 * h, z - drop * h), 0.05 * h, 0.045 * h, clothes.hair
            )
        elif hair == "short" and not covered:
            self._ball((x, y - 0.01 * h, z + 0.014 * h), 0.051 * h, 0.056 * h, 0.062 * h, clothes.hair)
        elif hair == "afro" and not covered:
            self._ball((x, y - 0.022 * h, z + 0.02 * h), 0.085 * h, 0.075 * h, 0.082 * h, clothes.hair)
        elif hair in ("ponytail", "bun"):
            self._ball((x, y - 0.009 * h, z + 0.008 * h), 0.05 * h, 0.055 * h, 0.066 * h, clothes.hair)
            if hair == "bun":
                self._ball((x, y - 0.045 * h, z + 0.055 * h), 0.032 * h, 0.032 * h, 0.032 * h, clothes.hair)
            else:
                self._limb(
                    (x, y - 0.066 * h, z + 0.03 * h),
                    (x, y - 0.085 * h, z - 0.1 * h),
                    0.026 * h,
                    0.016 * h,
                    clothes.hair,
                )
        if person.headwear == "cap":
            self._ball((x, y - 0.004 * h, z + 0.034 * h), 0.054 * h, 0.062 * h, 0.044 * h, clothes.hat)
            self._ball((x, y + 0.072 * h, z + 0.018 * h), 0.04 * h, 0.034 * h, 0.008 * h, clothes.hat)
        elif person.headwear == "beanie":
            self._ball((x, y - 0.008 * h, z + 0.034 * h), 0.056 * h, 0.064 * h, 0.054 * h, clothes.hat)
        elif person.headwear == "brimmed":
            self._ball((x, y - 0.004 * h, z + 0.04 * h), 0.055 * h, 0.06 * h, 0.05 * h, clothes.hat)
            self._ball((x, y, z + 0.024 * h), 0.105 * h, 0.108 * h, 0.009 * h, clothes.hat)
        elif person.headwear == "headscarf":
            self._ball((x, y - 0.014 * h, z + 0.006 * h), 0.061 * h, 0.062 * h, 0.078 * h, clothes.hat)
            self._limb(
                (x, y - 0.01 * h, z - 0.05 * h), (x, y - 0.012 * h, z - 0.1 * h), 0.056 * h, 0.078 * h, clothes.hat
            )

    def _bag(self) -> None:
        h, g, person, clothes = self.h, self.g, self.person, self.clothes
        if person.bag == "backpack":
            x, y, z = self._tilt(0, -0.105 * g, 0.705 * h)
            self._ball((x, y, z), 0.085 * h, 0.058 * h, 0.105 * h, clothes.bag, boxy=True)
        elif person.bag == "messenger":
            side = person.bag_side
            self._ball((side * 0.115 * g, -0.02 * h, 0.5 * h), 0.035 * h, 0.085 * h, 0.062 * h, clothes.bag, boxy=True)

    def _carried(self, hand: Point) -> None:
        h, clothes, (x, y, z) = self.h, self.clothes, hand
        if self.person.bag == "suitcase":
            low = (x, y - 0.16 * h, 0.19 * h)
            self._limb((x, y - 0.01 * h, z), (x, low[1], 0.3 * h), 0.008 * h, 0.008 * h, clothes.strap)
            self._ball(low, 0.085 * h, 0.06 * h, 0.165 * h, clothes.bag, boxy=True)
            return
        drop, wide, tall = (0.11, 0.085, 0.06) if self.person.bag == "handbag" else (0.15, 0.07, 0.095)
        self._limb((x, y, z), (x, y, z - (drop - tall) * h), 0.012 * h, 0.02 * h, clothes.strap)
        self._ball((x, y, z - drop * h), 0.036 * h, wide * h, tall * h, clothes.bag, boxy=True)


def _beyond(start: Point, end: Point, share: float) -> Point:
    """The point past `end` by that share of the way."""
    x, y, z = (q + (q - p) * share for p, q in zip(start, end))
    return x, y, z

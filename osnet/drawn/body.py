"""How a person stands and walks: from an identity and a pose to the shapes of a body."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from osnet.drawn import wardrobe
from osnet.drawn.person import Person
from osnet.drawn.raster import Figure
from osnet.drawn.solids import Point, Solids, View


@dataclass(frozen=True)
class Pose:
    """How somebody walks.

    Attributes:
        phase: of the walk, in radians.
        stride: its length, 0 standing still to 1 walking fast.
        lean: forward, in radians.
        arms: what each arm does: ``swing``, ``phone``, ``pocket`` or ``carry``.
    """

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


def build(person: Person, pose: Pose, view: View) -> Figure:
    """The parts of `person` as `view` sees them."""
    return _Builder(person, pose, view).figure()


class _Builder:
    def __init__(self, person: Person, pose: Pose, view: View) -> None:
        self.person, self.pose = person, pose
        self.h, self.g = person.height, person.height * person.girth
        self.solids = Solids(view, wardrobe.dress(person))

    def figure(self) -> Figure:
        self._legs()
        self._trunk()
        self._arms()
        self._head()
        self._bag()
        return self.solids.figure()

    def _tilt(self, x: float, y: float, z: float) -> Point:
        """The upper body leans forward around the hips."""
        rise = z - 0.5 * self.h
        return x, y + rise * math.sin(self.pose.lean), 0.5 * self.h + rise * math.cos(self.pose.lean)

    def _legs(self) -> None:
        h, g, pose, person = self.h, self.g, self.pose, self.person
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
            wide, bare = person.lower == "wide", person.lower in ("shorts", "skirt")
            above_knee = 0.043 * g * loose if person.lower == "shorts" else 0.036 * g * (1.25 if wide else 1.0) * loose
            self.solids.limb(hip, knee, 0.056 * g * loose, above_knee, wardrobe.THIGH)
            below_knee = (0.034 if bare else 0.036 * loose) * g
            at_ankle = 0.024 * g if bare else (0.036 if wide else 0.027) * g * loose
            self.solids.limb(knee, ankle, below_knee, at_ankle, wardrobe.SHIN)
            tip = math.sin(shank) * 0.35
            toe = (ankle[0] + side * 0.012 * h, ankle[1] + 0.085 * h, ankle[2] - 0.02 * h + 0.085 * h * min(0.0, tip))
            heel = (ankle[0], ankle[1] - 0.012 * h, ankle[2] - 0.016 * h)
            self.solids.limb(heel, toe, 0.027 * h, 0.021 * h, wardrobe.SHOE)

    def _trunk(self) -> None:
        h, g, person = self.h, self.g, self.person
        thick = {"coat": 1.12, "jacket": 1.08, "hoodie": 1.08, "vest": 1.1, "tank": 0.97}.get(person.upper, 1.0)
        heavy = max(0.0, person.girth - 1.0)
        slim = person.curve
        a = np.array([0.042, 0.105 - 0.012 * slim, 0.114 - 0.014 * slim, 0.107 - 0.012 * slim, 0.098 - 0.012 * slim,
                      0.092 - 0.014 * slim + 0.04 * heavy, 0.096 + 0.04 * heavy, 0.101 + 0.008 * slim,
                      0.092])  # fmt: skip
        b = np.array([0.04, 0.052, 0.064, 0.069 + 0.01 * slim, 0.066 + 0.006 * slim, 0.06 + 0.09 * heavy,
                      0.062 + 0.09 * heavy, 0.068 + 0.04 * heavy, 0.055])  # fmt: skip
        wide, deep = list(a * g * thick), list(b * g * thick)
        self.solids.trunk(self._tilt(0, 0, 0.848 * h), (0, 0, 0.465 * h), wide, deep, wardrobe.TRUNK)
        spread = 0.20 * self.pose.stride
        coat_or_dress = person.upper in ("coat", "dress")
        if coat_or_dress or person.lower in ("skirt", "maxi"):
            end = 0.31 if coat_or_dress else 0.1 if person.lower == "maxi" else 0.27
            flare = 0.105 if person.upper == "coat" else 0.125
            wide = [0.093 * g * thick, 0.104 * g * thick, 0.108 * g, flare * g]
            deep = [0.066 * g * thick, 0.078 * g * thick, 0.09 * h + spread * 0.3, 0.095 * h + spread * 0.55]
            self.solids.trunk((0, 0, 0.585 * h), (0, 0, end * h), wide, deep, wardrobe.SKIRT)
        if person.upper == "hoodie":
            self.solids.ball(self._tilt(0, -0.055 * g, 0.835 * h), 0.075 * g, 0.045 * g, 0.04 * h, wardrobe.HOOD)
        if person.scarf != "none":
            self.solids.ball(self._tilt(0, 0.008 * h, 0.848 * h), 0.064 * g, 0.062 * g, 0.03 * h, wardrobe.SCARF)
            self.solids.limb(
                self._tilt(0.03 * g, 0.075 * g * thick, 0.83 * h), self._tilt(0.035 * g, 0.085 * g * thick, 0.7 * h),
                0.02 * h, 0.024 * h, wardrobe.SCARF,
            )  # fmt: skip

    def _arms(self) -> None:
        h, g, pose, person = self.h, self.g, self.pose, self.person
        puff = {"coat": 1.25, "jacket": 1.2, "hoodie": 1.2, "shirt": 1.06}.get(person.upper, 1.0)
        shoulder_x = (0.112 - 0.014 * person.curve) * g
        for side, does in zip((-1, 1), pose.arms):
            phase = pose.phase + (0 if side > 0 else math.pi)
            if does == "swing":
                swing, bend, out = 0.45 * pose.stride * math.sin(phase), 0.25 + 0.3 * pose.stride, 0.16
            elif does == "carry":
                swing, bend, out = 0.05 * math.sin(phase), 0.08, 0.14
            elif does == "pocket":
                swing, bend, out = -0.25, 0.75, 0.3
            else:
                swing, bend, out = 0.25, 2.1, 0.12
            shoulder = self._tilt(side * shoulder_x, 0.0, 0.793 * h)
            elbow = (
                shoulder[0] + side * 0.165 * h * math.sin(out),
                shoulder[1] + 0.165 * h * math.sin(swing),
                shoulder[2] - 0.165 * h * math.cos(swing) * math.cos(out),
            )
            lift = swing + bend
            inward = -0.25 if does in ("phone", "pocket") else 0.04
            hand = (
                elbow[0] + side * 0.145 * h * math.sin(inward),
                elbow[1] + 0.145 * h * math.sin(lift),
                elbow[2] - 0.145 * h * math.cos(lift),
            )
            self.solids.limb(shoulder, elbow, 0.034 * g * puff, 0.028 * g * puff, wardrobe.UPPER_ARM)
            tip = hand if does == "pocket" else _beyond(elbow, hand, 1 / 3)
            self.solids.limb(elbow, tip, 0.028 * g * puff, 0.019 * g * min(puff, 1.1), wardrobe.FOREARM)
            if does == "carry":
                self._carried((hand[0] + side * 0.02 * h, hand[1], hand[2] - 0.035 * h))

    def _head(self) -> None:
        h, person = self.h, self.person
        neck = 0.032 * h if person.curve > 0.5 else 0.037 * h
        low, high = self._tilt(0, 0, 0.83 * h), self._tilt(0, 0.006 * h, 0.885 * h)
        self.solids.limb(low, high, neck * 1.1, neck, wardrobe.NECK)
        x, y, z = self._tilt(0, 0.016 * h, 0.931 * h)

        def ball(front: float, up: float, a: float, b: float, c: float, texture: int) -> None:
            self.solids.ball((x, y + front * h, z + up * h), a * h, b * h, c * h, texture)

        def limb(start: tuple[float, float], end: tuple[float, float], first: float, last: float, texture: int) -> None:
            upper, lower = ((x, y + front * h, z + up * h) for front, up in (start, end))
            self.solids.limb(upper, lower, first * h, last * h, texture)

        ball(0, 0, 0.047, 0.057, 0.069, wardrobe.HEAD)
        covered = person.headwear in ("beanie", "headscarf")
        hair = "none" if person.headwear == "headscarf" else person.hair
        if hair in ("bob", "long"):
            ball(-0.014, 0.004, 0.06, 0.058, 0.074, wardrobe.HAIR)
            limb((-0.032, -0.01), (-0.052, -0.075 if hair == "bob" else -0.19), 0.05, 0.045, wardrobe.HAIR)
        elif hair == "short" and not covered:
            ball(-0.01, 0.014, 0.051, 0.056, 0.062, wardrobe.HAIR)
        elif hair == "afro" and not covered:
            ball(-0.022, 0.02, 0.085, 0.075, 0.082, wardrobe.HAIR)
        elif hair in ("ponytail", "bun"):
            ball(-0.009, 0.008, 0.05, 0.055, 0.066, wardrobe.HAIR)
            if hair == "bun":
                ball(-0.045, 0.055, 0.032, 0.032, 0.032, wardrobe.HAIR)
            else:
                limb((-0.066, 0.03), (-0.085, -0.1), 0.026, 0.016, wardrobe.HAIR)
        if person.headwear == "cap":
            ball(-0.004, 0.034, 0.054, 0.062, 0.044, wardrobe.HAT)
            ball(0.072, 0.018, 0.04, 0.034, 0.008, wardrobe.HAT)
        elif person.headwear == "beanie":
            ball(-0.008, 0.034, 0.056, 0.064, 0.054, wardrobe.HAT)
        elif person.headwear == "brimmed":
            ball(-0.004, 0.04, 0.055, 0.06, 0.05, wardrobe.HAT)
            ball(0, 0.024, 0.105, 0.108, 0.009, wardrobe.HAT)
        elif person.headwear == "headscarf":
            ball(-0.014, 0.006, 0.061, 0.062, 0.078, wardrobe.HAT)
            limb((-0.01, -0.05), (-0.012, -0.1), 0.056, 0.078, wardrobe.HAT)

    def _bag(self) -> None:
        h, g, person = self.h, self.g, self.person
        if person.bag == "backpack":
            back = self._tilt(0, -0.105 * g, 0.705 * h)
            self.solids.ball(back, 0.085 * h, 0.058 * h, 0.105 * h, wardrobe.BAG, boxy=True)
        elif person.bag == "messenger":
            hip = (person.bag_side * 0.115 * g, -0.02 * h, 0.5 * h)
            self.solids.ball(hip, 0.035 * h, 0.085 * h, 0.062 * h, wardrobe.BAG, boxy=True)

    def _carried(self, hand: Point) -> None:
        h, (x, y, z) = self.h, hand
        if self.person.bag == "suitcase":
            low = (x, y - 0.16 * h, 0.19 * h)
            self.solids.limb((x, y - 0.01 * h, z), (x, low[1], 0.3 * h), 0.008 * h, 0.008 * h, wardrobe.STRAP)
            self.solids.ball(low, 0.085 * h, 0.06 * h, 0.165 * h, wardrobe.BAG, boxy=True)
            return
        drop, wide, tall = (0.11, 0.085, 0.06) if self.person.bag == "handbag" else (0.15, 0.07, 0.095)
        self.solids.limb((x, y, z), (x, y, z - (drop - tall) * h), 0.012 * h, 0.02 * h, wardrobe.STRAP)
        self.solids.ball((x, y, z - drop * h), 0.036 * h, wide * h, tall * h, wardrobe.BAG, boxy=True)


def _beyond(start: Point, end: Point, share: float) -> Point:
    """The point past `end` by that share of the way."""
    x, y, z = (q + (q - p) * share for p, q in zip(start, end))
    return x, y, z

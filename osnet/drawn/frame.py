"""One frame of a video: the place, the shadows, then the people from far to near."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osnet.drawn.body import Pose, build
from osnet.drawn.camera import Camera
from osnet.drawn.person import Person
from osnet.drawn.place import Place
from osnet.drawn.raster import Array, Canvas
from osnet.drawn.scene import FOOT, SPAN, TALL, backdrop
from osnet.drawn.solids import View

FINENESS = 2
"""Rows and columns drawn for one of the frame; 1 for people of more than `_LARGE` pixels per metre."""

_LARGE = 130

_MIDDLE = 0.9
"""Metres above the ground of the point that `View` projects to the origin."""


@dataclass(frozen=True)
class Walker:
    """Somebody in front of a camera: where on the ground (metres), where to (0: towards the camera), and how."""

    number: int
    person: Person
    x: float
    z: float
    heading: float
    pose: Pose


@dataclass(frozen=True)
class Seen:
    """A walker's whole box in pixels of the frame, which it may leave, and the fraction of the person that is seen."""

    number: int
    left: int
    top: int
    width: int
    height: int
    visibility: float


@dataclass(frozen=True)
class _Cutout:
    """A drawn person: colour times alpha (3, h, w), alpha (h, w), and the corner in pixels of the frame."""

    colour: Array
    alpha: Array
    left: int
    top: int


def draw_frame(seed: int, camera: Camera, place: Place, walkers: list[Walker]) -> tuple[Image.Image, list[Seen]]:
    """The scene as RGB before lens and sensor, and who is in it, in the order of `walkers`."""
    colour = ground(seed, camera, place).copy()
    owner = np.full((place.height, place.width), -1, np.int32)
    ordered = sorted(walkers, key=lambda walker: (-walker.z, walker.number))
    views = [_view(place, walker) for walker in ordered]
    for walker, view in zip(ordered, views):
        _shade(colour, place, walker, view)
    cutouts = {}
    for order, (walker, view) in enumerate(zip(ordered, views)):
        cutout = _cut_out(camera, place, walker, view)
        piece, inside = _overlap(cutout, place)
        if piece is None:
            continue
        alpha = cutout.alpha[inside]
        colour[(slice(None), *piece)] *= 1 - alpha
        colour[(slice(None), *piece)] += cutout.colour[(slice(None), *inside)]
        owner[piece][alpha >= 0.5] = order
        cutouts[walker.number] = (order, cutout)
    counts = np.bincount(owner.ravel() + 1, minlength=len(ordered) + 1)[1:]
    seen = [
        _seen(walker, cutouts[walker.number][1], int(counts[cutouts[walker.number][0]]))
        for walker in walkers
        if walker.number in cutouts
    ]
    limited = np.minimum(np.maximum(colour, 0), 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(limited.transpose(1, 2, 0))), seen


@lru_cache(maxsize=4)
def ground(seed: int, camera: Camera, place: Place) -> Array:
    """The place without people, (3, height, width): the camera's wall above the row where it stands, and the ground."""
    back = backdrop(seed, camera)
    foot = min(place.height - 1, max(1, round(place.foot)))
    grown = max(place.width / SPAN, foot / FOOT)
    wide, high = place.width / grown, foot / grown
    left = (SPAN - wide) / 2
    wall = back.resize((place.width, foot), Image.Resampling.BICUBIC, box=(left, FOOT - high, left + wide, FOOT))
    size = (place.width, place.height - foot)
    floor = back.resize(size, Image.Resampling.BICUBIC, box=(left, FOOT, left + wide, TALL))
    whole = np.concatenate([np.asarray(wall, np.float32), np.asarray(floor, np.float32)])
    return np.ascontiguousarray(whole.transpose(2, 0, 1))


def _view(place: Place, walker: Walker) -> View:
    away = math.sqrt(walker.x * walker.x + walker.z * walker.z)
    drop = place.up - _MIDDLE
    return View(
        yaw=walker.heading + math.atan2(walker.x, walker.z),
        pitch=math.atan2(drop, away),
        distance=math.sqrt(away * away + drop * drop),
    )


def _shade(colour: Array, place: Place, walker: Walker, view: View) -> None:
    """Darken the ground around the feet."""
    u, v, scale = place.pixel(walker.x, walker.z, _MIDDLE)
    right, down, _, _ = view.project((0.0, 0.0, 0.0))
    u, v = u + right * scale, v + down * scale
    half, flat = 0.36 * scale, max(1.5, 0.36 * scale * math.sin(view.pitch))
    x0, x1 = max(0, math.floor(u - half)), min(place.width, math.ceil(u + half))
    y0, y1 = max(0, math.floor(v - flat)), min(place.height, math.ceil(v + flat))
    if x0 >= x1 or y0 >= y1:
        return
    x, y = (np.arange(x0, x1) + 0.5 - u) / half, (np.arange(y0, y1) + 0.5 - v) / flat
    inside = np.maximum(1 - (x * x)[None, :] - (y * y)[:, None], 0)
    colour[:, y0:y1, x0:x1] *= (1 - np.minimum(0.9 * inside, 0.55)).astype(np.float32)


def _cut_out(camera: Camera, place: Place, walker: Walker, view: View) -> _Cutout:
    u, v, scale = place.pixel(walker.x, walker.z, _MIDDLE)
    figure = build(walker.person, walker.pose, view)
    left, top, right, bottom = figure.extent
    x0, x1 = math.floor(u + left * scale) - 1, math.ceil(u + right * scale) + 1
    y0, y1 = math.floor(v + top * scale) - 1, math.ceil(v + bottom * scale) + 1
    wide, high = x1 - x0, y1 - y0
    fineness = 1 if scale > _LARGE else FINENESS
    canvas = Canvas(np.zeros((high * fineness, wide * fineness, 3), np.uint8))
    canvas.paint(figure, camera.light, scale * fineness, (x0 - u) / scale, (y0 - v) / scale)
    limited = np.minimum(np.maximum(canvas.colour, 0), 255)
    hit = (canvas.nearest > -1e8).astype(np.float32)
    fine = np.concatenate([limited, hit[None]]).reshape(4, high, fineness, wide, fineness)
    layers = fine.sum(axis=(2, 4)) / np.float32(fineness * fineness)
    return _Cutout(layers[:3], layers[3], x0, y0)


def _overlap(cutout: _Cutout, place: Place) -> tuple[tuple[slice, slice] | None, tuple[slice, slice]]:
    """Rows and columns of the frame that `cutout` covers, and the same of `cutout`; None if it is out of sight."""
    high, wide = cutout.alpha.shape
    x0, x1 = max(0, cutout.left), min(place.width, cutout.left + wide)
    y0, y1 = max(0, cutout.top), min(place.height, cutout.top + high)
    inside = (slice(y0 - cutout.top, y1 - cutout.top), slice(x0 - cutout.left, x1 - cutout.left))
    return ((slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None), inside


def _seen(walker: Walker, cutout: _Cutout, visible: int) -> Seen:
    mask: NDArray[np.bool_] = cutout.alpha >= 0.5
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return Seen(
        walker.number,
        cutout.left + int(columns[0]),
        cutout.top + int(rows[0]),
        int(columns[-1] - columns[0]) + 1,
        int(rows[-1] - rows[0]) + 1,
        visible / int(mask.sum()),
    )

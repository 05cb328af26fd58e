"""One crop, from the seed, a person, a camera and the number of the picture."""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from osnet.drawn.body import build, draw_pose
from osnet.drawn.camera import HEIGHT, Camera, expose, place_camera
from osnet.drawn.person import Person, draw_person
from osnet.drawn.raster import Array, Canvas, Figure
from osnet.drawn.scene import FOOT, SPAN, TALL, backdrop, place_object
from osnet.drawn.solids import View
from osnet.drawn.streams import stream

FINENESS = 1.5
"""Rows and columns drawn for one that the camera resolves."""

OBJECT_ROWS = 192
"""Rows of the picture on which obstacles are drawn; their sizes are given for it."""

PASSERS_BY = 97
"""Number of people who walk through other people's boxes; none of them is an identity of the data set."""

Box = tuple[float, float, float, float]


def shoot(seed: int, world: str, person: Person, camera: int, picture: object, *, bad_box: bool = False) -> Image.Image:
    """Take picture number `picture` of `person` with `camera` (1, 2, ...): RGB, 64 wide and 128 high.

    With `bad_box` the detector missed: the box holds at most a part of the person.
    """
    rng = stream("shot", seed, world, person.key, camera, picture)
    seen_by = place_camera(seed, world, camera)
    # A person crosses a camera's view in one direction, mostly the usual one.
    way = stream("course", seed, world, person.key, camera)
    course = seen_by.course + (math.pi if way.random() < 0.25 else 0) + way.gauss(0, seen_by.spread)
    view = View(
        yaw=course + rng.gauss(0, 0.22),
        pitch=max(0.0, seen_by.pitch + rng.gauss(0, 0.03)),
        distance=seen_by.distance * rng.uniform(0.85, 1.2),
    )
    figure = build(person, draw_pose(person, rng), view)
    box = _box(figure, rng, bad_box)
    others = _company(seed, seen_by, view, rng)
    rows = min(HEIGHT, max(40, round(seen_by.sharpness * rng.uniform(0.8, 1.1))))
    scene = _paint(seed, seen_by, figure, others, box, round(FINENESS * rows), rng)
    if rng.random() < seen_by.hidden:
        scene = scene.resize((round(scene.width * OBJECT_ROWS / scene.height), OBJECT_ROWS), Image.Resampling.BILINEAR)
        place_object(ImageDraw.Draw(scene), scene.width, OBJECT_ROWS, seen_by, rng)
    return expose(scene, seen_by, rows, rng)


def _box(figure: Figure, rng: random.Random, bad: bool) -> Box:
    """Left, top, right, bottom in metres, as a good detector would usually set it."""
    left, top, right, bottom = figure.extent
    tall, middle = bottom - top, (left + right) / 2
    if bad:
        cut = rng.uniform(0.35, 0.6)
        top, bottom = (top, top + tall * cut) if rng.random() < 0.5 else (bottom - tall * cut, bottom)
        middle += rng.choice((-1, 1)) * rng.uniform(0.15, 0.3) * tall
        tall *= cut
    kind = rng.random()
    above, below = rng.uniform(0.01, 0.06) * tall, rng.uniform(0.01, 0.06) * tall
    if kind < 0.07:  # the feet, and perhaps the knees, are cut off
        below = -rng.uniform(0.05, 0.22) * tall
    elif kind < 0.1:  # the head is cut
        above = -rng.uniform(0.03, 0.09) * tall
    elif kind < 0.2:  # too loose
        above, below = rng.uniform(0.06, 0.2) * tall, rng.uniform(0.06, 0.2) * tall
    top, bottom = top - above, bottom + below
    wide = (bottom - top) * rng.uniform(0.42, 0.56)
    wide = max(wide, min((right - left) * rng.uniform(0.85, 1.08), (bottom - top) * 0.62))
    middle += rng.gauss(0, 0.035) * wide * (3.5 if rng.random() < 0.1 else 1)
    return middle - wide / 2, top, middle + wide / 2, bottom


def _company(seed: int, camera: Camera, view: View, rng: random.Random) -> list[Figure]:
    """Somebody else beside, behind or in front."""
    if rng.random() >= camera.company:
        return []
    person = _passer_by(seed, rng.randrange(PASSERS_BY))
    before = rng.random() < 0.4
    side = rng.choice((-1, 1)) * (rng.uniform(0.42, 0.6) if before else rng.uniform(0.25, 0.6))
    other = View(
        yaw=view.yaw + rng.choice((0, math.pi)) + rng.gauss(0, 0.3),
        pitch=view.pitch,
        distance=view.distance,
        aside=side,
        nearer=rng.uniform(0.3, 0.6) if before else -rng.uniform(0.4, 1.8),
    )
    return [build(person, draw_pose(person, rng), other)]


@lru_cache(maxsize=PASSERS_BY)
def _passer_by(seed: int, number: int) -> Person:
    return draw_person(f"passer-by/{seed}/{number}", stream("passer-by", seed, number))


def _paint(
    seed: int, camera: Camera, figure: Figure, others: list[Figure], box: Box, rows: int, rng: random.Random
) -> Image.Image:
    left, top, right, bottom = box
    scale = rows / (bottom - top)
    wide = round((right - left) * scale)
    ground = _ground(seed, camera, wide, rows, rng)
    canvas = Canvas(np.asarray(ground, np.uint8))
    for body in (*others, figure):
        canvas.darken(_shadow(body, box, scale, ground.size, rng))
    for body in (figure, *others):
        canvas.paint(body, camera.light, scale, left, top)
    return Image.fromarray(canvas.image())


def _ground(seed: int, camera: Camera, wide: int, rows: int, rng: random.Random) -> Image.Image:
    """A piece of the camera's wide picture, as large as the box."""
    back = backdrop(seed, camera)
    zoom = rng.uniform(0.8, 1.25)
    piece_w, piece_h = HEIGHT / rows * wide * zoom, HEIGHT * zoom
    # The steeper the camera looks down, the higher the wall's foot stands in the box.
    foot = min(0.9, max(0.06, 0.86 - 1.25 * camera.pitch + rng.gauss(0, 0.07)))
    top = min(max(0.0, FOOT - foot * piece_h), TALL - piece_h)
    left = rng.uniform(0, SPAN - piece_w)
    piece = back.resize((wide, rows), Image.Resampling.BILINEAR, box=(left, top, left + piece_w, top + piece_h))
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece


def _shadow(figure: Figure, box: Box, scale: float, size: tuple[int, int], rng: random.Random) -> Array:
    """Fraction of the light that is lost around the feet, (rows, columns), for a picture of `size`."""
    left, _, right, bottom = figure.extent
    half, flat = 0.3 * scale, 0.075 * scale
    x = (np.arange(size[0]) - ((left + right) / 2 - box[0]) * scale) / half + rng.uniform(-0.2, 0.2)
    y = (np.arange(size[1]) - (bottom - box[1]) * scale) / flat + 0.5
    inside = np.maximum(1 - (x * x)[None, :] - (y * y)[:, None], 0)
    shadow: Array = np.minimum(inside, 0.6).astype(np.float32)
    return shadow

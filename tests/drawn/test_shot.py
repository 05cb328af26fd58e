"""One crop: who is on it decides more about it than chance, and garments are seen as the view has them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from osnet.drawn.body import Pose, build
from osnet.drawn.camera import HEIGHT, SCENES, WIDTH, WORLDS, place_camera
from osnet.drawn.person import BAGS, HAIRS, HEADWEAR, LOWERS, PATTERNS, SHOES, UPPERS, Person, draw_crowd
from osnet.drawn.raster import Canvas, Light
from osnet.drawn.scene import backdrop
from osnet.drawn.shot import shoot
from osnet.drawn.solids import View

FLAT = Light(0.0, 0.0, 1.0, 1.0, 0.0)
STANDING = Pose(0.0, 0.0, 0.0, ("swing", "swing"))


def _paint(person: Person, degrees: float, pose: Pose = STANDING) -> np.ndarray:
    figure = build(person, pose, View(math.radians(degrees), 0.1, 30.0))
    canvas = Canvas(np.zeros((200, 140, 3), np.uint8))
    canvas.paint(figure, FLAT, 100.0, -0.7, -1.05)
    return canvas.image()


def _share(image: np.ndarray, colour: str) -> float:
    """Share of the person's pixels in which the primary of that name stands out."""
    pixels = image.reshape(-1, 3).astype(int)
    pixels = pixels[pixels.sum(1) > 0]
    channel = {"red": 0, "green": 1, "blue": 2}[colour]
    others = np.delete(pixels, channel, 1).max(1)
    return float((pixels[:, channel] > 1.5 * others).mean())


@pytest.fixture
def plain() -> Person:
    return dataclasses.replace(
        draw_crowd(0, 1)[0], upper="shirt", upper_colour="grey", pattern="plain", lower="trousers",
        lower_colour="black", lower_pattern="plain", bag="none", headwear="none", hair="short", hair_colour="black",
        scarf="none", skin=0, shoes="low", shoe_colour="black", accent_colour="white", beard=False, glasses=False,
    )  # fmt: skip


def test_a_backpack_is_seen_from_behind(plain: Person) -> None:
    carrying = dataclasses.replace(plain, bag="backpack", bag_colour="red")
    front, side, back = (_share(_paint(carrying, degrees), "red") for degrees in (0, 90, 180))
    assert back > 0.1
    assert back > 2.5 * front
    assert side > front * 0.8
    assert _share(_paint(plain, 180), "red") < 0.02


def test_its_straps_are_seen_in_front(plain: Person) -> None:
    def red_on_the_breast(person: Person) -> float:
        return _share(_paint(person, 0)[50:75, 50:90], "red")

    assert red_on_the_breast(dataclasses.replace(plain, bag="backpack", bag_colour="red")) > 0.15
    assert red_on_the_breast(plain) == 0


def test_an_open_jacket_shows_what_is_under_it_in_front_only(plain: Person) -> None:
    wearing = dataclasses.replace(plain, upper="jacket", inner_colour="red")
    assert _share(_paint(wearing, 0), "red") > 0.04
    assert _share(_paint(wearing, 180), "red") < 0.02


def test_a_logo_is_in_front_only(plain: Person) -> None:
    wearing = dataclasses.replace(plain, pattern="logo", accent_colour="red")
    assert _share(_paint(wearing, 0), "red") > _share(_paint(wearing, 180), "red") + 0.01


def test_the_back_of_the_head_is_hair(plain: Person) -> None:
    def skin_on_head(degrees: float) -> int:
        head = _paint(plain, degrees)[:34].astype(int)  # above the neck
        return int(((head[..., 0] > 150) & (head[..., 0] > head[..., 2] + 15)).sum())

    assert skin_on_head(0) > 2 * skin_on_head(180)


@pytest.mark.parametrize(
    ("change", "floor"),
    [
        ({"upper_colour": "red"}, 0.2),
        ({"lower_colour": "red"}, 0.2),
        ({"headwear": "beanie", "headwear_colour": "red"}, 0.02),
        ({"shoes": "boots", "shoe_colour": "red"}, 0.03),
        ({"upper": "coat", "upper_colour": "red"}, 0.35),
        ({"scarf": "red"}, 0.005),
    ],
)
def test_what_tells_people_apart_is_seen_from_every_side(plain: Person, change: dict, floor: float) -> None:
    wearing = dataclasses.replace(plain, **change)
    for degrees in range(0, 360, 45):
        assert _share(_paint(wearing, degrees), "red") > floor, degrees


def test_every_garment_hair_and_bag_can_be_drawn(plain: Person) -> None:
    blank = _paint(plain, 30)
    walking = Pose(0.8, 1.0, 0.08, ("carry", "phone"))
    for attribute, kinds in (
        ("upper", UPPERS), ("pattern", PATTERNS), ("lower", LOWERS), ("hair", HAIRS), ("headwear", HEADWEAR),
        ("bag", BAGS), ("shoes", SHOES),
    ):  # fmt: skip
        for kind in kinds:
            other = dataclasses.replace(plain, **{attribute: kind}, headwear_colour="yellow", bag_side=-1)
            for degrees in (30, 210):
                image = _paint(other, degrees, walking)
                assert 0.05 < (image.sum(-1) > 0).mean() < 0.6, (attribute, kind)
            assert kind == getattr(plain, attribute) or (_paint(other, 30, walking) != blank).any()


@pytest.mark.parametrize("world", WORLDS)
def test_every_scene_of_a_world_is_used_and_differs(world: str) -> None:
    cameras = [place_camera(5, world, number) for number in range(1, 7)]
    assert sorted(camera.scene for camera in cameras) == sorted(SCENES[world])
    pictures = {backdrop(5, camera).tobytes() for camera in cameras}
    assert len(pictures) == 6


def test_the_worlds_share_no_scene() -> None:
    assert not set(SCENES["street"]) & set(SCENES["indoor"])


def test_a_crop_depends_on_all_of_its_key_and_on_nothing_else() -> None:
    one, other = draw_crowd(9, 2)
    first = shoot(9, "street", one, 1, 0)
    assert first.size == (WIDTH, HEIGHT)
    assert first.mode == "RGB"
    variants = [
        shoot(9, "street", one, 1, 1), shoot(9, "street", one, 2, 0), shoot(9, "indoor", one, 1, 0),
        shoot(9, "street", other, 1, 0), shoot(8, "street", one, 1, 0), shoot(9, "street", one, 1, 0, bad_box=True),
    ]  # fmt: skip
    assert len({image.tobytes() for image in [first, *variants]}) == 7
    assert shoot(9, "street", one, 1, 0).tobytes() == first.tobytes()

"""Where people walk: one wide picture behind each camera, and the things that stand in front of them."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from osnet.drawn.camera import Camera
from osnet.drawn.streams import jitter, noise_stream, stream, weighted

Colour = tuple[int, int, int]

SPAN, TALL = 720, 288
"""Size of the wide picture in pixels of a crop."""

FOOT = 150
"""Row in which its wall meets its ground."""

_GREYS = ((96, 96, 100), (128, 126, 122), (150, 148, 146), (112, 106, 100))
_WALLS = ((168, 150, 128), (186, 180, 170), (142, 96, 76), (120, 118, 120), (204, 196, 176), (98, 108, 122))
_SIGNS = ((190, 40, 46), (30, 92, 160), (236, 196, 60), (40, 130, 80), (230, 230, 226), (120, 50, 120), (30, 30, 34))


@lru_cache(maxsize=64)
def backdrop(seed: int, camera: Camera) -> Image.Image:
    """The wide picture behind `camera`, (TALL, SPAN), of which each crop sees a piece."""
    rng = stream("backdrop", seed, camera.world, camera.number)
    image = Image.new("RGB", (SPAN, TALL), jitter(rng, rng.choice(_WALLS), 14))
    draw = ImageDraw.Draw(image)
    _GROUNDS[camera.scene](draw, rng)
    _BACKS[camera.scene](draw, rng)
    grain = noise_stream(rng)
    for step, depth in ((36, 0.14), (9, 0.1), (1, 0.05)):
        waves = grain.random_sample((TALL // step + 1, SPAN // step + 1)).astype(np.float32)
        grown = np.asarray(Image.fromarray(waves).resize((SPAN, TALL), Image.Resampling.BILINEAR), np.float32)
        pixels = np.asarray(image, np.float32) * (1 + np.float32(depth) * (grown * 2 - 1))[..., None]
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.1)))


def _shaded(colour: Colour, factor: float) -> Colour:
    """`colour` made lighter (above 1) or darker."""
    red, green, blue = (min(255, int(c * factor)) for c in colour)
    return red, green, blue


def _flat(draw: ImageDraw.ImageDraw, colour: Colour) -> None:
    """Ground that grows a little darker towards the wall."""
    for y in range(FOOT, TALL):
        draw.line((0, y, SPAN, y), fill=_shaded(colour, 0.82 + 0.25 * (y - FOOT) / (TALL - FOOT)))


def _joints(draw: ImageDraw.ImageDraw, colour: Colour, step: float, growth: float, across: int, slant: float) -> None:
    """The joints of tiles: rows grow by `growth` towards the camera, columns are `across` wide at the wall."""
    y = float(FOOT)
    while y < TALL:
        draw.line((0, y, SPAN, y), fill=colour)
        y, step = y + step, step * growth
    for foot in range(-SPAN, 2 * SPAN, across):
        draw.line((foot, FOOT, SPAN / 2 + (foot - SPAN / 2) * slant, TALL), fill=colour)


def _asphalt(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _flat(draw, jitter(rng, rng.choice(_GREYS), 16))
    y = FOOT + rng.randint(20, 90)
    for x in range(rng.randint(-60, 0), SPAN, 120):
        draw.polygon([(x, y), (x + 70, y), (x + 62, y + 7), (x - 10, y + 7)], fill=(206, 204, 196))
    draw.rectangle((0, FOOT, SPAN, FOOT + 6), fill=(166, 162, 154))


def _stripes(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _flat(draw, jitter(rng, (84, 84, 88), 14))
    for x in range(-40, SPAN, 64):
        draw.polygon([(x, FOOT + 24), (x + 30, FOOT + 24), (x + 18, TALL), (x - 22, TALL)], fill=(214, 212, 204))


def _paving(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    base = jitter(rng, rng.choice((*_GREYS, (170, 150, 126), (176, 170, 162))), 14)
    _flat(draw, base)
    _joints(draw, _shaded(base, 0.78), 5.0, 1.18, 26, 1.9)


def _grass(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _flat(draw, jitter(rng, (96, 122, 62), 14))
    for _ in range(500):
        x, y = rng.randrange(SPAN), rng.randrange(FOOT, TALL)
        draw.line((x, y, x + rng.randint(-2, 2), y - 4), fill=jitter(rng, (84, 116, 56), 22))
    draw.polygon(
        [(0, FOOT + 40), (SPAN, FOOT + 30), (SPAN, FOOT + 96), (0, FOOT + 120)], fill=jitter(rng, (176, 160, 132), 12)
    )


def _shiny(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    base = jitter(rng, rng.choice(((200, 194, 184), (172, 174, 178), (150, 140, 128), (112, 114, 120))), 10)
    _flat(draw, base)
    for x in range(rng.randint(0, 40), SPAN, rng.randint(50, 90)):
        for row in range(FOOT, TALL):  # lamps mirrored in the floor
            glow = 0.16 * (1 - (row - FOOT) / (TALL - FOOT))
            draw.line((x, row, x + 14, row), fill=tuple(min(255, int(c + (255 - c) * glow * 2)) for c in base))
    _joints(draw, _shaded(base, 0.85), 7.0, 1.25, 38, 2.2)


def _carpet(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _flat(draw, jitter(rng, rng.choice(((92, 62, 66), (70, 82, 104), (104, 100, 92), (74, 92, 80))), 12))
    for x in range(0, SPAN, 22):
        for y in range(FOOT + 6, TALL, 22):
            draw.rectangle((x, y, x + 3, y + 3), fill=(146, 132, 110))


def _edge(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _flat(draw, jitter(rng, (142, 138, 132), 12))
    draw.rectangle((0, FOOT + 8, SPAN, FOOT + 20), fill=(214, 184, 62))
    for x in range(0, SPAN, 5):
        draw.line((x, FOOT + 26, x, FOOT + 38), fill=(112, 108, 102))


def _facade(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x = 0
    while x < SPAN:
        wide, wall = rng.randint(90, 200), jitter(rng, rng.choice(_WALLS), 18)
        draw.rectangle((x, 0, x + wide, FOOT), fill=wall)
        draw.rectangle((x, FOOT - 16, x + wide, FOOT), fill=_shaded(wall, 0.72))
        for wx in range(x + 12, x + wide - 24, 38):
            for wy in (8, 66):
                glass = jitter(rng, (74, 88, 104), 22)
                draw.rectangle((wx, wy, wx + 20, wy + 38), fill=glass, outline=(214, 210, 202))
                draw.line((wx + 10, wy, wx + 10, wy + 38), fill=(208, 204, 196))
                draw.polygon(
                    [(wx + 2, wy + 2), (wx + 12, wy + 2), (wx + 2, wy + 20)], fill=jitter(rng, (134, 150, 166), 12)
                )
        x += wide


def _shops(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x = 0
    while x < SPAN:
        wide, sign = rng.randint(80, 160), rng.choice(_SIGNS)
        draw.rectangle((x, 0, x + wide, FOOT), fill=jitter(rng, (84, 80, 78), 22))
        draw.rectangle((x, 12, x + wide, 40), fill=sign)
        for word in range(x + 10, x + wide - 24, 22):
            draw.rectangle(
                (word, 21, word + rng.randint(9, 17), 31), fill=(238, 236, 228) if sum(sign) < 500 else (40, 40, 44)
            )
        draw.rectangle((x + 6, 46, x + wide - 6, FOOT - 12), fill=jitter(rng, (188, 172, 138), 22))
        for shelf in (80, 104, 130):
            draw.line((x + 8, shelf, x + wide - 8, shelf), fill=(112, 96, 74))
            item = x + 12
            while item < x + wide - 14:
                size = rng.randint(4, 9)
                draw.rectangle(
                    (item, shelf - rng.randint(7, 16), item + size, shelf - 1), fill=jitter(rng, rng.choice(_SIGNS), 30)
                )
                item += size + rng.randint(2, 7)
        for bar in range(x + 6, x + wide, 46):
            draw.line((bar, 46, bar, FOOT - 12), fill=(52, 52, 56), width=3)
        x += wide


def _park(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    draw.rectangle((0, 0, SPAN, FOOT), fill=(176, 192, 204))
    for _ in range(1300):
        x, y, r = rng.randrange(SPAN), rng.randint(0, FOOT - 14), rng.randint(4, 13)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=jitter(rng, (62, 92, 48), 26))
    for x in range(rng.randint(0, 60), SPAN, rng.randint(80, 120)):
        draw.polygon([(x, 0), (x + 13, 0), (x + 16, FOOT + 6), (x - 3, FOOT + 6)], fill=jitter(rng, (84, 66, 50), 12))
        draw.line((x + 3, 0, x + 2, FOOT), fill=(112, 92, 74), width=2)


def _bricks(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    base = rng.choice(((146, 84, 66), (158, 120, 92), (122, 116, 112)))
    draw.rectangle((0, 0, SPAN, FOOT), fill=_shaded(base, 0.8))
    for row, y in enumerate(range(0, FOOT, 7)):
        for x in range(-(row % 2) * 8, SPAN, 16):
            draw.rectangle((x, y, x + 14, y + 5), fill=jitter(rng, base, 14))
    for x in range(rng.randint(20, 90), SPAN, rng.randint(150, 230)):
        draw.rectangle(
            (x, 34, x + 46, FOOT), fill=jitter(rng, rng.choice(((70, 84, 76), (96, 60, 44), (60, 66, 84))), 12)
        )
        draw.ellipse((x + 36, 92, x + 41, 97), fill=(206, 190, 120))
        poster = x + 74
        draw.rectangle((poster, 40, poster + 32, 86), fill=rng.choice(_SIGNS))
        draw.rectangle((poster + 6, 50, poster + 26, 60), fill=(236, 232, 222))


def _parking(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    draw.rectangle((0, 0, SPAN, FOOT), fill=jitter(rng, (156, 160, 164), 12))
    for x in range(0, SPAN, 30):
        draw.rectangle((x, 8, x + 3, 80), fill=(118, 122, 126))
    x = rng.randint(-60, 0)
    while x < SPAN:
        wide = rng.randint(110, 150)
        paint = jitter(
            rng, rng.choice(((196, 198, 200), (44, 46, 52), (150, 36, 40), (52, 74, 120), (120, 122, 126))), 10
        )
        draw.polygon([(x + 22, 78), (x + wide - 34, 78), (x + wide - 14, 104), (x + 8, 104)], fill=(46, 54, 64))
        draw.rounded_rectangle((x, 102, x + wide, 142), 12, fill=paint)
        draw.line((x, 122, x + wide, 122), fill=_shaded(paint, 0.75), width=2)
        for wheel in (x + 26, x + wide - 28):
            draw.ellipse((wheel - 14, 126, wheel + 14, 154), fill=(24, 24, 26))
            draw.ellipse((wheel - 7, 133, wheel + 7, 147), fill=(150, 152, 156))
        draw.rectangle((x + wide - 8, 112, x + wide, 119), fill=(206, 60, 44))
        x += wide + rng.randint(14, 44)


def _crossing(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _facade(draw, rng)
    for x in range(rng.randint(30, 120), SPAN, rng.randint(140, 220)):
        draw.rectangle((x, 0, x + 5, FOOT + 10), fill=(70, 74, 78))
        draw.rectangle((x - 6, 24, x + 11, 62), fill=(36, 38, 40))
        for lamp, shade in enumerate(((196, 52, 44), (120, 96, 40), (50, 92, 60))):
            draw.ellipse((x - 2, 27 + lamp * 12, x + 7, 36 + lamp * 12), fill=shade)


def _corridor(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    wall = jitter(rng, rng.choice(((206, 202, 190), (190, 198, 200), (204, 190, 164))), 8)
    draw.rectangle((0, 0, SPAN, FOOT), fill=wall)
    draw.rectangle((0, 82, SPAN, 92), fill=jitter(rng, rng.choice(((88, 112, 140), (132, 94, 62), (98, 130, 104))), 10))
    draw.rectangle((0, FOOT - 10, SPAN, FOOT), fill=(92, 86, 80))
    for x in range(rng.randint(0, 60), SPAN, rng.randint(110, 160)):
        draw.rectangle((x, 14, x + 52, FOOT), fill=jitter(rng, (148, 112, 76), 14), outline=(96, 72, 50))
        draw.rectangle((x + 18, 28, x + 34, 64), fill=(164, 178, 184))
        draw.rectangle((x + 74, 36, x + 94, 62), fill=jitter(rng, (228, 226, 214), 8), outline=(90, 88, 84))


def _mall(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _shops(draw, rng)
    for x in range(rng.randint(30, 90), SPAN, rng.randint(150, 220)):
        draw.rectangle((x, 0, x + 26, FOOT + 4), fill=(222, 218, 208))
        draw.rectangle((x + 18, 0, x + 26, FOOT + 4), fill=(186, 182, 172))
    draw.rectangle((0, 0, SPAN, 9), fill=(240, 238, 226))


def _platform(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    body = jitter(rng, rng.choice(((186, 188, 192), (70, 112, 150), (196, 150, 60))), 10)
    draw.rectangle((0, 0, SPAN, FOOT), fill=body)
    draw.rectangle((0, 96, SPAN, 104), fill=rng.choice(_SIGNS))
    for x in range(rng.randint(0, 60), SPAN, 170):
        for window in (x, x + 60):
            draw.rounded_rectangle((window, 24, window + 46, 76), 5, fill=(58, 66, 76))
            draw.polygon([(window + 5, 28), (window + 24, 28), (window + 9, 70)], fill=(96, 108, 118))
        draw.rectangle((x + 118, 14, x + 154, FOOT - 6), fill=(88, 92, 98), outline=(46, 48, 52))
        draw.line((x + 136, 14, x + 136, FOOT - 6), fill=(40, 42, 46), width=2)


def _office(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    draw.rectangle((0, 0, SPAN, FOOT), fill=(126, 146, 152))
    for x in range(0, SPAN, 58):
        draw.rectangle((x + 3, 6, x + 55, FOOT - 6), fill=jitter(rng, (142, 162, 166), 18))
        draw.polygon([(x + 6, 10), (x + 34, 10), (x + 10, 92)], fill=(172, 188, 190))
        draw.rectangle((x + 8, 106, x + 50, FOOT - 8), fill=jitter(rng, (120, 96, 72), 16))
        draw.rectangle((x + 18, 84, x + 38, 104), fill=(40, 44, 52))


def _supermarket(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    draw.rectangle((0, 0, SPAN, FOOT), fill=(70, 70, 72))
    for shelf in range(4, FOOT - 20, 34):
        draw.rectangle((0, shelf + 28, SPAN, shelf + 32), fill=(204, 202, 196))
        x = 0
        while x < SPAN:
            colour, wide, tall = jitter(rng, rng.choice(_SIGNS), 24), rng.randint(6, 13), rng.randint(14, 26)
            for _ in range(rng.randint(2, 5)):
                draw.rectangle((x, shelf + 28 - tall, x + wide - 1, shelf + 27), fill=colour)
                x += wide + 1


def _lobby(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    wall = jitter(rng, rng.choice(((120, 84, 60), (86, 90, 98), (188, 176, 156))), 12)
    draw.rectangle((0, 0, SPAN, FOOT), fill=wall)
    for x in range(0, SPAN, 45):
        draw.line((x, 0, x, FOOT), fill=_shaded(wall, 0.72), width=2)
    for x in range(rng.randint(20, 90), SPAN, rng.randint(130, 190)):
        draw.rectangle((x, 26, x + 44, FOOT), fill=(166, 168, 172), outline=(86, 86, 90))
        draw.line((x + 22, 26, x + 22, FOOT), fill=(92, 94, 98), width=2)
        draw.ellipse((x + 64, 104, x + 100, FOOT - 8), fill=jitter(rng, (66, 104, 60), 16))
        draw.rectangle((x + 72, FOOT - 24, x + 92, FOOT + 4), fill=(150, 92, 62))


_BACKS = {
    "facade": _facade, "shops": _shops, "park": _park, "bricks": _bricks, "parking": _parking, "crossing": _crossing,
    "corridor": _corridor, "mall": _mall, "platform": _platform, "office": _office, "supermarket": _supermarket,
    "lobby": _lobby,
}  # fmt: skip
_GROUNDS = {
    "facade": _paving, "shops": _paving, "park": _grass, "bricks": _paving, "parking": _asphalt, "crossing": _stripes,
    "corridor": _carpet, "mall": _shiny, "platform": _edge, "office": _carpet, "supermarket": _shiny, "lobby": _shiny,
}  # fmt: skip

_OBJECTS = {
    "street": {"pole": 2.0, "car": 2, "bush": 2, "bollard": 1.5, "railing": 1.5},
    "indoor": {"column": 2.0, "desk": 2, "trolley": 2, "plant": 1.5, "barrier": 1.5},
}


def place_object(draw: ImageDraw.ImageDraw, width: int, height: int, camera: Camera, rng: random.Random) -> None:
    """Draw something that hides part of a person on a picture of (height, width)."""
    kind = weighted(rng, _OBJECTS[camera.world])
    side = rng.choice((-1, 1))
    top = int(height * rng.uniform(0.58, 0.82))
    if kind in ("pole", "column"):
        thick = int(width * (rng.uniform(0.07, 0.13) if kind == "pole" else rng.uniform(0.2, 0.32)))
        x = int(width * rng.uniform(0.12, 0.3)) if side < 0 else int(width * rng.uniform(0.6, 0.8))
        base = jitter(rng, (98, 102, 106) if kind == "pole" else (204, 200, 190), 20)
        for i in range(thick):
            shade = 0.6 + 0.5 * (1 - abs(2 * (i + 0.5) / thick - 0.8))
            draw.line((x + i, 0, x + i, height), fill=_shaded(base, shade))
    elif kind == "car":
        paint = jitter(rng, rng.choice(((190, 192, 196), (40, 42, 48), (140, 38, 42), (56, 78, 122))), 12)
        left = -int(width * 0.3) if side < 0 else int(width * 0.25)
        right = left + int(width * 1.05)
        draw.rounded_rectangle((left, top, right, height + 30), 18, fill=paint)
        draw.rounded_rectangle((left, top, right, top + 9), 5, fill=_shaded(paint, 1.25))
        draw.rectangle((left, top + 34, right, top + 38), fill=_shaded(paint, 0.6))
        lamp = right - 24 if side < 0 else left + 6
        draw.ellipse((lamp, top + 14, lamp + 16, top + 26), fill=(232, 226, 198))
    elif kind in ("bush", "plant"):
        centre = int(width * (0.15 if side < 0 else 0.85))
        for _ in range(90):
            a, b, r = rng.gauss(centre, width * 0.16), rng.uniform(top, height + 4), rng.uniform(3, 9)
            draw.ellipse((a - r, b - r, a + r, b + r), fill=jitter(rng, (58, 92, 48), 26))
    elif kind == "bollard":
        x, base = int(width * rng.uniform(0.1, 0.75)), jitter(rng, (86, 84, 84), 18)
        draw.rounded_rectangle((x, top, x + 18, height + 8), 7, fill=base)
        draw.rectangle((x, top + 10, x + 18, top + 17), fill=(206, 64, 48))
        draw.line((x + 4, top + 4, x + 4, height), fill=_shaded(base, 1.4), width=2)
    elif kind in ("railing", "barrier"):
        base = jitter(rng, (120, 124, 130) if kind == "railing" else (60, 76, 130), 16)
        for y in (top, top + 26):
            draw.rectangle((0, y, width, y + (4 if kind == "railing" else 9)), fill=base)
        for x in range(rng.randint(0, 20), width, 18 if kind == "railing" else 60):
            draw.rectangle((x, top, x + 3, height), fill=_shaded(base, 0.85))
    elif kind == "desk":
        base = jitter(rng, (136, 102, 72), 20)
        left, right = (0, int(width * 0.62)) if side < 0 else (int(width * 0.38), width)
        draw.rectangle((left, top, right, height), fill=_shaded(base, 0.7))
        draw.polygon([(left, top), (right, top), (right - 6, top - 8), (left + 6, top - 8)], fill=base)
    elif kind == "trolley":
        left = int(width * (-0.1 if side < 0 else 0.5))
        draw.rectangle((left, top, left + int(width * 0.6), top + 5), fill=(190, 40, 44))
        for x in range(left, left + int(width * 0.6), 7):
            draw.line((x, top, x + 3, height - 16), fill=(176, 178, 182), width=1)
        for y in range(top + 5, height - 12, 8):
            draw.line((left, y, left + int(width * 0.58), y), fill=(160, 162, 166), width=1)

"""What a person wears, as textures that go once around each part of the body.

Column 0 is the back, the middle column the front; row 0 is the top. Garments are drawn with Pillow; folds are slow
noise that makes the cloth lighter and darker.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from osnet.drawn.person import COLOURS, HAIR_COLOURS, SKINS, Person
from osnet.drawn.raster import TEXELS
from osnet.drawn.streams import jitter, noise_stream, stream

Colour = tuple[int, int, int]

WIDTH = HEIGHT = TEXELS
FRONT = WIDTH // 2
WAIST, HIP = 38, 50
"""Rows of the trunk's texture, whose last row is the crotch."""
WRIST = 47
"""Row of the forearm's texture where the hand begins."""

(TRUNK, SKIRT, UPPER_ARM, FOREARM, NECK, THIGH, SHIN, SHOE, HEAD, HAIR, HAT, SCARF, HOOD, BAG, STRAP) = range(15)
"""Numbers of the textures in what `dress` returns."""


@lru_cache(maxsize=256)
def dress(person: Person) -> NDArray[np.uint8]:
    """All textures of `person`, (3, 15, TEXELS * TEXELS); those of things that the person does not have are blank."""
    rng = stream("wardrobe", person.key)
    shades = {name: jitter(rng, colour, 9) for name, colour in COLOURS.items()}
    skin = jitter(rng, SKINS[person.skin], 6)
    hair = jitter(rng, HAIR_COLOURS[person.hair_colour], 6)
    upper, accent = shades[person.upper_colour], shades[person.accent_colour]
    lower, inner = shades[person.lower_colour], shades[person.inner_colour]

    trunk = _cloth(lower)
    _pattern(trunk, person.lower_pattern, lower, _against(lower))
    hem = {"tshirt": HIP - 3, "shirt": HIP - 1, "tank": HIP - 4, "vest": HIP - 2}.get(person.upper, HIP + 4)
    one_piece = person.upper in ("coat", "dress")
    if one_piece:
        hem = HEIGHT
    draw = ImageDraw.Draw(trunk)
    draw.rectangle((0, 0, WIDTH, hem), fill=upper)
    _pattern(trunk, person.pattern, upper, accent, hem)
    _cut(draw, person, upper, inner, skin, shades, hem)

    skirt = _cloth(upper if one_piece else lower)
    if not one_piece:
        _pattern(skirt, person.lower_pattern, lower, _against(lower))
    elif person.pattern not in ("logo", "yoke"):
        _pattern(skirt, person.pattern, upper, accent)
    if person.upper == "coat":
        ImageDraw.Draw(skirt).polygon(
            [(FRONT - 2, 0), (FRONT + 2, 0), (FRONT + 7, HEIGHT), (FRONT - 7, HEIGHT)], fill=_shaded(lower, 0.75)
        )
        ImageDraw.Draw(skirt).line((0, 18, 0, HEIGHT), fill=_shaded(upper, 0.7))
    elif person.upper == "dress":
        ImageDraw.Draw(skirt).rectangle((0, HEIGHT - 4, WIDTH, HEIGHT), fill=_shaded(accent, 0.95))

    upper_arm, forearm = _sleeves(person, upper, accent, inner, skin)
    thigh, shin = _legs(person, upper, lower, shades, skin)
    shoe_colour = shades[person.shoe_colour]
    shoe = _cloth(shoe_colour)
    if person.shoes == "trainers":
        ImageDraw.Draw(shoe).rectangle((0, 0, WIDTH, 14), fill=_shaded(_against(shoe_colour), 0.95))
    hat_colour = shades[person.headwear_colour]
    hat = _cloth(hat_colour)
    draw = ImageDraw.Draw(hat)
    if person.headwear == "beanie":
        for column in range(0, WIDTH, 6):
            draw.line((column, 0, column, HEIGHT), fill=_shaded(hat_colour, 0.82))
        draw.rectangle((0, 44, WIDTH, HEIGHT), fill=_shaded(hat_colour, 1.12))
    elif person.headwear == "brimmed":
        draw.rectangle((0, 48, WIDTH, HEIGHT), fill=_shaded(hat_colour, 0.6))
    strands = _cloth(hair)
    draw = ImageDraw.Draw(strands)
    for column in range(1, WIDTH, 5):
        tone = rng.uniform(0.78, 1.2)
        draw.line((column, 0, column + rng.randint(-2, 2), HEIGHT), fill=_shaded(hair, tone))
    textures: dict[int, tuple[Image.Image, float]] = {
        TRUNK: (trunk, 0.13),
        UPPER_ARM: (upper_arm, 0.14),
        FOREARM: (forearm, 0.1),
        NECK: (_cloth(skin), 0.04),
        THIGH: (thigh, 0.13),
        SHIN: (shin, 0.13),
        SHOE: (shoe, 0.06),
        HEAD: (_head(person, skin, hair), 0.05),
        HAIR: (strands, 0.12),
    }
    if one_piece or person.lower in ("skirt", "maxi"):
        textures[SKIRT] = skirt, 0.16
    if person.headwear != "none":
        textures[HAT] = hat, 0.06
    if person.scarf != "none":
        scarf = _cloth(shades[person.scarf])
        ImageDraw.Draw(scarf).rectangle((0, 26, WIDTH, 36), fill=_shaded(shades[person.scarf], 0.8))
        textures[SCARF] = scarf, 0.2
    if person.upper == "hoodie":
        textures[HOOD] = _cloth(_shaded(upper, 0.86)), 0.14
    if person.bag != "none":
        textures[BAG] = _bag(person, shades[person.bag_colour]), 0.08
        textures[STRAP] = _cloth(_shaded(shades[person.bag_colour], 0.72)), 0.05
    noise = noise_stream(rng)
    atlas = np.zeros((3, STRAP + 1, TEXELS * TEXELS), np.uint8)
    for number, (image, depth) in textures.items():
        atlas[:, number] = _folded(image, depth, noise, (2, 14) if number == SKIRT else (9, 7)).reshape(3, -1)
    return atlas


def _cloth(colour: Colour) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), colour)


def _shaded(colour: Colour, factor: float) -> Colour:
    """`colour` made lighter (above 1) or darker."""
    red, green, blue = (min(252, int(c * factor)) for c in colour)
    return red, green, blue


def _against(colour: Colour) -> Colour:
    """A colour that shows on `colour`: lighter on dark cloth, darker on light cloth."""
    if sum(colour) < 330:
        return _mix(colour, (235, 235, 235), 0.55)
    return _shaded(colour, 0.55)


def _pattern(image: Image.Image, kind: str, base: Colour, accent: Colour, hem: int = HEIGHT) -> None:
    """Draw the pattern `kind` on the rows above `hem`."""
    draw = ImageDraw.Draw(image)
    if kind == "bands":
        for y in range(5, hem, 12):
            draw.rectangle((0, y, WIDTH, min(hem, y + 5)), fill=accent)
    elif kind == "pinstripes":
        for x in range(0, WIDTH, 8):
            draw.rectangle((x, 0, x + 2, hem), fill=accent)
    elif kind == "checks":
        middle = tuple((a + b) // 2 for a, b in zip(base, accent))
        for y in range(0, hem, 12):
            draw.rectangle((0, y, WIDTH, min(hem, y + 5)), fill=middle)
        for x in range(0, WIDTH, 10):
            draw.rectangle((x, 0, x + 4, hem), fill=middle)
        for y in range(0, hem, 12):
            for x in range(0, WIDTH, 10):
                draw.rectangle((x, y, x + 4, min(hem, y + 5)), fill=accent)
    elif kind == "dots":
        for number, y in enumerate(range(5, hem - 2, 10)):
            for x in range((number % 2) * 5, WIDTH, 10):
                draw.ellipse((x - 2.4, y - 3, x + 2.4, y + 3), fill=accent)
    elif kind == "yoke":
        draw.rectangle((0, 0, WIDTH, hem * 2 // 5), fill=accent)
    elif kind == "logo":
        draw.ellipse((FRONT - 6, 13, FRONT + 6, 27), fill=accent)
        draw.rectangle((FRONT - 3, 18, FRONT + 3, 22), fill=base)


def _cut(
    draw: ImageDraw.ImageDraw,
    person: Person,
    upper: Colour,
    inner: Colour,
    skin: Colour,
    shades: dict[str, Colour],
    hem: int,
) -> None:
    """Collar, opening, belt and straps on the trunk."""
    if person.upper in ("jacket", "coat", "vest"):
        wide = 4 if person.upper == "coat" else 5
        draw.polygon(
            [(FRONT - wide, 0), (FRONT + wide, 0), (FRONT + wide - 2, hem), (FRONT - wide + 2, hem)], fill=inner
        )
        for side in (-1, 1):
            edge = FRONT + side * (wide + 1)
            draw.line((edge, 0, edge - side * 2, hem), fill=_shaded(upper, 0.62), width=1)
    elif person.upper == "shirt":
        draw.line((FRONT, 0, FRONT, hem), fill=_shaded(upper, 0.72))
        draw.polygon([(FRONT - 6, 0), (FRONT, 9), (FRONT + 6, 0)], fill=_shaded(upper, 1.18))
    elif person.upper == "hoodie":
        draw.rectangle((FRONT - 8, 34, FRONT + 8, 46), fill=_shaded(upper, 0.8))
        draw.line((FRONT - 2, 5, FRONT - 2, 15), fill=(228, 226, 220))
        draw.line((FRONT + 2, 5, FRONT + 2, 15), fill=(228, 226, 220))
        draw.rectangle((0, hem - 3, WIDTH, hem), fill=_shaded(upper, 0.72))
    elif person.upper in ("tshirt", "dress"):
        draw.chord((FRONT - 6, -8, FRONT + 6, 8), 0, 180, fill=skin)
    elif person.upper == "tank":
        draw.chord((FRONT - 8, -14, FRONT + 8, 14), 0, 180, fill=skin)
        draw.rectangle((0, 0, 6, 7), fill=skin)
        draw.rectangle((WIDTH - 6, 0, WIDTH, 7), fill=skin)
        for side in (FRONT // 2, FRONT + FRONT // 2):
            draw.rectangle((side - 5, 0, side + 5, 13), fill=skin)
    if person.upper == "vest":
        for y in range(6, hem, 8):
            draw.line((0, y, FRONT - 5, y), fill=_shaded(upper, 0.74))
            draw.line((FRONT + 5, y, WIDTH, y), fill=_shaded(upper, 0.74))
    if person.upper in ("dress", "coat"):
        draw.rectangle((0, WAIST - 1, WIDTH, WAIST + 2), fill=_shaded(upper, 0.6))
    elif hem < HIP:
        draw.rectangle((0, hem, WIDTH, hem + 2), fill=_shaded(shades["brown"], 0.6))
    strap = _shaded(shades[person.bag_colour], 0.78)
    if person.bag == "backpack":
        for side in (-9, 9):
            draw.rectangle((FRONT + side - 2, 0, FRONT + side + 2, 30), fill=strap)
    elif person.bag == "messenger":
        # From one shoulder to the other hip, in front and behind.
        side = person.bag_side
        draw.line((FRONT - side * 13, 0, FRONT + side * 16, HIP), fill=strap, width=4)
        draw.line((FRONT + side * 16, HIP, FRONT + side * 16, HIP), fill=strap, width=4)
        for step in range(61):
            x, y = (FRONT - side * 13 + -side * 35 * step // 60) % WIDTH, HIP * step // 60
            draw.rectangle((x - 1, y - 1, x + 2, y + 1), fill=strap)


def _sleeves(
    person: Person, upper: Colour, accent: Colour, inner: Colour, skin: Colour
) -> tuple[Image.Image, Image.Image]:
    colour = inner if person.upper == "vest" else upper
    arm, fore = _cloth(colour), _cloth(colour)
    pattern = person.pattern if person.upper != "vest" else "plain"
    if pattern in ("bands", "checks", "pinstripes", "dots"):
        for image in (arm, fore):
            _pattern(image, pattern, colour, accent)
    if person.upper in ("tshirt", "dress"):
        ImageDraw.Draw(arm).rectangle((0, 44, WIDTH, HEIGHT), fill=skin)
        fore = _cloth(skin)
    elif person.upper == "tank":
        arm, fore = _cloth(skin), _cloth(skin)
    else:
        ImageDraw.Draw(fore).rectangle((0, WRIST - 6, WIDTH, WRIST), fill=_shaded(colour, 0.76))
    ImageDraw.Draw(fore).rectangle((0, WRIST, WIDTH, HEIGHT), fill=skin)
    return arm, fore


def _legs(
    person: Person, upper: Colour, lower: Colour, shades: dict[str, Colour], skin: Colour
) -> tuple[Image.Image, Image.Image]:
    thigh, shin = _cloth(lower), _cloth(lower)
    bare = person.lower in ("shorts", "skirt")
    if bare:
        shin = _cloth(skin)
    for image, covered in ((thigh, person.lower != "skirt"), (shin, not bare)):
        if not covered:
            continue
        _pattern(image, person.lower_pattern, lower, _against(lower))
        if person.lower_pattern == "sidestripe":
            for side in (FRONT // 2, FRONT + FRONT // 2):
                ImageDraw.Draw(image).rectangle((side - 4, 0, side + 4, HEIGHT), fill=_against(lower))
    if person.lower == "shorts":
        ImageDraw.Draw(thigh).rectangle((0, 56, WIDTH, HEIGHT), fill=skin)
    elif person.lower == "skirt":
        ImageDraw.Draw(thigh).rectangle((0, 48, WIDTH, HEIGHT), fill=skin)
    if person.upper in ("coat", "dress"):  # what a stride pushes through the skirt of a coat is coat
        ImageDraw.Draw(thigh).rectangle((0, 0, WIDTH, 46), fill=upper)
    draw = ImageDraw.Draw(shin)
    if person.shoes == "boots":
        draw.rectangle((0, 26, WIDTH, HEIGHT), fill=shades[person.shoe_colour])
    elif bare:
        draw.rectangle((0, 54, WIDTH, HEIGHT), fill=shades["white"])
    return thigh, shin


def _head(person: Person, skin: Colour, hair: Colour) -> Image.Image:
    head = _cloth(skin)
    draw = ImageDraw.Draw(head)
    if person.hair != "bald":
        # The hairline falls from the forehead over the temples to the nape.
        nape = 50 if person.hair in ("short", "cropped", "bun", "ponytail", "afro") else HEIGHT
        outline = [(0, 0), (WIDTH, 0), (WIDTH, nape), (WIDTH - 14, nape - 8), (FRONT + 10, 30), (FRONT + 8, 19)]
        outline += [(WIDTH - x, y) for x, y in reversed(outline[2:])]
        draw.polygon(outline, fill=hair if person.hair != "cropped" else _mix(hair, skin, 0.35))
    dark = _shaded(skin, 0.42)
    for side in (-1, 1):
        eye = FRONT + side * 5
        draw.rectangle((eye - 2, 32, eye + 1, 34), fill=(34, 28, 28))
        draw.line((eye - 2, 28, eye + 2, 28), fill=_mix(hair, dark, 0.5), width=2)
        draw.ellipse((FRONT + side * 16 - 2, 30, FRONT + side * 16 + 2, 40), fill=_shaded(skin, 0.78))
    draw.rectangle((FRONT - 1, 34, FRONT + 1, 42), fill=_shaded(skin, 0.8))
    if person.beard:
        draw.polygon(
            [(FRONT - 12, 38), (FRONT - 5, 45), (FRONT + 5, 45), (FRONT + 12, 38), (FRONT + 9, 64), (FRONT - 9, 64)],
            fill=_mix(hair, skin, 0.25),
        )
    draw.rectangle((FRONT - 3, 48, FRONT + 3, 50), fill=(142, 72, 68))
    if person.glasses:
        for side in (-1, 1):
            draw.rectangle((FRONT + side * 5 - 4, 30, FRONT + side * 5 + 4, 36), outline=(20, 20, 22), width=1)
        draw.line((FRONT - 16, 31, FRONT + 16, 31), fill=(20, 20, 22))
    return head


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (int(p + (q - p) * share) for p, q in zip(a, b))
    return red, green, blue


def _bag(person: Person, colour: Colour) -> Image.Image:
    bag = _cloth(colour)
    draw = ImageDraw.Draw(bag)
    if person.bag == "backpack":
        draw.rectangle((0, 0, WIDTH, 16), fill=_shaded(colour, 0.82))
        for centre in (0, WIDTH):
            draw.rectangle((centre - 10, 30, centre + 10, 54), fill=_shaded(colour, 1.2), outline=_shaded(colour, 0.6))
    elif person.bag == "suitcase":
        for column in range(0, WIDTH, 6):
            draw.line((column, 0, column, HEIGHT), fill=_shaded(colour, 0.7))
        draw.rectangle((0, 58, WIDTH, HEIGHT), fill=(26, 26, 28))
    elif person.bag == "carrier":
        draw.rectangle((0, 22, WIDTH, 40), fill=_against(colour))
    else:
        draw.rectangle((0, 0, WIDTH, 26), fill=_shaded(colour, 0.8))
        for column in (FRONT, 0):
            draw.rectangle((column - 2, 22, column + 2, 32), fill=(212, 190, 120))
    return bag


def _folded(
    image: Image.Image, depth: float, noise: np.random.RandomState, waves: tuple[int, int]
) -> NDArray[np.uint8]:
    """`image` with folds up to `depth` lighter or darker, as a texture; `waves` of them down and around."""
    slow = Image.fromarray(noise.random_sample(waves).astype(np.float32))
    grown = np.asarray(slow.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
    planes = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    planes *= np.float32(1 - depth) + np.float32(2 * depth) * grown
    return np.minimum(planes, 255).astype(np.uint8)

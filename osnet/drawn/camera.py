"""What a camera does to a picture: where it hangs, its light, and the effects of its lens and sensor."""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from osnet.drawn.raster import Light
from osnet.drawn.streams import noise_stream, stream

WORLDS = ("street", "indoor")
"""Two sets of cameras and backgrounds that have only the people in common."""

HEIGHT, WIDTH = 128, 64
"""Size of a crop in pixels, as in Market-1501."""

SCENES = {
    "street": ("facade", "shops", "park", "bricks", "parking", "crossing"),
    "indoor": ("corridor", "mall", "platform", "office", "supermarket", "lobby"),
}
_MOVED = ImageFilter.Kernel((5, 5), [0] * 10 + [1] * 5 + [0] * 10)
"""Motion blur of a step to the side."""
_COURSES = (0.0, 180.0, 90.0, 35.0, -135.0, -60.0, 150.0, -95.0, 15.0)


@dataclass(frozen=True)
class Camera:
    """One camera. Angles in radians, lengths in metres, colours as gains.

    Attributes:
        course: how most people walk past, 0 towards the camera. spread: standard deviation around it.
        gains: of red, green and blue. gamma: of the tone curve. lift: added black level, 0 to 255.
        sharpness: pixels kept of the crop's 128 rows. blur: radius in pixels. noise: standard deviation, 0 to 255.
        quality: of the JPEG that leaves the camera.
        hidden: how often something stands in front. company: how often somebody else is in the box.
    """

    world: str
    number: int
    scene: str
    pitch: float
    distance: float
    course: float
    spread: float
    light: Light
    gains: tuple[float, float, float]
    exposure_spread: float
    gamma: float
    lift: float
    saturation: float
    sharpness: int
    blur: float
    noise: float
    quality: int
    hidden: float
    company: float


@lru_cache(maxsize=64)
def place_camera(seed: int, world: str, number: int) -> Camera:
    """Place camera `number` (1, 2, ...) of `world`; it depends on the seed alone."""
    rng = stream("camera", seed, world, number)
    order = stream("courses", seed, world)
    courses, scenes = list(_COURSES), list(SCENES[world])
    order.shuffle(courses)
    order.shuffle(scenes)
    inside = world == "indoor"
    warmth, tint = rng.uniform(-1, 1), rng.uniform(-1, 1)
    if inside:  # tubes and bulbs are green or yellow, never as neutral as daylight
        warmth, tint = rng.choice((-0.9, 0.6, 1.2)) + 0.3 * warmth, 0.55 + 0.45 * tint
    strength = 0.13
    exposure = rng.uniform(0.72, 0.98) if inside else rng.uniform(0.78, 1.22)
    gains = (
        exposure * (1 + strength * warmth),
        exposure * (1 + strength * 0.5 * tint),
        exposure * (1 - strength * warmth - strength * 0.25 * tint),
    )
    side = rng.uniform(-1, 1)
    above = rng.uniform(0.45, 0.9)
    ahead = rng.uniform(0.55, 1.1)
    norm = math.sqrt(side * side + above * above + ahead * ahead)
    direct = rng.uniform(0.35, 0.6) if inside else rng.uniform(0.45, 0.95)
    return Camera(
        world=world,
        number=number,
        scene=scenes[(number - 1) % len(scenes)],
        pitch=math.radians(rng.uniform(17, 36) if inside else rng.uniform(3, 21)),
        distance=rng.uniform(3.2, 6) if inside else rng.uniform(6, 16),
        course=math.radians(courses[(number - 1) % len(courses)]),
        spread=math.radians(rng.uniform(16, 34)),
        light=Light(side / norm, -above / norm, ahead / norm, 1.02 - 0.62 * direct, direct),
        gains=gains,
        exposure_spread=rng.uniform(0.04, 0.13),
        gamma=rng.uniform(0.82, 1.2),
        lift=rng.uniform(0, 16),
        saturation=rng.uniform(0.62, 1.05),
        sharpness=rng.randint(56, 96) if inside else rng.randint(66, 128),
        blur=rng.uniform(0, 0.7),
        noise=rng.uniform(3, 9) if inside else rng.uniform(1, 6),
        quality=rng.randint(62, 92),
        hidden=rng.uniform(0.12, 0.3) if inside else rng.uniform(0.05, 0.22),
        company=rng.uniform(0.12, 0.32) if inside else rng.uniform(0.08, 0.25),
    )


def expose(image: Image.Image, camera: Camera, rows: int, rng: random.Random) -> Image.Image:
    """Take the scene `image` (RGB, any size) with `camera`, whose sensor has `rows` rows for the box.

    Returns:
        The crop, 64x128 pixels, with the camera's colours, blur and noise.
    """
    if rows < HEIGHT:
        image = image.resize((rows // 2, rows), Image.Resampling.BOX)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    blur = camera.blur * rng.uniform(0.5, 1.3)
    if rng.random() < 0.08:
        image = image.filter(_MOVED)
    elif blur > 0.25:
        image = image.filter(ImageFilter.BoxBlur(blur))
    exposure = math.exp(rng.gauss(0, camera.exposure_spread))
    image = _saturate(image, camera)
    if rng.random() < 0.25:  # the shadow of a house or an awning
        edge, softness = rng.uniform(0.15, 0.85), rng.uniform(0.05, 0.2)
        ramp = np.clip((np.linspace(0, 1, HEIGHT, dtype=np.float32) - np.float32(edge)) / np.float32(softness), 0, 1)
        if rng.random() < 0.5:
            ramp = 1 - ramp
        factor = 1 - np.float32(rng.uniform(0.2, 0.42)) * ramp
        image = Image.fromarray((np.asarray(image, np.float32) * factor[:, None, None]).astype(np.uint8))
    shot = _sense(image, camera, exposure)
    grain = _grain(camera.world, camera.number)
    y, x = rng.randrange(grain.shape[0] - HEIGHT), rng.randrange(grain.shape[1] - WIDTH)
    noisy = np.asarray(shot, np.float32) + grain[y : y + HEIGHT, x : x + WIDTH] * np.float32(camera.noise)
    return Image.fromarray(np.minimum(np.maximum(noisy, 0), 255).astype(np.uint8))


def expose_frame(image: Image.Image, camera: Camera, rng: random.Random) -> Image.Image:
    """Take a frame of a video of the scene `image` (RGB, any size) with `camera`; its size stays."""
    if camera.sharpness < HEIGHT:
        size, share = image.size, camera.sharpness / HEIGHT
        small = image.resize((round(size[0] * share), round(size[1] * share)), Image.Resampling.BOX)
        image = small.resize(size, Image.Resampling.BILINEAR)
    if camera.blur > 0.25:
        image = image.filter(ImageFilter.BoxBlur(camera.blur))
    shot = np.asarray(_sense(_saturate(image, camera), camera, 1.0), np.float32)
    grain = _grain(camera.world, camera.number)
    y = (np.arange(image.height) + rng.randrange(grain.shape[0])) % grain.shape[0]
    x = (np.arange(image.width) + rng.randrange(grain.shape[1])) % grain.shape[1]
    noisy = shot + grain[y[:, None], x[None, :]] * np.float32(camera.noise)
    return Image.fromarray(np.minimum(np.maximum(noisy, 0), 255).astype(np.uint8))


def _saturate(image: Image.Image, camera: Camera) -> Image.Image:
    kept = camera.saturation
    red, green, blue = ((1 - kept) * share for share in (0.3, 0.59, 0.11))
    return image.convert("RGB", (kept + red, green, blue, 0, red, kept + green, blue, 0, red, green, kept + blue, 0))


def _sense(image: Image.Image, camera: Camera, exposure: float) -> Image.Image:
    """The sensor: gain, then the tone curve, as one table for each channel."""
    index = np.arange(256)[None, :] * (np.array(camera.gains)[:, None] * exposure * (_TONES / 255))
    table = _tone_curve(camera)[np.minimum(index, _TONES).astype(np.int32)]
    return image.point(table.ravel().tolist())


_TONES = 1023


@lru_cache(maxsize=64)
def _tone_curve(camera: Camera) -> NDArray[np.int32]:
    """The sensor's output, 0 to 255, for light from 0 to `_TONES`."""
    span = 255 - camera.lift
    return np.array([int(camera.lift + span * (i / _TONES) ** camera.gamma) for i in range(_TONES + 1)], np.int32)


@lru_cache(maxsize=16)
def _grain(world: str, number: int) -> NDArray[np.float32]:
    """A sheet of noise of standard deviation 1, larger than a crop; each picture uses another piece of it."""
    return noise_stream(stream("grain", world, number)).standard_normal((640, 320, 3)).astype(np.float32)


def to_jpeg(image: Image.Image, camera: Camera) -> bytes:
    """Encode a crop with the quality of `camera`."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=camera.quality)
    return buffer.getvalue()

"""Random changes of a training image, each a pure function of the image and a random generator. No framework."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_ERASING_ATTEMPTS = 100


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image; see `osnet.training.config.TrainConfig` for the fields."""

    flip: float = 0.0
    crop_padding: int = 0
    color_jitter: float = 0.0
    erasing: float = 0.0

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """A new uint8 (H, W, 3), C-contiguous. The same generator state gives the same image."""
        if rng.random() < self.flip:
            image = image[:, ::-1]
        if self.crop_padding:
            image = pad_and_crop(image, self.crop_padding, rng)
        if self.color_jitter:
            image = jitter(image, self.color_jitter, rng)
        if rng.random() < self.erasing:
            image = erase(image, rng)
        return np.ascontiguousarray(image)


def pad_and_crop(image: Image, padding: int, rng: np.random.Generator) -> Image:
    """`image` shifted by up to `padding` pixels each way; black comes in."""
    height, width = image.shape[:2]
    top, left = rng.integers(0, 2 * padding + 1, 2)
    padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    padded[padding : padding + height, padding : padding + width] = image
    cropped: Image = padded[top : top + height, left : left + width]
    return cropped


def jitter(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Brightness, contrast and saturation, in this order, each times a factor in 1 - strength .. 1 + strength."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    x = image.astype(np.float32) * brightness
    mean = float((x.mean(axis=(0, 1)) * _GREY).sum())
    x = mean + (x - mean) * contrast
    grey = (x @ _GREY)[..., None]
    x = grey + (x - grey) * saturation
    rounded: Image = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    return rounded


def erase(image: Image, rng: np.random.Generator) -> Image:
    """Random erasing (Zhong et al., AAAI 2020, algorithm 1): one rectangle becomes noise.

    Its area is 0.02 to 0.4 of the image's, height over width 0.3 to 1 / 0.3.
    """
    height, width = image.shape[:2]
    for _ in range(_ERASING_ATTEMPTS):
        area = rng.uniform(0.02, 0.4) * height * width
        ratio = rng.uniform(0.3, 1 / 0.3)
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            image = image.copy()
            image[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), np.uint8)
            break
    return image

"""Random numbers by key: a key gives the same numbers on every machine, in every process, in any order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def stream(*key: object) -> random.Random:
    """Return a generator that depends on `key` alone: Python seeds it with the SHA-512 of the text."""
    return random.Random("/".join(map(str, key)))


def noise_stream(rng: random.Random) -> np.random.RandomState:
    """A generator of arrays drawn from `rng`. NumPy promises that RandomState's numbers never change (NEP 19), which
    it does not promise of the newer Generator."""
    return np.random.RandomState(rng.getrandbits(32))


def weighted(rng: random.Random, weights: Mapping[T, float]) -> T:
    """Choose one of the keys of `weights`, with probabilities in proportion to their values."""
    left = rng.random() * sum(weights.values())
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return name


def jitter(rng: random.Random, colour: Sequence[int], amount: float) -> tuple[int, int, int]:
    """Make `colour` (RGB, 0 to 255) up to `amount` lighter or darker, with a small shift in each channel."""
    tone = rng.uniform(-amount, amount)
    red, green, blue = (int(min(250, max(6, c + tone + rng.uniform(-0.3, 0.3) * amount))) for c in colour)
    return red, green, blue

"""Reference weights that anybody can make again: drawn from generators seeded by the parameters' names.

The features that the torchreid network gives for them are in ``tests/fixtures/torchreid_features.npz``.
"""

from __future__ import annotations

import zlib
from math import prod, sqrt

import numpy as np

from osnet.checkpoint.weights import Weights
from osnet.variants import Variant, get_variant, parameters

CLASSES = 10


def recipe_array(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """The array of the parameter with torchreid's `name`; `kind` as in `osnet.variants.Parameter`."""
    r = np.random.default_rng(zlib.crc32(name.encode()))
    if kind == "gain":
        values = r.uniform(0.4, 0.8, shape)
    elif kind == "var":
        values = r.uniform(0.5, 1.5, shape)
    elif kind == "w":
        values = r.normal(0, sqrt(2 / prod(shape[1:])), shape)
    else:
        values = r.normal(0, 0.1, shape)
    return values.astype(np.float32)


def recipe_arrays(variant: Variant, num_classes: int = CLASSES) -> dict[str, np.ndarray]:
    """MindSpore name to array."""
    return {p.name: recipe_array(p.torchreid_name, p.shape, p.kind) for p in parameters(variant, num_classes)}


def recipe_weights(name: str, num_classes: int = CLASSES) -> Weights:
    return Weights.from_arrays(recipe_arrays(get_variant(name), num_classes), source="recipe", sha256="0" * 64)


def recipe_input() -> np.ndarray:
    """float32 (2, 3, 256, 128)."""
    return np.random.default_rng(0).standard_normal((2, 3, 256, 128)).astype(np.float32)

"""Galleries for tests. Every test that takes `new_gallery` runs once for each store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import osnet
from osnet.inference.embedder import Signature

SIGNATURE = Signature("osnet_x0_25", "5" * 64, "fp32", 256, 128, True, False, osnet.__version__)
PLAIN = replace(SIGNATURE, normalized=False)
NewGallery = Callable[..., osnet.Gallery]


def features(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random directions, float32 (count, 512) of length 1."""
    rows = np.random.default_rng(seed).standard_normal((count, 512)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(params=["file"])
def new_gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewGallery]:
    """``new_gallery(model=SIGNATURE, thumbnails=None)``: an empty gallery, closed after the test."""
    made: list[osnet.Gallery] = []
    numbers = itertools.count()

    def make(model: Any = SIGNATURE, **options: Any) -> osnet.Gallery:
        made.append(osnet.Gallery.create(tmp_path / f"people{next(numbers)}.gallery", model, **options))
        return made[-1]

    yield make
    for gallery in made:
        gallery.close()

"""Galleries for tests. Every test that takes `new_gallery` runs once for each store."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import osnet
from osnet.inference.embedder import Signature
from tests.gallery.milvus_server import run_milvus

SIGNATURE = Signature("osnet_x0_25", "5" * 64, "fp32", 256, 128, True, False, osnet.__version__)
PLAIN = replace(SIGNATURE, normalized=False)
NewGallery = Callable[..., osnet.Gallery]


def features(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random directions, float32 (count, 512) of length 1."""
    rows = np.random.default_rng(seed).standard_normal((count, 512)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(params=["file", pytest.param("milvus", marks=pytest.mark.slow)])
def new_gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewGallery]:
    """``new_gallery(model=SIGNATURE, thumbnails=None)``: an empty gallery, closed after the test."""
    made: list[osnet.Gallery] = []
    numbers = itertools.count()
    server = request.getfixturevalue("milvus_server") if request.param == "milvus" else None

    def make(model: Any = SIGNATURE, **options: Any) -> osnet.Gallery:
        where = tmp_path / f"people{next(numbers)}.gallery" if server is None else f"{server}/{new_name()}"
        made.append(osnet.Gallery.create(where, model, **options))
        return made[-1]

    yield make
    for gallery in made:
        gallery.close()


def new_name() -> str:
    """Name of a collection that is not there."""
    return f"people_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Milvus Lite server in a process of its own."""
    with run_milvus(tmp_path_factory.mktemp("milvus")) as (address, _):
        yield address

"""A gallery of drawn people, and a real server for it on the loopback."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import osnet
from osnet.drawn.dataset import draw_dataset
from osnet.evaluation.calibration import Calibration
from osnet.evaluation.verification import OperatingPoint
from osnet.gallery.gallery import Gallery

pytest.importorskip("fastapi", reason="the server needs FastAPI and uvicorn: pip install 'osnet[serve]'")

from osnet.server.run import Server
from osnet.server.settings import Settings

MODEL = "osnet_x0_25_drawn"


@pytest.fixture(scope="session")
def embedder() -> osnet.Embedder:
    return osnet.Embedder(MODEL)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn people, each twice by two cameras: in query/ the first times, in bounding_box_test/ the second."""
    root = tmp_path_factory.mktemp("served") / "people"
    draw_dataset(
        root, identities=5, cameras=2, images_per_camera=2, seed=3, train_fraction=0.01, distractors=0, workers=1
    )
    return root


@pytest.fixture(scope="session")
def enrolled(people: Path, embedder: osnet.Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the pictures in bounding_box_test/: identity and camera as in the names, a minute between times."""
    path = tmp_path_factory.mktemp("gallery") / "people.gallery"
    with Gallery.create(path, embedder, thumbnails=(128, 64)) as gallery:
        pictures = sorted((people / "bounding_box_test").glob("*.jpg"))
        gallery.add(
            pictures,
            identity=[picture.name[:4] for picture in pictures],
            camera=[picture.name[6] for picture in pictures],
            time=[1_700_000_000 + 60 * number for number in range(len(pictures))],
        )
    return path


@contextmanager
def running(path: Path, embedder: osnet.Embedder, settings: Settings) -> Iterator[Server]:
    """A server in a thread, until the block ends."""
    ready = threading.Event()
    server = Server(Gallery(path, embedder), settings, lambda _: ready.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        yield server
    finally:
        server.stop()
        thread.join(60)
        assert not thread.is_alive()


def client_of(server: Server) -> httpx.Client:
    """A client with the server and its `Work` as attributes."""
    client = httpx.Client(base_url=server.address, timeout=30)
    client.server, client.work = server, server.config.app.state.work
    return client


def calibration(embedder: osnet.Embedder) -> Calibration:
    """Of `embedder` on 1000 pairs of different people; too few for the last of its three thresholds."""
    points = (
        OperatingPoint(0.01, 0.6, 0.009, 0.9, 9, 1000, None),
        OperatingPoint(0.001, 0.8, 0.001, 0.7, 1, 1000, "few"),
        OperatingPoint(0.0001, 0.9, 0.0, 0.5, 0, 1000, "few"),
    )
    curve = (OperatingPoint(0.5, 0.4, 0.5, 1.0, 500, 1000, None), points[1])
    sha256 = embedder.signature.sha256
    return Calibration(
        sha256, ("drawn",), "cosine", "market1501", False, None, None, None, "0", 100, 1000, 0.1, 0.5, points, curve
    )


Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(enrolled: Path, embedder: osnet.Embedder, tmp_path: Path) -> Iterator[Serve]:
    """``serve(**settings)``: a client of a server of a copy of the gallery; ``gallery=`` takes another file."""
    stack = []

    def start(*, gallery: Path | None = None, **settings: object) -> httpx.Client:
        if gallery is None:
            gallery = tmp_path / "people.gallery"
            shutil.copy(enrolled, gallery)
        block = running(gallery, embedder, Settings(**{"port": 0, **settings}))
        server = block.__enter__()
        client = client_of(server)
        stack.append((block, client))
        return client

    yield start
    for block, client in stack:
        client.close()
        block.__exit__(None, None, None)

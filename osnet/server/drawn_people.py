"""Drawn people to try a gallery with: some to enrol, and further pictures of them to search for."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from osnet.drawn.body import draw_pose
from osnet.drawn.camera import expose_frame, place_camera, to_jpeg
from osnet.drawn.frame import Walker, draw_frame
from osnet.drawn.person import draw_crowd
from osnet.drawn.place import overlook
from osnet.drawn.shot import shoot
from osnet.drawn.streams import stream
from osnet.evaluation.calibration import calibrate, write_calibration
from osnet.evaluation.verification import verify_pairs
from osnet.gallery.gallery import Gallery

NAMES = ("Ada", "Bruno", "Chidi", "Dora", "Emre", "Fatima", "Goro", "Hana", "Ivo", "Jun", "Kofi", "Lena")
CAMERAS = ("Entrance", "Hall", "Platform", "Car park")
DRAWN = {"drawn": True}
"""Attribute of the entries that `enrol` makes."""

_SEED = 20_264  # people whom no weights were trained on: training takes other seeds
_SAMPLED = (0, 3, 5, 8, 10)


class Sample(NamedTuple):
    """A picture that is not enrolled: JPEG, and what it shows."""

    content: bytes
    label: str


def enrol(gallery: Gallery) -> list[str]:
    """Add three pictures of each of the drawn people, from three of four cameras, over the last hours.

    Returns:
        The ids.
    """
    pictures: list[Image.Image] = []
    names, cameras, times = [], [], []
    now = time.time()
    for number, name in enumerate(NAMES):
        for step in range(3):
            camera = (number + step) % len(CAMERAS)
            pictures.append(_picture(number, camera, step))
            names.append(name)
            cameras.append(CAMERAS[camera])
            times.append(round(now - 3600 * (number % 5 + 1) + 400 * step + 37 * number))
    return gallery.add(pictures, identity=names, camera=cameras, time=times, attributes=DRAWN)


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    """Pictures to search for: some of the people as the camera saw them that has no picture of them in the gallery,
    somebody who is not enrolled, and a photo of three people."""
    seen = [(number, (number + 3) % len(CAMERAS)) for number in _SAMPLED]
    found = [Sample(_jpeg(_picture(number, camera, 7), camera), "a drawn person") for number, camera in seen]
    found.append(Sample(_jpeg(_picture(len(NAMES), 1, 7), 1), "a drawn person who is not enrolled"))
    found.append(Sample(_group(), "a drawn photo of three people"))
    return tuple(found)


def calibrate_drawn(gallery: Gallery, path: Path) -> None:
    """Measure thresholds on other drawn people, 40 of them from all cameras, into a file for `Settings.calibration`."""
    people = draw_crowd(_SEED + 1, 40)
    pictures, ids, cameras = [], [], []
    for number, person in enumerate(people):
        for camera in range(len(CAMERAS)):
            pictures.append(shoot(_SEED + 1, "street", person, camera + 1, 0))
            ids.append(number + 1)
            cameras.append(camera)
    features = gallery.embedder(pictures)
    found = verify_pairs(
        features, features, query_ids=ids, gallery_ids=ids, query_cameras=cameras, gallery_cameras=cameras
    )
    signature = gallery.signature
    write_calibration(
        path,
        calibrate(
            found, checkpoint_sha256=signature.sha256, data=["40 other drawn people"], flip=signature.flip,
            precision=signature.precision, fprs=(0.05, 0.02, 0.01, 0.005, 0.002, 0.001),
        ),
    )  # fmt: skip


def _picture(number: int, camera: int, picture: int) -> Image.Image:
    return shoot(_SEED, "street", _crowd()[number], camera + 1, picture)


@lru_cache(maxsize=1)
def _crowd() -> list[Any]:
    return draw_crowd(_SEED, len(NAMES) + 1)


def _jpeg(image: Image.Image, camera: int) -> bytes:
    return to_jpeg(image, place_camera(_SEED, "street", camera + 1))


def _group() -> bytes:
    """Three people in front of one camera."""
    camera = place_camera(_SEED, "street", 2)
    place = overlook(camera, 640, 400)
    walkers = []
    for number, across, away in ((1, -1.0, 0.05), (6, 0.35, 0.3), (11, 1.1, 0.1)):
        rng = stream("try", _SEED, number)
        z = place.near + away * (place.far - place.near)
        pose = draw_pose(_crowd()[number], rng)
        walkers.append(Walker(number, _crowd()[number], across, z, 0.7 * across, pose))
    scene, _ = draw_frame(_SEED, camera, place, walkers)
    return to_jpeg(expose_frame(scene, camera, stream("try", _SEED, "light")), camera)

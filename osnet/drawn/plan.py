"""The plan of a data set: every file's name and who it shows, decided before anything is drawn."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osnet.drawn.camera import place_camera, to_jpeg
from osnet.drawn.person import Person, draw_crowd, draw_person
from osnet.drawn.shot import shoot
from osnet.drawn.streams import stream

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
"""Folders of Market-1501's layout."""

RECIPE = 1
"""Increased by every change that makes the same seed draw other pixels."""


@dataclass(frozen=True)
class Settings:
    """Everything that the pixels of a drawn data set depend on, apart from the version of Pillow.

    Attributes:
        identities: all of them; the first `train_identities` are for training.
        images_per_camera: pictures of each identity; of a test identity the first is the query.
        cameras_per_identity: number of cameras that see each identity, drawn for each; None: all of them.
        distractors: gallery pictures of people who are nobody's match (identity 0) and, one in four, of boxes that
            missed (identity -1).
    """

    identities: int
    train_identities: int
    cameras: int
    images_per_camera: int
    distractors: int
    seed: int
    world: str
    cameras_per_identity: int | None = None
    recipe: int = RECIPE

    def as_dict(self) -> dict[str, int | str | None]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Crop:
    """One file to draw: `person` is an index into the crowd, or, for distractor n, -1 - n."""

    folder: str
    name: str
    person: int
    camera: int
    picture: int
    bad_box: bool = False


def plan(settings: Settings) -> list[Crop]:
    """List every crop in the order of drawing, those of one person together."""
    crops = []
    for person in range(settings.identities):
        for camera in _cameras(settings, person):
            first_frame = stream("frame", settings.seed, person, camera).randrange(900_000)
            for picture in range(settings.images_per_camera):
                name = file_name(person + 1, camera, first_frame + 25 * picture, picture)
                folder = TRAIN if person < settings.train_identities else GALLERY if picture else QUERY
                crops.append(Crop(folder, name, person, camera, picture))
    for number in range(settings.distractors):
        camera = number % settings.cameras + 1
        frame = 950_000 + number // settings.cameras
        if number % 4 == 3:
            shown = settings.train_identities + number % (settings.identities - settings.train_identities)
            crops.append(Crop(GALLERY, file_name(-1, camera, frame, 0), shown, camera, 1000 + number, bad_box=True))
        else:
            crops.append(Crop(GALLERY, file_name(0, camera, frame, 0), -1 - number, camera, 0))
    return crops


def _cameras(settings: Settings, person: int) -> list[int]:
    """The numbers of the cameras that see `person`."""
    every = range(1, settings.cameras + 1)
    if settings.cameras_per_identity is None:
        return list(every)
    return sorted(stream("cameras", settings.seed, person).sample(every, settings.cameras_per_identity))


def file_name(identity: int, camera: int, frame: int, box: int) -> str:
    """``0002_c1s1_000451_03.jpg``: identity, camera, sequence, frame, box."""
    who = f"{identity:04d}" if identity >= 0 else "-1"
    return f"{who}_c{camera}s1_{frame:06d}_{box % 100:02d}.jpg"


def draw_share(settings: Settings, root: Path, share: int = 0, shares: int = 1) -> Iterator[tuple[int, bytes]]:
    """Draw the crops of every `shares`-th person, beginning with `share`, into the existing folders under `root`.

    Yields:
        the number of each crop in the plan, and the SHA-256 of its pixels before JPEG compression.
    """
    crowd = draw_crowd(settings.seed, settings.identities)
    crops = [(number, crop) for number, crop in enumerate(plan(settings)) if crop.person % shares == share]
    if settings.cameras_per_identity is not None:
        crops.sort(key=lambda numbered: numbered[1].camera)  # a background takes longer to draw than a person's clothes
    for number, crop in crops:
        image = shoot(
            settings.seed, settings.world, _who(settings, crowd, crop), crop.camera, crop.picture, bad_box=crop.bad_box
        )
        jpeg = to_jpeg(image, place_camera(settings.seed, settings.world, crop.camera))
        (root / crop.folder / crop.name).write_bytes(jpeg)
        yield number, hashlib.sha256(image.tobytes()).digest()


def _who(settings: Settings, crowd: list[Person], crop: Crop) -> Person:
    if crop.person >= 0:
        return crowd[crop.person]
    number = -1 - crop.person
    return draw_person(f"stranger/{settings.seed}/{number}", stream("stranger", settings.seed, number))

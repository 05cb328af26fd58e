"""Drawn people who walk from camera to camera, as video in the format of MOTChallenge, the same for the same seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from osnet.checks import check_bool, check_choice, check_integer, check_number
from osnet.drawn.camera import WORLDS, expose_frame, place_camera, to_jpeg
from osnet.drawn.film import Film, check_mp4
from osnet.drawn.folder import free_folder, new_folder
from osnet.drawn.frame import Seen, Walker, draw_frame
from osnet.drawn.person import Person, draw_crowd
from osnet.drawn.place import Place, overlook
from osnet.drawn.streams import stream
from osnet.drawn.walk import Walk, walks
from osnet.files import PathLike
from osnet.progress import Progress

MAX_PEOPLE, MAX_CAMERAS = 1000, 99

RECORD = "drawn.json"
"""File beside the sequences that records how they were drawn."""

DETECTABLE = 0.3
"""Least visible fraction of a person whom the drawn detector finds."""

RECIPE = 1
"""Increased by every change that makes the same seed draw other pixels or boxes."""


@dataclass(frozen=True)
class VideoSettings:
    """Everything that the frames and boxes of a drawn video depend on, apart from the version of Pillow."""

    people: int
    cameras: int
    seconds: float
    fps: int
    width: int
    height: int
    seed: int
    world: str
    misses: float
    jitter: float
    recipe: int = RECIPE

    @property
    def frames(self) -> int:
        """Of each camera."""
        return max(1, round(self.seconds * self.fps))


@dataclass(frozen=True)
class DrawnVideo:
    """What `draw_video` wrote.

    Attributes:
        root: folder with a sequence for each camera and ``drawn.json``.
        settings: what it was drawn from.
        sequences: names of the sequences, ``camera1``, ``camera2``, ...
        frames: number of frames of all cameras together.
        boxes, detections: lines of all ``gt.txt`` and all ``det.txt``.
        pixels_sha256: digest of the SHA-256 digests of every frame's pixels, camera by camera. It does not depend on
            libjpeg, whose versions write different bytes for equal pixels.
    """

    root: Path
    settings: VideoSettings
    sequences: tuple[str, ...]
    frames: int
    boxes: int
    detections: int
    pixels_sha256: str

    def as_dict(self) -> dict[str, object]:
        """For JSON; ``root`` as text."""
        return {**dataclasses.asdict(self), "root": str(self.root), "sequences": list(self.sequences)}


def draw_video(
    out: PathLike,
    *,
    people: int = 12,
    cameras: int = 3,
    seconds: float = 30,
    fps: int = 10,
    width: int = 640,
    height: int = 360,
    seed: int = 0,
    world: str = "street",
    misses: float = 0.0,
    jitter: float = 0.0,
    mp4: bool = False,
    progress: bool | None = None,
) -> DrawnVideo:
    """Draw `people` who walk through the views of `cameras`, and write a sequence in MOT format for each camera.

    People enter, walk, hide one another, leave, and appear in another camera some seconds later. A sequence is a folder
    ``camera1``, ``camera2``, ... in `out`: ``seqinfo.ini``, ``img1/000001.jpg`` ..., ``gt/gt.txt`` and ``det/det.txt``.
    All cameras film at the same time: frame n shows the same moment in each. `out` appears complete or not at all.

    ``gt.txt`` has ``frame,id,left,top,width,height,1,1,visibility``: one line for everybody of whom at least part of
    the box is in the frame. As in MOTChallenge, frames, ids and pixels are counted from 1, boxes contain the whole body
    and may leave the frame, and visibility is the fraction of the body that neither other people nor the frame's edge
    hide. A person has the same id in every camera. ``det.txt`` has ``frame,-1,left,top,width,height,confidence,-1,-1,
    -1``: the same boxes, cut at the frame's edges, of people who are visible by at least 0.3.

    The same arguments give the same bytes with the same Pillow and PyAV.

    Args:
        out: folder that does not exist yet, or an empty one.
        people: 1 to 1000. They are the first identities of `draw_dataset` with the same seed.
        cameras: 1 to 99. They are the cameras of `draw_dataset` with the same seed and world.
        seconds: length of the video, above 0, at most 3600.
        fps: frames per second, 1 to 60.
        width, height: of a frame in pixels, 64 to 4096.
        seed: integer of at least 0.
        world: ``street`` or ``indoor``.
        misses: fraction of the detections that are left out of ``det.txt``, 0 to 1.
        jitter: standard deviation of the error of a detection's edges, as a fraction of its width (left and right) and
            height (top and bottom), 0 to 0.5.
        mp4: also write each camera's frames as ``camera1.mp4``, ``camera2.mp4``, ... beside its folder. Needs PyAV and
            an even width and height.
        progress: show a bar on stderr, or a line now and then if that is no terminal; default: only a bar.

    Raises:
        OptionError: a value is out of range, or `out` is a file or a folder that is not empty; nothing was drawn.
        DependencyError: `mp4` without PyAV; nothing was drawn.
        DiskError: `out` cannot be written; nothing is left.
    """
    settings = _checked(people, cameras, seconds, fps, width, height, seed, world, misses, jitter)
    if check_bool("mp4", mp4):
        check_mp4(settings.width, settings.height)
    final = free_folder(out)
    names = tuple(f"camera{number}" for number in range(1, settings.cameras + 1))
    boxes = detections = 0
    digest = hashlib.sha256()
    with new_folder(final) as private, Progress("drawing", "frames", show=progress) as show:
        done = 0
        for number, name in enumerate(names, 1):
            found, detected = [], []
            for frame in _film(settings, private / name, number, mp4=mp4):
                digest.update(frame.digest)
                found.extend(frame.truth)
                detected.extend(frame.detected)
                done += 1
                show(done, settings.frames * settings.cameras)
            _write(private / name / "gt" / "gt.txt", found)
            _write(private / name / "det" / "det.txt", detected)
            (private / name / "seqinfo.ini").write_text(_seqinfo(name, settings), encoding="utf-8")
            boxes, detections = boxes + len(found), detections + len(detected)
        record = {**dataclasses.asdict(settings), "pixels_sha256": digest.hexdigest()}
        (private / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    frames = settings.frames * settings.cameras
    return DrawnVideo(final, settings, names, frames, boxes, detections, digest.hexdigest())


def _checked(
    people: int, cameras: int, seconds: float, fps: int, width: int, height: int, seed: int, world: str,
    misses: float, jitter: float,
) -> VideoSettings:  # fmt: skip
    check_integer("people", people, least=1, most=MAX_PEOPLE)
    check_integer("cameras", cameras, least=1, most=MAX_CAMERAS)
    check_number("seconds", seconds, above=0, most=3600)
    check_integer("fps", fps, least=1, most=60)
    check_integer("width", width, least=64, most=4096)
    check_integer("height", height, least=64, most=4096)
    check_integer("seed", seed, least=0, most=2**63 - 1)
    check_choice("world", world, WORLDS)
    check_number("misses", misses, least=0, most=1)
    check_number("jitter", jitter, least=0, most=0.5)
    return VideoSettings(
        int(people), int(cameras), float(seconds), int(fps), int(width), int(height), int(seed), world,
        float(misses), float(jitter),
    )  # fmt: skip


@dataclass(frozen=True)
class _Frame:
    digest: bytes
    truth: list[str]
    detected: list[str]


def _film(settings: VideoSettings, folder: Path, number: int, *, mp4: bool) -> Iterator[_Frame]:
    """Write the frames of camera `number` into the new `folder`, with empty folders for the boxes."""
    for name in ("img1", "gt", "det"):
        (folder / name).mkdir(parents=True)
    crowd = draw_crowd(settings.seed, settings.people)
    cameras = [place_camera(settings.seed, settings.world, n) for n in range(1, settings.cameras + 1)]
    places = [overlook(camera, settings.width, settings.height) for camera in cameras]
    planned = walks(settings.seed, crowd, cameras, places, settings.frames / settings.fps)
    here = [walk for walk in planned if walk.camera == number]
    camera, place = cameras[number - 1], places[number - 1]
    path = folder.parent / f"{folder.name}.mp4"
    with Film(path, settings.fps, settings.width, settings.height) if mp4 else nullcontext() as film:
        for frame in range(1, settings.frames + 1):
            second = (frame - 1) / settings.fps
            rng = stream("video", settings.seed, settings.world, number, frame)
            scene, seen = draw_frame(settings.seed, camera, place, _walkers(here, crowd, second))
            image = expose_frame(scene, camera, rng)
            if film:
                film.add(image)
            (folder / "img1" / f"{frame:06d}.jpg").write_bytes(to_jpeg(image, camera))
            inside = [box for box in seen if _inside(box, place)]
            yield _Frame(
                hashlib.sha256(image.tobytes()).digest(),
                [_truth(frame, box) for box in inside],
                [line for box in inside for line in _detection(frame, box, settings, rng)],
            )


def _walkers(here: list[Walk], crowd: list[Person], second: float) -> list[Walker]:
    found = []
    for walk in here:
        if walk.start <= second < walk.end:
            (x, z), heading, pose = walk.at(second)
            found.append(Walker(walk.person + 1, crowd[walk.person], x, z, heading, pose))
    return sorted(found, key=lambda walker: walker.number)


def _inside(box: Seen, place: Place) -> bool:
    across = -box.width < box.left < place.width
    return across and -box.height < box.top < place.height


def _truth(frame: int, box: Seen) -> str:
    corner = f"{box.left + 1},{box.top + 1},{box.width},{box.height}"
    return f"{frame},{box.number},{corner},1,1,{box.visibility:.4f}"


def _detection(frame: int, box: Seen, settings: VideoSettings, rng: random.Random) -> Iterator[str]:
    """The line of `box` in det.txt, unless the detector missed it."""
    missed, confidence = rng.random() < settings.misses, rng.uniform(0.9, 1)
    errors = [rng.gauss(0, 1) * settings.jitter for _ in range(4)]  # drawn for every box, whatever is missed
    if missed or box.visibility < DETECTABLE:
        return
    left = max(0.0, box.left + errors[0] * box.width)
    top = max(0.0, box.top + errors[1] * box.height)
    right = min(float(settings.width), box.left + box.width * (1 + errors[2]))
    bottom = min(float(settings.height), box.top + box.height * (1 + errors[3]))
    if right - left >= 1 and bottom - top >= 1:
        corner = f"{left + 1:.2f},{top + 1:.2f},{right - left:.2f},{bottom - top:.2f}"
        yield f"{frame},-1,{corner},{confidence * math.sqrt(box.visibility):.4f},-1,-1,-1"


def _write(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _seqinfo(name: str, settings: VideoSettings) -> str:
    return (
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate={settings.fps}\nseqLength={settings.frames}\n"
        f"imWidth={settings.width}\nimHeight={settings.height}\nimExt=.jpg\n"
    )

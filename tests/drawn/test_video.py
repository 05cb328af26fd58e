"""Drawn video: MOT format, the same person with the same id in every camera, nearer people in front."""

from __future__ import annotations

import configparser
import dataclasses
import errno
import hashlib
import json
import math
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from osnet.drawn import video
from osnet.drawn.body import Pose
from osnet.drawn.camera import WORLDS, place_camera
from osnet.drawn.frame import Walker, draw_frame
from osnet.drawn.person import draw_crowd
from osnet.drawn.place import overlook
from osnet.drawn.video import DrawnVideo, draw_video
from osnet.drawn.walk import TRAVEL, walks
from osnet.errors import DependencyError, DiskError, OptionError
from osnet.video_files import Video

SMALL = {"people": 5, "cameras": 2, "seconds": 2, "fps": 5, "width": 320, "height": 180, "seed": 4, "progress": False}
STANDING = Pose(0.0, 0.0, 0.0, ("swing", "swing"))
CAMERA = place_camera(1, "street", 1)
PLACE = overlook(CAMERA, 640, 360)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DrawnVideo:
    return draw_video(tmp_path_factory.mktemp("video") / "set", **SMALL)


def lines(path: Path) -> list[list[float]]:
    return [[float(value) for value in line.split(",")] for line in path.read_text().splitlines()]


def contents(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def standing(number: int, x: float, z: float) -> Walker:
    return Walker(number, draw_crowd(1, 3)[number - 1], x, z, math.pi / 2, STANDING)


def test_each_camera_is_a_mot_sequence(small: DrawnVideo) -> None:
    assert small.sequences == ("camera1", "camera2")
    assert sorted(path.name for path in small.root.iterdir()) == ["camera1", "camera2", "drawn.json"]
    boxes = detections = 0
    for name in small.sequences:
        folder = small.root / name
        read = configparser.ConfigParser()
        read.read(folder / "seqinfo.ini")
        assert dict(read["Sequence"]) == {
            "name": name, "imdir": "img1", "framerate": "5", "seqlength": "10", "imwidth": "320", "imheight": "180",
            "imext": ".jpg",
        }  # fmt: skip
        assert sorted(path.name for path in (folder / "img1").iterdir()) == [f"{n:06d}.jpg" for n in range(1, 11)]
        with Image.open(folder / "img1" / "000001.jpg") as image:
            assert (image.size, image.mode, image.format) == ((320, 180), "RGB", "JPEG")
        truth, detected = lines(folder / "gt" / "gt.txt"), lines(folder / "det" / "det.txt")
        assert {len(line) for line in truth} == {9}
        assert {len(line) for line in detected} == {10}
        assert max(Counter((line[0], line[1]) for line in truth).values()) == 1
        for frame, person, left, top, width, height, flag, kind, visibility in truth:
            assert 1 <= frame <= 10
            assert 1 <= person <= 5
            assert (flag, kind) == (1, 1)
            assert 0 <= visibility <= 1
            assert min(left + width, top + height) > 1
            assert left <= 320
            assert top <= 180
        for _, person, left, top, width, height, confidence, *rest in detected:
            assert (person, rest) == (-1, [-1, -1, -1])
            assert 0 < confidence <= 1
            assert min(left, top) >= 1
            assert left + width <= 321
            assert top + height <= 181
        boxes, detections = boxes + len(truth), detections + len(detected)
    assert (boxes, detections) == (small.boxes, small.detections)
    assert boxes > 30


def test_the_record_says_how_to_draw_it_again(small: DrawnVideo) -> None:
    record = json.loads((small.root / "drawn.json").read_text())
    assert record.pop("pixels_sha256") == small.pixels_sha256
    assert record == dataclasses.asdict(small.settings)
    assert json.loads(json.dumps(small.as_dict()))["frames"] == 20


@pytest.mark.slow
def test_same_bytes_for_the_same_seed(small: DrawnVideo, tmp_path: Path) -> None:
    again = draw_video(tmp_path / "again", **SMALL)
    assert contents(again.root) == contents(small.root)
    assert again.pixels_sha256 == small.pixels_sha256
    other = draw_video(tmp_path / "other", **{**SMALL, "seed": 5, "seconds": 0.2})
    assert not {*contents(small.root / "camera1" / "img1").values()} & {*contents(other.root).values()}


def test_pixels_are_those_of_every_other_machine(small: DrawnVideo) -> None:
    """When this fails, a change of the drawing was meant, and `video.RECIPE` goes up with it, or a library rounds in
    another way."""
    if PIL.__version__.split(".")[0] != "13":
        pytest.skip(f"no pixels are recorded for Pillow {PIL.__version__}")
    assert small.pixels_sha256 == "bf6053433fe05765ef77668b1158dfc83a7dd5617b075cf51aad0ef7d8ada08f"


def test_detections_may_be_missed_and_inexact_without_another_change(small: DrawnVideo, tmp_path: Path) -> None:
    noisy = draw_video(tmp_path / "noisy", **SMALL, misses=0.5, jitter=0.1)
    digests, exact = contents(noisy.root), contents(small.root)
    changed = {name for name, digest in digests.items() if exact[name] != digest}
    assert changed == {"camera1/det/det.txt", "camera2/det/det.txt", "drawn.json"}
    assert 0.2 * small.detections < noisy.detections < 0.8 * small.detections
    for name in small.sequences:
        seen = {tuple(line[:6]) for line in lines(small.root / name / "det" / "det.txt")}
        assert not seen & {tuple(line[:6]) for line in lines(noisy.root / name / "det" / "det.txt")}
        whole = {(line[0], -1, *line[2:6]) for line in lines(small.root / name / "gt" / "gt.txt") if line[8] == 1}
        assert len(whole) > 5
        assert whole <= seen, "without jitter, boxes that nothing hides are those of the truth"


@pytest.mark.slow
def test_each_camera_may_be_a_video_file_too(small: DrawnVideo, tmp_path: Path) -> None:
    pytest.importorskip("av")
    drawn, again = (draw_video(tmp_path / name, **SMALL, mp4=True) for name in ("drawn", "again"))
    digests = contents(drawn.root)
    assert contents(again.root) == digests
    assert {name: digest for name, digest in digests.items() if not name.endswith(".mp4")} == contents(small.root)
    assert {"camera1.mp4", "camera2.mp4"} < digests.keys()
    film = Video(drawn.root / "camera2.mp4")
    assert film.frames == 10
    for number in (1, 10):
        with Image.open(drawn.root / "camera2" / "img1" / f"{number:06d}.jpg") as frame:
            error = np.abs(film.frame(number).astype(int) - np.asarray(frame.convert("RGB"), int)).mean()
        assert error < 6, "the same frame, but for two kinds of compression"


def test_a_video_file_needs_pyav_and_even_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r"osnet\[video\]"):
        draw_video(tmp_path / "out", **SMALL, mp4=True)
    monkeypatch.setitem(sys.modules, "av", object())
    with pytest.raises(OptionError, match="expected an even width and height, found 320x181"):
        draw_video(tmp_path / "out", **{**SMALL, "height": 181}, mp4=True)
    assert not list(tmp_path.iterdir())


def test_a_detector_that_misses_everybody_leaves_an_empty_file(tmp_path: Path) -> None:
    none = draw_video(tmp_path / "none", **{**SMALL, "seconds": 0.4}, misses=1)
    assert none.boxes > 0
    assert none.detections == 0
    assert (none.root / "camera1" / "det" / "det.txt").read_bytes() == b""


def test_somebody_nearer_hides_who_is_behind() -> None:
    behind, before = standing(1, 0.05, PLACE.near + 2), standing(2, 0.0, PLACE.near + 1)
    _, alone = draw_frame(1, CAMERA, PLACE, [behind])
    _, both = draw_frame(1, CAMERA, PLACE, [behind, before])
    assert alone[0].visibility == both[1].visibility == 1
    assert both[0].visibility < 0.5
    assert dataclasses.replace(both[0], visibility=1.0) == alone[0], "a box contains the hidden part, too"


def test_the_edge_of_the_frame_hides_and_the_box_leaves_it() -> None:
    z = (PLACE.near + PLACE.far) / 2
    edge = 320 / PLACE.focal * PLACE.depth(z, 0.9)
    _, (seen,) = draw_frame(1, CAMERA, PLACE, [standing(1, edge, z)])
    assert seen.left < 640 < seen.left + seen.width
    assert 0.2 < seen.visibility < 0.8
    assert draw_frame(1, CAMERA, PLACE, [standing(1, 2 * edge, z)])[1] == []


def test_a_box_is_what_the_person_changes_in_the_picture() -> None:
    walker = standing(1, 0.3, 0.6 * PLACE.far)
    empty, _ = draw_frame(1, CAMERA, PLACE, [])
    scene, (seen,) = draw_frame(1, CAMERA, PLACE, [walker])
    changed = np.abs(np.asarray(scene, int) - np.asarray(empty, int)).max(2) > 12
    upper = changed[: seen.top + seen.height // 2]  # above the shadow
    rows, columns = upper.any(1).nonzero()[0], upper.any(0).nonzero()[0]
    assert abs(rows[0] - seen.top) <= 1
    assert seen.left - 1 <= columns[0] < columns[-1] <= seen.left + seen.width


def test_who_is_twice_as_far_is_half_as_tall_and_stands_higher() -> None:
    near, far = standing(1, 0.0, PLACE.near), standing(1, 0.0, 2 * PLACE.near)
    (_, (first,)), (_, (second,)) = (draw_frame(1, CAMERA, PLACE, [walker]) for walker in (near, far))
    # Along the axis of a camera that looks down by `pitch`; people are drawn around a point 0.9 m above the ground.
    depths = [z * math.cos(PLACE.pitch) + (PLACE.up - 0.9) * math.sin(PLACE.pitch) for z in (near.z, far.z)]
    assert first.height / second.height == pytest.approx(depths[1] / depths[0], rel=0.08)
    for walker, seen in ((near, first), (far, second)):
        column, row, _ = PLACE.pixel(walker.x, walker.z)
        assert seen.top + seen.height == pytest.approx(row, abs=0.06 * seen.height)
        assert seen.left < column < seen.left + seen.width


@pytest.mark.parametrize("world", WORLDS)
def test_people_go_from_camera_to_camera(world: str) -> None:
    crowd = draw_crowd(7, 6)
    cameras = [place_camera(7, world, number) for number in (1, 2, 3)]
    places = [overlook(camera, 640, 360) for camera in cameras]
    of_person = defaultdict(list)
    for walk in walks(7, crowd, cameras, places, 120):
        of_person[walk.person].append(walk)
    assert sorted(of_person) == list(range(6))
    for tour in of_person.values():
        assert tour[0].start <= 0 < tour[0].end
        assert tour[-1].end + TRAVEL[1] >= 120
        for before, after in zip(tour, tour[1:]):
            assert TRAVEL[0] <= after.start - before.end <= TRAVEL[1]
            assert after.camera != before.camera
        assert len({walk.camera for walk in tour}) >= 2


def test_walks_begin_and_end_outside_the_picture_and_have_an_even_pace() -> None:
    crowd, moved = draw_crowd(3, 8), 0
    for walk in walks(3, crowd, [CAMERA], [PLACE], 60):
        times = np.linspace(walk.start, walk.end, 60)
        found = [walk.at(second) for second in times]
        for (x, z), _, _ in (found[0], found[-1]):
            column, _, scale = PLACE.pixel(x, z, 0.9)
            assert not -0.3 * scale < column < 640 + 0.3 * scale
        places = np.array([place for place, _, _ in found])
        assert (places[:, 1] >= 0.6 * PLACE.near - 0.2).all()
        assert (places[:, 1] <= PLACE.far + 0.1).all()
        steps = np.diff(places, axis=0)
        pace = np.sqrt((steps**2).sum(1)) / np.diff(times)
        assert 0.4 < walk.speed < 2
        assert (pace < 1.001 * walk.speed).all()
        assert np.median(pace) > 0.98 * walk.speed
        # They face where they go: heading 0 is towards the camera.
        headings = np.array([heading for _, heading, _ in found])[1:-1]
        ahead = np.stack([np.sin(headings), -np.cos(headings)], 1)
        along = (steps[1:] * ahead).sum(1) / np.sqrt((steps[1:] ** 2).sum(1))
        assert np.median(along) > 0.98
        phases = np.unwrap([pose.phase for _, _, pose in found])
        assert phases[-1] - phases[0] == pytest.approx(math.tau * walk.walked[-1] / walk.cycle, rel=1e-6)
        moved += 1
    assert moved > 16


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"people": 0}, "people"),
        ({"people": 1001}, "people"),
        ({"cameras": 0}, "cameras"),
        ({"cameras": 100}, "cameras"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"fps": 0}, "fps"),
        ({"fps": 2.5}, "fps"),
        ({"width": 63}, "width"),
        ({"height": 5000}, "height"),
        ({"seed": -1}, "seed"),
        ({"world": "moon"}, "street, indoor"),
        ({"misses": 1.1}, "misses"),
        ({"jitter": 0.6}, "jitter"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path: Path, change: dict, says: str) -> None:
    with pytest.raises(OptionError, match=says) as caught:
        draw_video(tmp_path / "out", **{**SMALL, **change})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, encode = Counter(), video.to_jpeg

    def full(image: Image.Image, camera: object) -> bytes:
        frames["drawn"] += 1
        if frames["drawn"] == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return encode(image, camera)

    monkeypatch.setattr(video, "to_jpeg", full)
    with pytest.raises(DiskError, match="No space left"):
        draw_video(tmp_path / "out", **SMALL)
    assert frames["drawn"] == 3
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OptionError, match="not empty"):
        draw_video(tmp_path, **SMALL)

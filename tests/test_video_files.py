"""Frames of video files: each has the same pixels however it is reached, and damage costs as little as it can."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osnet.errors import ImageError
from osnet.video_files import Video
from tests.videos import HEIGHT, WIDTH, film, pictures

COUNT = 60
KINDS = [
    ("plain.mp4", "libx264", {}),
    ("open_groups.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3"}),
    ("renewed_bit_by_bit.mkv", "libx264", {"x264-params": "intra-refresh=1"}),
    ("hevc.mp4", "libx265", {"x265-params": "keyint=10:open-gop=1:log-level=none"}),
    ("plain.ts", "libx264", {}),
    ("plain.webm", "libvpx", {}),
    ("no_times.avi", "libx264", {}),
    ("jpeg.mov", "mjpeg", {}),
]


def every_frame(path: Path) -> list[Any]:
    with Video(path) as video:
        return [video.frame(number) for number in range(1, COUNT + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec", "options"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_frame_has_the_same_pixels_however_it_is_reached(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = film(tmp_path / name, codec, COUNT, **options)
    expected = every_frame(path)
    errors = [np.abs(a.astype(int) - b).mean() for a, b in zip(expected, pictures(COUNT))]
    assert max(errors) < 30, "frames are not in their order"
    with Video(path) as jumping:
        for number in (45, 12, 59, 60, 60, 3, 31, 50):
            with Video(path) as fresh:
                np.testing.assert_array_equal(fresh.frame(number), expected[number - 1], str(number))
            np.testing.assert_array_equal(jumping.frame(number), expected[number - 1], str(number))


@pytest.mark.slow
def test_a_frame_far_ahead_is_reached_without_decoding_all_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "v.mp4", count=COUNT)
    decoded = []
    plain = Video._frames

    def counted(self: Video, *args: Any) -> Any:
        for frame in plain(self, *args):
            decoded.append(frame.pts)
            yield frame

    with Video(path) as video:
        assert video.frames == COUNT
        monkeypatch.setattr(Video, "_frames", counted)
        for number in (2, 58, 25):
            decoded.clear()
            video.frame(number)
            assert len(decoded) <= 20, number
        video.frame(26)
        assert len(decoded) <= 21


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    with Video(film(tmp_path / "v.mp4", count=12)) as video:
        for _ in range(2):
            with pytest.raises(ImageError, match=r"v\.mp4: no frame 13, the video ends after frame 12"):
                video.frame(13)
        assert video.frame(12).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v.mkv", "v.avi"])
def test_of_a_file_that_was_cut_the_frames_before_are_the_same(name: str, tmp_path: Path) -> None:
    path = film(tmp_path / name, count=COUNT)
    expected = every_frame(path)
    os.truncate(path, path.stat().st_size * 2 // 3)
    with Video(path) as video:
        good = 0
        for number in range(1, COUNT + 1):
            try:
                found = video.frame(number)
            except ImageError as error:
                assert "\n" not in str(error)  # noqa: PT017
            else:
                np.testing.assert_array_equal(found, expected[number - 1])
                good += 1
        assert 30 < good < 50


@pytest.mark.slow
def test_damage_in_the_middle_costs_the_frames_of_its_group(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", count=COUNT)
    expected = every_frame(path)
    content = bytearray(path.read_bytes())
    with Video(path) as video:
        key = [packet.pos for packet in video._container.demux(video=0) if packet.is_keyframe][3]
    content[key + 4 : key + 60] = bytes(56)
    path.write_bytes(content)
    good, lost = [], []
    with Video(path) as video:
        for number in range(1, COUNT + 1):
            try:
                if np.array_equal(video.frame(number), expected[number - 1]):
                    good.append(number)
            except ImageError as error:
                assert "is damaged" in str(error)  # noqa: PT017
                lost.append(number)
    assert good[:24] == list(range(1, 25))
    assert good[-18:] == list(range(43, 61))
    assert 45 < len(good) < COUNT
    assert len(good) + len(lost) == COUNT, "a frame with other pixels passed for a good one"


def test_a_video_is_turned_upright(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", count=5)
    with Video(path) as video:
        expected = video.frame(3)
    content = path.read_bytes()
    matrix = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = content.index(matrix, content.index(b"tkhd"))
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # by a quarter, clockwise
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])
    with Video(path) as video:
        np.testing.assert_array_equal(video.frame(3), np.rot90(expected, -1))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "cannot be read as a video"),
        (b"\0\0\0\x18ftypmp42", "cannot be read as a video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "cannot be read as a video"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "cannot be read as a video"),
    ],
)
def test_what_is_not_a_video_is_one_line(content: bytes, match: str, tmp_path: Path) -> None:
    film(tmp_path / "other.mp4", count=3)
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=match) as caught:
        Video(tmp_path / "v.mp4")
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r"gone\.mp4: cannot be read as a video"):
        Video(tmp_path / "gone.mp4")

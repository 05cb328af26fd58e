"""Boxes of a video or a folder of frames → a folder of features."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from osnet.errors import DataError, ImageError, OptionError, OsnetError
from osnet.inference import shards
from osnet.inference.embedder import Embedder
from osnet.inference.feature_files import read_features
from osnet.inference.frames import FrameSource
from osnet.inference.shards import embed_shards
from osnet.video_files import Video
from tests.recipe import recipe_weights
from tests.videos import film, pictures, sequence

COUNT = 40


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(recipe_weights("osnet_x0_25"), precision="fp32", batch_size=4)


def box_file(path: Path, frames: range = range(1, COUNT + 1), people: int = 2) -> Path:
    """Boxes sorted by person, as in gt.txt; the second person is unknown."""
    lines = [
        f"{frame},{person if person != 2 else -1},{frame % 30 + 10 * person},{4 + person},30,45,1,1,{person / 10}\n"
        for person in range(1, people + 1)
        for frame in frames
    ]
    path.write_text("".join(lines))
    return path


def rows(out: Path) -> list[dict[str, object]]:
    return [row for part in sorted(out.glob("part-*")) for row in pq.read_table(part).to_pylist()]


@pytest.mark.slow
def test_every_box_is_cut_out_of_its_frame(embedder: Embedder, tmp_path: Path) -> None:
    frames = pictures(6)
    folder = sequence(tmp_path / "S", frames)
    source = FrameSource([folder], box_file(tmp_path / "gt.txt", range(2, 7, 2)))
    result = embed_shards(embedder, source, tmp_path / "out", part_size=4)
    assert (result.parts, result.written, result.failed) == (2, 6, 0)
    table = read_features(tmp_path / "out", lazy=True).to_table()
    names = ["frame", "person", "x1", "y1", "x2", "y2", "confidence", "class", "visibility"]
    assert table.column_names == ["file", "feature", *names]
    assert table["frame"].to_pylist() == [2, 2, 4, 4, 6, 6]
    assert table["person"].to_pylist() == [1, None] * 3
    assert table["visibility"].to_pylist() == [0.1, 0.2] * 3
    assert table["file"].to_pylist() == [str(folder / f"img1/{n:06}.png") for n in (2, 2, 4, 4, 6, 6)]
    corners = np.column_stack([table[name] for name in names[2:6]])
    assert corners[0].tolist() == [11, 4, 41, 49]
    for row, (frame, corner) in enumerate(zip(table["frame"].to_pylist(), corners)):
        expected = embedder(frames[frame - 1], boxes=corner[None])[0]
        np.testing.assert_allclose(table["feature"][row].as_py(), expected, atol=1e-6)


@pytest.mark.slow
def test_a_video_gives_the_features_of_its_frames_and_decodes_each_once(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "v.mp4", count=COUNT)
    with Video(path) as video:
        frames = [video.frame(number) for number in range(1, COUNT + 1)]
    decoded: list[int] = []
    plain = Video._frames

    def counted(self: Video, *args: object) -> object:
        for frame in plain(self, *args):  # type: ignore[arg-type]
            decoded.append(frame.pts)
            yield frame

    source = FrameSource([path], box_file(tmp_path / "gt.txt"))
    monkeypatch.setattr(Video, "_frames", counted)
    embed_shards(embedder, source, tmp_path / "film", part_size=25)
    assert len(decoded) == len(set(decoded)) == COUNT
    embed_shards(
        embedder, FrameSource([sequence(tmp_path / "S", frames)], tmp_path / "gt.txt"), tmp_path / "S.out", part_size=25
    )
    of_film, of_files = rows(tmp_path / "film"), rows(tmp_path / "S.out")
    assert {row.pop("file") for row in of_film} == {str(path)}
    assert len({row.pop("file") for row in of_files}) == COUNT
    assert of_film == of_files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_a_run_that_goes_on_gives_the_same_bits(name: str, embedder: Embedder, tmp_path: Path) -> None:
    path, boxes = film(tmp_path / name, count=COUNT), box_file(tmp_path / "gt.txt")
    embed_shards(embedder, FrameSource([path], boxes), tmp_path / "one", part_size=11)
    expected = {part.name: pq.read_table(part) for part in (tmp_path / "one").glob("part-*")}
    for number in (2, 0, 1):
        embed_shards(embedder, FrameSource([path], boxes), tmp_path / "shards", part_size=11, shard=(number, 3))
    for lost in ("part-00000001.parquet", "part-00000006.parquet"):
        (tmp_path / "one" / lost).unlink()
    result = embed_shards(embedder, FrameSource([path], boxes), tmp_path / "one")
    assert (result.computed, result.there) == (2, 6)
    for folder in ("one", "shards"):
        found = {part.name: pq.read_table(part) for part in (tmp_path / folder).glob("part-*")}
        assert found == expected


@pytest.mark.slow
def test_of_a_video_that_was_cut_nothing_is_lost_but_what_is_missing(embedder: Embedder, tmp_path: Path) -> None:
    path, boxes = film(tmp_path / "v.avi", count=COUNT), box_file(tmp_path / "gt.txt")
    embed_shards(embedder, FrameSource([path], boxes), tmp_path / "whole", part_size=30)
    os.truncate(path, path.stat().st_size * 3 // 4)
    told: list[str] = []
    result = embed_shards(embedder, FrameSource([path], boxes), tmp_path / "out", part_size=30, on_failure=told.append)
    assert 10 < result.failed < 40
    assert result.written + result.failed == 2 * COUNT
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")[: result.written]
    assert all(re.search(r"v\.avi: (no frame|frame \d+ is damaged)", line) and "\n" not in line for line in told)
    with pytest.raises(ImageError, match=r"v\.avi: (no frame|frame \d+ is damaged)"):
        embed_shards(embedder, FrameSource([path], boxes), tmp_path / "strict", part_size=30, strict=True)


@pytest.mark.slow
def test_a_frame_that_is_missing_and_a_box_outside(embedder: Embedder, tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S", pictures(4))
    (folder / "img1/000002.png").unlink()
    (tmp_path / "det.txt").write_text("1,-1,500,1,9,9,0.5\n1,-1,1,1,30,60,0.5\n2,-1,1,1,30,60,0.5\n4,5,1,1,30,60,0.5\n")
    result = embed_shards(embedder, FrameSource([folder], tmp_path / "det.txt"), tmp_path / "out")
    assert (result.written, result.failed) == (2, 2)
    reasons = pq.read_table(tmp_path / "out/failed.parquet")["reason"].to_pylist()
    assert "the box 499, 0, 508, 9 holds no pixel of the 96x64 image" in reasons[0]
    assert "000002.png: no such file" in reasons[1]
    film(tmp_path / "v.mp4", count=4)
    embed_shards(embedder, FrameSource([tmp_path / "v.mp4"], tmp_path / "det.txt"), tmp_path / "film")
    (reason,) = pq.read_table(tmp_path / "film/failed.parquet")["reason"].to_pylist()
    assert "v.mp4, frame 1: the box 499, 0, 508, 9 holds no pixel" in reason


def test_what_does_not_go_together_is_one_line(tmp_path: Path) -> None:
    folder, path = sequence(tmp_path / "S", pictures(3)), film(tmp_path / "v.mp4", count=3)
    boxes = box_file(tmp_path / "gt.txt", range(1, 5))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "bad.txt").write_text("1,2\n")
    for inputs, file, error, match in (
        ([folder], boxes, DataError, r"has boxes of frame 4, but .*S ends after frame 3: it was cut, or the boxes are"),
        ([path], boxes, DataError, r"has boxes of frame 4, but .*v\.mp4 ends after frame 3"),
        ([folder, path], boxes, OptionError, "one video or folder of frames, got 2 inputs"),
        ([tmp_path / "a.png"], boxes, OptionError, r"a\.png is neither"),
        ([tmp_path / "gone.mp4"], boxes, ImageError, "no such file or folder"),
        ([path], tmp_path / "bad.txt", DataError, r"bad\.txt, line 1: expected numbers"),
    ):
        with pytest.raises(error, match=match) as caught:
            FrameSource(inputs, file)
        assert isinstance(caught.value, OsnetError)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_memory_for_frames_is_bounded_in_pixels(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, boxes = film(tmp_path / "v.mp4", count=COUNT), box_file(tmp_path / "gt.txt", people=1)
    ahead: list[int] = []

    def prefetch(work: object, items: object, **how: int) -> object:
        ahead.append(how["ahead"])
        return map(work, items)  # type: ignore[call-overload]

    monkeypatch.setattr(shards, "prefetch", prefetch)
    monkeypatch.setattr(shards, "_PIXELS", 3 * 96 * 64)
    embed_shards(embedder, FrameSource([path], boxes), tmp_path / "out")
    assert ahead == [3]


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from osnet.cli.app import app

    path, boxes = film(tmp_path / "v.mp4", count=4), box_file(tmp_path / "gt.txt", range(1, 5))
    words = ["embed", str(path), "--boxes", str(boxes), "-m", "osnet_x0_25_drawn"]
    app([*words, "-o", f"{tmp_path}/out/"], standalone_mode=False)
    assert "8 features of osnet_x0_25 in fp32" in capsys.readouterr().out
    with pytest.raises(OptionError, match=r"--boxes is for a folder of parts; end the output with a /: -o .*f\.npz/"):
        app([*words, "-o", f"{tmp_path}/f.npz"], standalone_mode=False)
    with pytest.raises(ImageError, match="this is a video; expected images: osnet embed --boxes FILE takes"):
        app(["embed", str(path), "-o", f"{tmp_path}/other/"], standalone_mode=False)

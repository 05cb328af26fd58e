"""The format of MOTChallenge: box files, and folders of numbered frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osnet.data.mot import read_boxes, read_sequence
from osnet.errors import DataError
from tests.videos import pictures, sequence


def boxes(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gt.txt"
    path.write_bytes(text.encode())
    return path


def test_lines_are_sorted_by_frame_and_pixels_counted_from_0(tmp_path: Path) -> None:
    found = read_boxes(
        boxes(tmp_path, "\ufeff2,7,11,21,30,40,1,1,0.5\r\n\n1, 3, 1.5, 1, 10, 20, 0, 8, -1\n2,-1,1,1,5,5\n")
    )
    assert found.frames.tolist() == [1, 2, 2]
    assert found.ids.tolist() == [3, 7, -1]
    assert found.corners.tolist() == [[0.5, 0, 10.5, 20], [10, 20, 40, 60], [0, 0, 5, 5]]
    np.testing.assert_array_equal(found.confidence, [0, 1, np.nan])
    assert found.classes.tolist() == [8, 1, -1]
    np.testing.assert_array_equal(found.visibility, [np.nan, 0.5, np.nan])


def test_world_coordinates_are_not_class_and_visibility(tmp_path: Path) -> None:
    found = read_boxes(boxes(tmp_path, "1,-1,1,1,5,5,0.9,2,0.5,3\n1.0e+00,4,1,1,5,5,0.9,-1,-1,-1\n"))
    assert found.classes.tolist() == [-1, -1]
    assert np.isnan(found.visibility).all()
    assert found.confidence.tolist() == [0.9, 0.9]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1,2,3,4,5", "line 2: expected numbers frame,id,left,top,width,height"),
        ("1 2 3 4 5 6", "line 2: expected numbers"),
        ("frame,id,left,top,width,height", "line 2: expected numbers"),
        ("1,2,3,4,nan,6", "line 2: expected numbers"),
        ("1,2,3,4,1e300,6", "line 2: expected numbers"),
        ("0,2,3,4,5,6", "line 2: expected a frame of at least 1 and an integer id"),
        ("1.5,2,3,4,5,6", "line 2: expected a frame of at least 1"),
        ("1,2.5,3,4,5,6", "line 2: expected a frame of at least 1"),
        ("\0\x1b[31m", "line 2: expected numbers"),
    ],
)
def test_a_line_that_is_malformed_is_named(line: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read_boxes(boxes(tmp_path, f"1,2,3,4,5,6\n{line}\n"))
    assert "\n" not in str(caught.value)


def test_a_box_file_without_boxes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no boxes; expected lines"):
        read_boxes(boxes(tmp_path, "\n\n"))
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path / "gone.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path)


def test_frames_are_found_with_and_without_the_folder_of_the_format(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S1", pictures(3), rate=25)
    (folder / "img1" / "notes.txt").write_text("x")
    found = read_sequence(folder)
    assert (found.name, found.rate) == ("S1", 25)
    assert found.frames == {number: folder / "img1" / f"{number:06}.png" for number in (1, 2, 3)}
    plain = read_sequence(folder / "img1")
    assert (plain.name, plain.rate, plain.frames) == ("img1", None, found.frames)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda folder: (folder / "img1" / "last.png").write_bytes(b"x"), "no frame number at the end of the name"),
        (lambda folder: (folder / "img1" / "1.jpg").write_bytes(b"x"), "frame 1 is there twice, also as"),
        (lambda folder: (folder / "img1").rename(folder / "frames"), "no frames; expected images"),
        (lambda folder: (folder / "seqinfo.ini").write_text("frameRate=25"), r"expected a section \[Sequence\]"),
        (lambda folder: (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=fast"), "expected frameRate as"),
    ],
)
def test_a_folder_that_is_not_a_sequence(change: object, match: str, tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S1", pictures(2))
    change(folder)  # type: ignore[operator]
    with pytest.raises(DataError, match=match) as caught:
        read_sequence(folder)
    assert "\n" not in str(caught.value)

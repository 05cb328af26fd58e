"""The format of MOTChallenge: box files, and folders of numbered frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osnet.data.doctor import examine
from osnet.data.load import load_records, load_training_records
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


BOXES = """1,7,11,11,20,40,1,1,1
2,7,12,11,20,40,1,1,1
1,9,41,11,20,40,1,1,0.1
2,9,41,11,20,40,1,1,0.9
2,4,200,200,20,40,1,1,1
1,4,61,11,20,40,1,1,1
2,-1,61,11,20,40,1,1,1
1,5,61,11,20,40,0,1,1
1,6,61,11,20,40,1,3,1
"""


@pytest.fixture
def two_sequences(tmp_path: Path) -> Path:
    for seed, name in enumerate(("S1", "S2")):
        (sequence(tmp_path / "mot" / name, pictures(2, seed)) / "gt").mkdir()
        (tmp_path / "mot" / name / "gt" / "gt.txt").write_text(BOXES)
    return tmp_path / "mot"


def test_boxes_of_sequences_are_training_images(two_sequences: Path) -> None:
    found = load_training_records(two_sequences)
    assert found.name == "mot"
    assert {r.split for r in found.records} == {"train"}
    first = [(r.path.name, found.person_names[r.person], r.camera, r.frame, r.box) for r in found.records[:5]]
    assert first == [
        ("000001.png", "S1/7", 1, 1, (10, 10, 30, 50)),
        ("000001.png", "S1/4", 1, 1, (60, 10, 80, 50)),
        ("000002.png", "S1/7", 1, 2, (11, 10, 31, 50)),
        ("000002.png", "S1/9", 1, 2, (40, 10, 60, 50)),
        ("000002.png", "S1/4", 1, 2, (199, 199, 219, 239)),
    ]
    assert [found.person_names[r.person] for r in found.records[5:]] == ["S2/7", "S2/4", "S2/7", "S2/9", "S2/4"]
    assert len({r.person for r in found.records}) == 6  # the same id in another sequence is another person
    with pytest.raises(DataError, match="evaluate them with osnet eval --protocol reassociation, train on them"):
        load_records(two_sequences)


def test_doctor_looks_at_the_boxes_and_not_at_the_frames(two_sequences: Path) -> None:
    found = {finding.code: finding for finding in examine(two_sequences, use="train").findings}
    assert set(found) == {"single-image", "box-outside"}
    assert "2 of 10 boxes are left out, such as" in found["box-outside"].message
    assert "box 199, 199, 219, 239 holds no pixel" in found["box-outside"].message
    boxes = two_sequences / "S2" / "gt" / "gt.txt"
    boxes.write_text(BOXES + "2,8,11,11,10,20,1,1,1\n2,3,12,11,20,40,1,1,1\n")
    found = {finding.code: finding for finding in examine(two_sequences, use="train").findings}
    assert "1 of 9 images are under 16 x 32 pixels" in found["tiny"].message
    assert "1 file is listed more than once" in found["listed-twice"].message


def test_training_needs_every_frame_as_an_image(two_sequences: Path) -> None:
    (two_sequences / "S2" / "img1" / "000002.png").unlink()
    with pytest.raises(DataError, match=r"S2: no image of frame 2, which has boxes \(1 such frames\)"):
        load_training_records(two_sequences)
    (two_sequences / "S1" / "img1").rename(two_sequences / "frames")
    (two_sequences / "S1" / "film.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"film.mp4: training needs the frames as images, in a folder img1"):
        load_training_records(two_sequences)

"""The contact sheet: which groups and images it shows, frames, and what cannot be shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from osnet.errors import DataError, ExistsError, OptionError
from osnet.evaluation.cluster_files import Clusters, cluster_features
from osnet.evaluation.feature_tables import FeatureRows
from osnet.inference.embedder import Signature
from osnet.report import contact_sheet
from osnet.report.contact_sheet import check_sheet, sheet_rows, write_sheet

SIGNATURE = Signature("osnet_x0_25", "ab" * 32, "fp32", 256, 128, True, False, "1")
RED, GREY, BLUE = (207, 59, 59), (169, 178, 188), (0, 0, 255)


def made(names, angles) -> Clusters:
    features = np.float32([(np.cos(a), np.sin(a)) for a in angles])
    return cluster_features(FeatureRows(tuple(names), features, SIGNATURE, {}), 0.9)


@pytest.fixture
def clusters(tmp_path) -> Clusters:
    """Group 0: five images of persons 1 1 1 2 0; group 1: two of person 3; one image alone."""
    names = [f"000{p}_c1_{i}.png" for i, p in enumerate((1, 1, 1, 2, 0, 3, 3, 4))]
    for name in names:
        Image.new("RGB", (8, 16), BLUE).save(tmp_path / name)
    angles = (0.02, 0.1, -0.2, 0.25, 0, 1.5, 1.6, -2)
    return made([str(tmp_path / name) for name in names], angles)


def test_largest_groups_first_and_the_least_typical_image_last(clusters) -> None:
    rows = sheet_rows(clusters)
    assert [(row.group, row.size, row.person, row.persons) for row in rows] == [(0, 5, 1, 2), (1, 2, 3, 1)]
    assert rows[0].images == (0, 4, 1, 3, 2)  # from the mean direction, 0.034
    assert sheet_rows(clusters, groups=1, each=3) == [rows[0]._replace(images=(0, 1, 2))]
    assert sheet_rows(replace(clusters, persons=None))[0][3:] == (None, 0)


def frames(sheet: Image.Image) -> dict[str, int]:
    """Runs of red, grey and blue pixels along the top side of the frames and through the middle of the first row."""
    top = contact_sheet._TOP
    found = {}
    for what, y, colour in (("red", top, RED), ("grey", top, GREY), ("crops", top + 70, BLUE)):
        line = [max(abs(a - b) for a, b in zip(sheet.getpixel((x, y)), colour)) < 12 for x in range(sheet.width)]
        found[what] = sum(b and not a for a, b in zip([False, *line], line))
    return found


def test_frames_where_persons_are_known(clusters, tmp_path) -> None:
    path = tmp_path / "s.png"
    assert write_sheet(clusters, path) == []
    with Image.open(path) as sheet:
        assert frames(sheet.convert("RGB")) == {"red": 1, "grey": 1, "crops": 5}
    write_sheet(replace(clusters, persons=None, scores=None), path)
    with Image.open(path) as sheet:
        assert frames(sheet.convert("RGB")) == {"red": 0, "grey": 0, "crops": 5}


@pytest.mark.parametrize(("name", "kind"), [("s.png", "PNG"), ("s.jpg", "JPEG"), ("s.JPEG", "JPEG")])
def test_formats_and_a_file_that_exists(clusters, tmp_path, name, kind) -> None:
    write_sheet(clusters, tmp_path / name)
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == kind
    with pytest.raises(ExistsError, match="exists"):
        write_sheet(clusters, tmp_path / name, overwrite=False)


def test_a_sheet_is_bounded(tmp_path, monkeypatch) -> None:
    Image.new("RGB", (8, 16), BLUE).save(tmp_path / "a.png")
    monkeypatch.setattr(contact_sheet, "_crop", lambda rows, place: Image.new("RGB", contact_sheet._CROP, BLUE))
    big = made([str(tmp_path / "a.png")] * 200, np.repeat(np.linspace(0, 6, 5), 40) + np.linspace(0, 0.1, 200))
    assert [len(row.images) for row in sheet_rows(big)] == [contact_sheet.EACH] * len(sheet_rows(big))
    assert len(sheet_rows(big, groups=2)) == 2
    write_sheet(big, tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width < 1400


def test_an_image_that_is_gone_is_named_and_an_empty_box(clusters, tmp_path) -> None:
    (tmp_path / "0001_c1_1.png").unlink()
    (message,) = write_sheet(clusters, tmp_path / "s.png")
    assert "0001_c1_1.png: no such file" in message
    with Image.open(tmp_path / "s.png") as sheet:
        assert frames(sheet.convert("RGB"))["crops"] == 4


def test_boxes_are_cut_out(clusters, tmp_path) -> None:
    path = tmp_path / "frame.png"
    frame = Image.new("RGB", (100, 50), RED)
    frame.paste(BLUE, (10, 0, 30, 10))
    frame.save(path)
    columns = dict(zip(("x1", "y1", "x2", "y2"), ([10.0] * 8, ["0"] * 8, [30] * 7 + [None], [10] * 8)))
    boxes = replace(clusters, rows=clusters.rows._replace(names=(str(path),) * 8, columns=columns))
    assert write_sheet(boxes, tmp_path / "s.png") == []
    with Image.open(tmp_path / "s.png") as sheet:
        assert frames(sheet.convert("RGB")) == {"red": 1, "grey": 1, "crops": 5}
    columns["x1"] = [99.5] + [10] * 7
    (message,) = write_sheet(boxes, tmp_path / "s.png")
    assert "the box 99.5, 0, 30, 10 holds no pixel of the 100x50 image" in message


def test_no_sheet_without_groups_or_images(clusters, tmp_path) -> None:
    with pytest.raises(DataError, match="no two images are in one group"):
        write_sheet(replace(clusters, labels=np.full(8, -1)), tmp_path / "s.png")
    gone = replace(clusters, rows=clusters.rows._replace(names=tuple(f"gone/{i}.jpg" for i in range(8))))
    with pytest.raises(DataError, match=r"none of its 7 images can be read \(gone/0\.jpg: no such file.*; run in the"):
        write_sheet(gone, tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_where_a_sheet_can_be_written(tmp_path) -> None:
    for name, said in (("a.gif", r"to end in one of \.jpg, \.jpeg, \.png"), ("no/a.png", "does not exist; make it")):
        with pytest.raises(OptionError, match=said):
            check_sheet(tmp_path / name)

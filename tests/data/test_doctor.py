"""Each illness of a data set, given to a healthy one, is found; the healthy one has none."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from osnet.data.doctor import FEW_QUERIES, examine
from osnet.data.load import load_records
from osnet.errors import DataError, OptionError
from osnet.training.config import TrainConfig
from osnet.training.dataset import find_images
from tests.data_sets import good_market, image, touch


@pytest.fixture
def market(tmp_path, monkeypatch):
    monkeypatch.setattr("osnet.data.doctor.FEW_QUERIES", 1)
    return good_market(tmp_path / "Market-1501-v15.09.15")


def codes(report):
    return {finding.code: finding for finding in report.findings}


def only(report, code, severity, count=None):
    """The one finding of `report`, which must be a whole one."""
    assert list(codes(report)) == [code]
    finding = report.findings[0]
    assert finding.severity == severity
    assert report.ok == (severity == "warning")
    assert count is None or finding.count == count
    assert "\n" not in finding.message
    assert finding.example is None or finding.example in finding.message
    return finding


def test_a_healthy_set_has_no_findings(market):
    report = examine(market)
    assert report.findings == ()
    assert report.ok
    assert (report.layout, report.protocol) == ("market1501", "market1501")
    assert report.counts["query"] == {"images": 4, "persons": 2, "cameras": 2, "distractors": 0, "junk": 0}
    assert examine(load_records(market), quick=True, use="train").ok


def test_json(market):
    shutil.rmtree(market / "query")
    content = json.loads(json.dumps(examine(market, quick=True).to_dict()))
    assert content["ok"] is False
    assert content["quick"] is True
    assert content["findings"][0]["code"] == "missing-split"
    assert content["counts"]["gallery"]["images"] == 4


def test_wrong_folder_level(market):
    for path in (market.parent, market / "query"):
        finding = only(examine(path), "layout", "error")
        assert str(market) in finding.message


def test_missing_splits(market):
    shutil.rmtree(market / "bounding_box_train")
    assert examine(market).ok
    assert "no training images" in only(examine(market, use="train"), "nothing-to-train-on", "error").message
    good_market(market)
    shutil.rmtree(market / "query")
    assert only(examine(market), "missing-split", "error").example == "query"
    assert examine(market, use="train").ok


def test_few_queries(tmp_path):
    finding = only(examine(good_market(tmp_path)), "few-queries", "warning", 4)
    assert "25.0 points" in finding.message
    assert FEW_QUERIES > 4


def test_identities_in_train_and_test(market):
    image(market / "bounding_box_train" / "0003_c1s1_000009_00.jpg", seed=99)
    image(market / "bounding_box_train" / "0003_c2s1_000009_00.jpg", seed=98)
    touched = [image(market / folder / "0000_c1s1_000001_00.jpg", seed=90 + i)
               for i, folder in enumerate(("bounding_box_train", "bounding_box_test"))]  # fmt: skip
    assert only(examine(market), "identity-overlap", "error", 1).example == "3"
    assert touched


def test_queries_without_a_match(market):
    image(market / "query" / "0009_c1s1_000001_00.jpg", seed=91)
    assert only(examine(market), "query-not-in-gallery", "warning", 1).example == "query/0009_c1s1_000001_00.jpg"
    (market / "query" / "0009_c1s1_000001_00.jpg").unlink()
    image(market / "bounding_box_test" / "0009_c1s1_000001_00.jpg", seed=91)
    image(market / "query" / "0009_c1s1_000002_00.jpg", seed=92)
    assert only(examine(market), "query-in-one-camera", "warning", 1).example == "query/0009_c1s1_000002_00.jpg"


def test_no_query_with_a_match_is_an_error(market):
    for path in (market / "query").iterdir():
        path.rename(path.with_name("8" + path.name[1:]))
    assert only(examine(market), "query-not-in-gallery", "error", 4)


def test_a_single_camera(market):
    for folder in ("query", "bounding_box_test"):
        for path in (market / folder).glob("*_c2*"):
            path.unlink()
    found = codes(examine(market))
    assert found["single-camera"].severity == "error"
    assert found["query-in-one-camera"].severity == "error"
    assert set(found) == {"single-camera", "query-in-one-camera"}


def test_no_cameras(tmp_path, monkeypatch):
    monkeypatch.setattr("osnet.data.doctor.FEW_QUERIES", 1)
    for i in range(4):
        image(tmp_path / f"person{i % 2}" / f"{i}.jpg", seed=i)
    assert only(examine(tmp_path), "unknown-camera", "warning", 4)
    for i in range(4):
        image(tmp_path / f"person{i % 2}" / f"{i}.jpg", seed=i).rename(tmp_path / f"person{i % 2}" / f"c1_{i}.jpg")
    assert only(examine(tmp_path), "single-camera", "warning", 4)


def test_class_imbalance(market):
    image(market / "bounding_box_train" / "0006_c1s1_000000_00.jpg", seed=60)
    assert only(examine(market), "single-image", "warning", 1).example == "6"
    for i in range(1, 25):
        image(market / "bounding_box_train" / f"0006_c1s1_{i:06d}_00.jpg", seed=60 + i)
    finding = only(examine(market), "imbalance", "warning", 1)
    assert "person 6 with 25" in finding.message


def test_files_missing_empty_or_broken(market, tmp_path):
    image(market / "bounding_box_train" / "0001_c1s1_000077_00.jpg", seed=77)
    broken = market / "bounding_box_train" / "0001_c1s1_000001_00.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    assert examine(market, quick=True).ok, "the quick part opens no image"
    finding = only(examine(market), "unreadable", "warning", 1)
    assert finding.example == str(broken)
    assert "1 of 13 images cannot be decoded and are left out" in finding.message
    broken.unlink()
    os.mkfifo(broken)
    assert "it is not a regular file" in only(examine(market, quick=True), "unreadable", "warning", 1).message
    broken.unlink()
    broken.write_bytes(b"")
    assert only(examine(market, quick=True), "empty-file", "warning", 1).example == str(broken)
    assert only(examine(market), "empty-file", "warning", 1)
    (tmp_path / "list.csv").write_text(
        "path,person,camera,split\n" + "".join(
            f"{path},{path.name[:4]},{path.name[6]},{split}\n"
            for folder, split in (("query", "query"), ("bounding_box_test", "gallery"))
            for path in sorted((market / folder).iterdir())
        ) + "none.jpg,3,1,gallery\n"
    )  # fmt: skip
    finding = only(examine(tmp_path / "list.csv", quick=True), "missing-file", "warning", 1)
    assert finding.example == str(tmp_path / "none.jpg")
    for path in market.rglob("*.jpg"):
        path.unlink()
    found = codes(examine(tmp_path / "list.csv", quick=True))
    assert (found["missing-file"].severity, found["missing-file"].count) == ("error", 9)
    assert next(iter(found)) == "missing-file", "what is to be done comes first"


def test_tiny_and_wide_images(market):
    image(market / "bounding_box_train" / "0001_c1s1_000001_00.jpg", size=(15, 64))
    assert "(15 x 64)" in only(examine(market), "tiny", "warning", 1).message
    for i, path in enumerate(market.rglob("*.jpg")):
        image(path, seed=i, size=(64, 33))
    assert only(examine(market), "wide", "warning", 12)


@pytest.mark.parametrize(
    ("source", "target", "code", "severity"),
    [
        ("query/0003_c1s1_000005_00.jpg", "query/0004_c1s1_000099_00.jpg", "duplicate-person", "warning"),
        ("bounding_box_train/0001_c1s1_000001_00.jpg", "query/0001_c1s1_000099_00.jpg", "duplicate-leak", "warning"),
        ("query/0003_c1s1_000005_00.jpg", "bounding_box_test/0003_c2s1_000099_00.jpg", "duplicate-answer", "warning"),
        ("query/0003_c1s1_000005_00.jpg", "bounding_box_test/0003_c1s1_000099_00.jpg", "duplicate", "warning"),
        ("query/0003_c1s1_000005_00.jpg", "bounding_box_test/-1_c1s1_000099_00.jpg", "duplicate", "warning"),
        ("query/0003_c1s1_000005_00.jpg", "query/0003_c1s1_000099_00.jpg", "duplicate", "warning"),
    ],
)
def test_duplicates_by_content(market, source, target, code, severity):
    shutil.copy(market / source, market / target)
    found = codes(examine(market))
    assert found[code].severity == severity
    assert str(market / source) in found[code].message
    assert str(market / target) in found[code].message
    assert sum(code.startswith("duplicate") for code in found) == 1


def test_a_file_listed_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("osnet.data.doctor.FEW_QUERIES", 1)
    for i in range(2):
        image(tmp_path / f"{i}.jpg", seed=i)
    rows = ["0.jpg,1,1,query", "1.jpg,1,2,gallery"]
    for extra, severity in (("1.jpg,1,2,gallery", "warning"), ("1.jpg,2,2,gallery", "error")):
        (tmp_path / "list.csv").write_text("\n".join(["path,person,camera,split", *rows, extra]))
        assert only(examine(tmp_path / "list.csv"), "listed-twice", severity, 1)


def test_unknown_words(market):
    with pytest.raises(OptionError, match=r"use: expected one of evaluate, train, got 'test'"):
        examine(market, use="test")
    with pytest.raises(OptionError, match="dataset: expected one of"):
        examine(market, dataset="test")


def test_hidden_files_are_not_mentioned_and_others_are_named(market):
    touch(market, "query/.0001_c1s1_000001_00.jpg", "query/Thumbs.db", "readme.txt")
    assert examine(market).findings == ()
    touch(market, "query/0001_c1s1_000001_00.heic", "bounding_box_train/notes.txt")
    finding = only(examine(market), "not-used", "warning", 2)
    for name in ("0001_c1s1_000001_00.heic", "notes.txt"):
        assert name in finding.message


def test_nested_images_are_used_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("osnet.data.doctor.FEW_QUERIES", 1)
    for i, (person, camera) in enumerate((p, c) for p in ("ann", "ben") for c in (1, 2)):
        image(tmp_path / person / f"cam{camera}_{i}.jpg", seed=i)
        image(tmp_path / person / f"cam{camera}" / "more" / f"{i}.PNG", seed=10 + i)
    image(tmp_path / "loose.jpg", seed=20)
    found = codes(examine(tmp_path))
    assert set(found) == {"nested", "not-used"}
    assert "count as images of 'ann'" in found["nested"].message
    assert (found["nested"].count, found["not-used"].example) == (4, str(tmp_path / "loose.jpg"))
    assert {record.camera for record in load_records(tmp_path).records} == {1, 2}


def test_what_is_left_when_bad_images_are_out_decides(market):
    for path in (market / "query").iterdir():
        path.write_bytes(b"x")
    found = codes(examine(market))
    assert (found["missing-split"].severity, found["missing-split"].example) == ("error", "query")
    assert (found["unreadable"].severity, found["unreadable"].count) == ("warning", 4)
    assert examine(market, quick=True).ok


@pytest.mark.parametrize(
    ("row", "severity"),
    [("a.jpg,1,2,gallery", "error"), ("a.jpg,1,1,gallery", "warning"), ("a.jpg,-1,2,gallery", "warning")],
)
def test_a_query_that_is_its_own_answer(tmp_path, monkeypatch, row, severity):
    monkeypatch.setattr("osnet.data.doctor.FEW_QUERIES", 1)
    for i, name in enumerate("abcd"):
        image(tmp_path / f"{name}.jpg", seed=i)
    rows = ["a.jpg,1,1,query", "b.jpg,1,2,gallery", "c.jpg,2,1,query", "d.jpg,2,2,gallery", row]
    (tmp_path / "list.csv").write_text("\n".join(["path,person,camera,split", *rows]))
    for quick in (True, False):
        finding = only(examine(tmp_path / "list.csv", quick=quick), "listed-twice", severity, 1)
        assert ("as a query and as its match" in finding.message) == (severity == "error")
        assert finding.message.startswith("1 file is listed more than once")


def test_one_file_is_singular(tmp_path, market):
    (tmp_path / "list.csv").write_text("path,person,camera,split\nno.jpg,1,1,query\n")
    assert "1 listed file is not there" in codes(examine(tmp_path / "list.csv", quick=True))["missing-file"].message
    path = next((market / "bounding_box_train").iterdir())
    shutil.copy(path, path.with_name(path.name.replace("_00.jpg", "_01.jpg")))
    assert "1 image is there more than once" in only(examine(market), "duplicate", "warning", 1).message


def plain_folder(root):
    for i in range(6):
        image(root / "abc"[i % 3] / f"{i}.jpg", seed=i)


def one_person(root):
    for i in range(2):
        image(root / "train" / "ann" / f"{i}.jpg", seed=i)
        image(root / "query" / "ben" / f"c1_{i}.jpg", seed=i + 4)
        image(root / "gallery" / "ben" / f"c2_{i}.jpg", seed=i + 8)


def one_image_each(root):
    for name in "abc":
        image(root / name / f"{name}.jpg", seed=ord(name))


def in_train_and_test(root):
    good_market(root)
    image(root / "bounding_box_train" / "0003_c1s1_000009_00.jpg", seed=99)


def same_picture_of_two(root):
    good_market(root)
    first = next((root / "bounding_box_train").iterdir())
    shutil.copy(first, first.with_name("0002_c2s1_000099_00.jpg"))


def queries_without_answers(root):
    good_market(root)
    for path in (root / "query").iterdir():
        path.rename(path.with_name("8" + path.name[1:]))


def one_unreadable(root):
    good_market(root)
    next((root / "bounding_box_train").iterdir()).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n")


def one_person_unreadable(root):
    good_market(root)
    for path in (root / "bounding_box_train").glob("0002*"):
        path.write_bytes(b"x")


def no_train(root):
    good_market(root)
    shutil.rmtree(root / "bounding_box_train")


@pytest.mark.parametrize(
    ("make", "good"),
    [
        (good_market, True),
        (plain_folder, True),
        (one_person, False),
        (one_image_each, False),
        (in_train_and_test, True),
        (same_picture_of_two, True),
        (queries_without_answers, True),
        (one_unreadable, True),
        (one_person_unreadable, False),
        (no_train, False),
    ],
)
def test_doctor_for_train_accepts_what_train_accepts(tmp_path, make, good):
    make(tmp_path)
    try:
        find_images(TrainConfig(data=str(tmp_path)))
        accepted = True
    except DataError:
        accepted = False
    assert examine(tmp_path, use="train").ok == accepted == good

"""The calibration file: written whole, read back the same, refused when it is anything else."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import osnet
from osnet.errors import DataError, DiskError, OptionError
from osnet.evaluation.calibration import calibrate, read_calibration, write_calibration
from osnet.evaluation.verification import verify_pairs
from tests.evaluation.cases import REFERENCE, problem

SHA = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def calibration():
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    return calibrate(
        verify_pairs(query, gallery, **labels), checkpoint_sha256=SHA, data=["market1501"], backend="openvino"
    )


def test_round_trip(calibration, tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration)
    assert read_calibration(path) == calibration
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]
    assert json.loads(path.read_text())["checkpoint_sha256"] == SHA


def test_threshold_of_a_rate(calibration):
    assert calibration.threshold(1e-3) == calibration.thresholds[1].threshold
    with pytest.raises(DataError, match=r"There are: 0\.0001, 0\.001, 0\.01"):
        calibration.threshold(0.5)


def change(**values):
    return lambda content: content.update(values)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (change(format="other"), "format"),
        (change(extra=1), "expected the keys"),
        (lambda content: content.pop("eer"), "expected the keys"),
        (change(eer="0.1"), "eer must be float"),
        (change(flip=1), "flip must be bool"),
        (change(genuine_pairs=True), "genuine_pairs must be int"),
        (change(data=[1]), "data must be a list of strings"),
        (change(checkpoint_sha256="abc"), "64 lower-case hexadecimal digits"),
        (lambda content: content["thresholds"][0].pop("tpr"), "thresholds: expected the keys"),
        (change(thresholds=[3]), "expected the keys"),
    ],
)
def test_a_file_that_is_not_right_is_refused(calibration, tmp_path, spoil, words):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration)
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        read_calibration(path)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not valid JSON"), ("[" * 100_000, "not valid JSON"), ("[]", "not a calibration file")]
)
def test_other_text_is_refused(tmp_path, text, words):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_calibration(path)


def test_missing_file_and_folder(calibration, tmp_path):
    with pytest.raises(DataError, match="osnet eval --calibrate"):
        read_calibration(tmp_path / "none.json")
    with pytest.raises(DiskError):
        write_calibration(tmp_path / "none" / "calibration.json", calibration)


def test_it_says_how_the_features_were_made(calibration, tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, replace(calibration, precision="bf16", pool="mean"))
    found = read_calibration(path)
    assert (found.backend, found.precision, found.pool) == ("openvino", "bf16", "mean")
    assert found.osnet_version == osnet.__version__
    assert (calibration.precision, calibration.pool) == (None, None)


def test_the_rate_of_a_search_is_shared_among_its_entries(calibration):
    point = calibration.for_search(0.1, 5)
    assert 0.02 / 10**0.1 < point.fpr <= 0.02  # there are ten rates for each factor of ten
    assert calibration.for_search(0.1, 0) == calibration.for_search(0.1, 1)
    assert calibration.for_search(0.1, 50).threshold > point.threshold
    pairs = calibration.impostor_pairs
    assert calibration.for_search(5 / pairs, 5).false_accepts == 1  # the rarest that was measured


@pytest.mark.parametrize(
    ("far", "entries", "words"),
    [
        (0.01, 100, r"one in 10,000 pairs, but .* 7,453 pairs of different people.* choose a rate of at least 0\.014$"),
        (0.01, 8000, "calibrate on more images$"),  # no rate below 1 would do
        (0, 1, "false alarm rate: expected a number above 0"),
        (1, 1, "below 1"),
        (0.1, -1, "entries: expected an integer"),
    ],
)
def test_a_rate_that_was_not_measured_is_refused(calibration, far, entries, words):
    with pytest.raises((DataError, OptionError), match=words):
        calibration.for_search(far, entries)


def test_images_that_are_there_as_two_people():
    rows = np.eye(20, dtype=np.float32)
    ids, others = np.arange(20), np.r_[1, 0, np.arange(2, 20)]  # the first two have each other's number
    found = verify_pairs(rows, rows, query_ids=ids, gallery_ids=others, protocol="camera-blind")
    calibration = calibrate(found, checkpoint_sha256=SHA, data=["shop"])
    assert calibration.for_search(0.1, 1).threshold == pytest.approx(1)
    with pytest.raises(DataError, match=r"one in 300 pairs .* have a similarity of 1, .* are twice in shop"):
        calibration.for_search(0.1, 30)


def test_a_file_without_a_curve_gives_the_next_lower_rate(calibration, tmp_path):
    path = tmp_path / "old.json"
    write_calibration(path, calibration)
    content = json.loads(path.read_text())
    content.pop("curve")
    path.write_text(json.dumps(content))
    old = read_calibration(path)
    assert old.for_search(0.1, 5) == calibration.thresholds[2]
    with pytest.raises(DataError, match="one in 5,000 pairs, which this file does not have; make it again"):
        old.for_search(0.01, 50)


def test_few_searches_for_unenrolled_people_find_somebody():
    """Entries of a person resemble each other, and some people are taken for others more often than most."""
    random = np.random.default_rng(3)
    people = random.standard_normal((300, 8)) * random.uniform(0.5, 2, (300, 1)) + 0.3

    def pictures(persons, each):
        some = np.repeat(people[persons], each, axis=0)
        some = some + 0.4 * random.standard_normal(some.shape)
        return np.float32(some / np.linalg.norm(some, axis=1, keepdims=True)), np.repeat(persons, each)

    (query, query_ids), (gallery, gallery_ids) = pictures(np.arange(150), 2), pictures(np.arange(150), 4)
    found = verify_pairs(query, gallery, query_ids=query_ids, gallery_ids=gallery_ids, protocol="camera-blind")
    calibration = calibrate(found, checkpoint_sha256=SHA, data=["people"])
    enrolled, _ = pictures(np.arange(150, 175), 4)
    others, _ = pictures(np.arange(175, 300), 8)
    best = (others @ enrolled.T).max(axis=1)
    for far in (0.05, 0.2):
        assert (best >= calibration.for_search(far, len(enrolled)).threshold).mean() <= far
        assert (best >= calibration.for_search(far, 1).threshold).mean() > 2 * far  # what a pair's threshold gives

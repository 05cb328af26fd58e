"""The calibration file: written whole, read back the same, refused when it is anything else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import osnet
from osnet.errors import DataError, DiskError
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

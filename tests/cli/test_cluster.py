"""`osnet cluster` as a user types it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osnet.inference.embedder import Signature
from osnet.inference.feature_files import feature_writer
from osnet.variants import FEATURE_DIM
from tests.cli.test_commands import osnet, refused

pytestmark = pytest.mark.slow

SIGNATURE = Signature("osnet_x0_25", "ab" * 32, "fp32", 256, 128, True, False, "1")


def write(path: Path, folder: Path, persons: list[int], signature: Signature = SIGNATURE) -> Path:
    """Features of persons that are easy to tell apart; the last image repeats the first."""
    noise = 0.01 * np.random.default_rng(0).standard_normal((len(persons), FEATURE_DIM))
    features = np.float32(np.eye(5, FEATURE_DIM)[persons] + noise)
    features[-1] = features[0]
    names = [folder / f"{person:04d}_c1_{i}.jpg" for i, person in enumerate(persons)]
    for name in names:
        Image.new("RGB", (16, 32)).save(name)
    with feature_writer(path, signature.to_dict()) as writer:
        writer.write(list(map(str, names)), features)
    return path


@pytest.fixture
def features(tmp_path: Path) -> Path:
    return write(tmp_path / "f.npz", tmp_path, [1, 2, 1, 1, 3, 2, 1])


def test_a_table_a_summary_and_a_sheet(features: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out.csv", tmp_path / "sheet.jpg"
    run = osnet("cluster", features, "-o", out, "--threshold", "0.5", "--sheet", sheet)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "7 images; groups: 2, images alone: 1 (agglomerative, similarity of 0.500 or more)" in run.stdout
    assert "near-duplicates of another image: 1 (similarity of 0.98 or more)" in run.stdout
    assert "pairwise F1 100.0 %: precision 100.0 %, recall 100.0 %; NMI 100.0 %; on 7 images of 3 persons" in run.stdout
    with open(out, newline="") as file:
        assert [int(row["cluster"]) for row in csv.DictReader(file)] == [0, 1, 0, 0, -1, 1, 0]
    with Image.open(sheet) as picture:
        assert picture.format == "JPEG"
    refused(osnet("cluster", features, "-o", out, "--threshold", "0.5"), "out.csv' exists", "--overwrite")
    refused(osnet("cluster", features, "-o", tmp_path / "n.csv", "-t", "0.5", "--sheet", sheet), "sheet.jpg' exists")
    assert not (tmp_path / "n.csv").exists()
    run = osnet(
        "cluster", features, "-o", out, "-t", "0.5", "--method", "dbscan", "--duplicates", "1", "--json", "--overwrite"
    )
    found = json.loads(run.stdout)
    assert (found["method"], found["groups"], found["near_duplicates"], found["alone"]) == ("dbscan", 1, 1, 3)
    assert found["scores"]["precision"] == 1


def test_bad_input_is_one_line(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    other = write(tmp_path / "other.npz", tmp_path, [1, 2], replace(SIGNATURE, precision="bf16"))
    one = write(tmp_path / "one.npz", tmp_path, [1])
    (tmp_path / "t.json").write_text("{}")
    for words, parts in (
        ([features], ("no threshold: measure one", "osnet eval -m MODEL -d DATA --calibrate FILE")),
        ([features, "-t", "2"], ("threshold: expected a number from -1 to 1, got 2.0",)),
        ([features, "--calibration", tmp_path / "t.json"], ("is not a calibration file",)),
        ([features, other, "-t", "0.5"], ("were not made in the same way", "precision bf16 and fp32")),
        ([one, "-t", "0.5"], ("at least 2 images, got 1",)),
        ([features, "-t", "0.5", "--method", "kmeans"], ("expected one of agglomerative, dbscan",)),
        ([features, "-t", "0.5", "--sheet", "s.gif"], ("to end in one of .jpg",)),
        ([tmp_path / "no.npz", "-t", "0.5"], ("no.npz: cannot be read",)),
    ):
        refused(osnet("cluster", *words, "-o", out), *parts)
    assert not out.exists()


def test_the_table_stays_if_the_sheet_cannot_be_drawn(tmp_path: Path) -> None:
    features = write(tmp_path / "f.csv", tmp_path, [1, 2, 1])
    for path in tmp_path.glob("*.jpg"):
        path.unlink()
    run = osnet("cluster", features, "-o", tmp_path / "o.json", "-t", "0.5", "--sheet", tmp_path / "s.png")
    assert run.returncode == 2
    assert "none of its 2 images can be read" in run.stderr
    assert "3 images; groups: 1" in run.stdout
    assert [row["cluster"] for row in json.loads((tmp_path / "o.json").read_text())["rows"]] == [0, -1, 0]

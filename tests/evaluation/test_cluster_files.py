"""Feature files → a table of groups: what may be mixed, whose threshold, what is written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from osnet.errors import DataError, ExistsError, OptionError
from osnet.evaluation.calibration import calibrate, threshold_for, write_calibration
from osnet.evaluation.cluster_files import Clusters, cluster_features, write_clusters
from osnet.evaluation.feature_tables import (
    FeatureRows,
    check_output,
    choose_threshold,
    known_persons,
    read_together,
)
from osnet.evaluation.verification import verify_pairs
from osnet.inference.embedder import Signature
from osnet.inference.feature_files import feature_writer
from osnet.variants import FEATURE_DIM
from tests.evaluation.cases import REFERENCE, problem

SIGNATURE = Signature("osnet_x0_25", "ab" * 32, "fp32", 256, 128, True, False, "1")
NAMES = ["0001_c1_a.jpg", "0001_c2_b.jpg", "0002_c1_c.jpg", "0000_c1_d.jpg", "0001_c1_a2.jpg"]


def features(rows=(0, 0, 1, 2, 0)):
    r = np.random.default_rng(0)
    near = np.eye(3, FEATURE_DIM)[list(rows)] + 0.015 * r.standard_normal((len(rows), FEATURE_DIM))
    near[-1] = near[0]
    return np.float32(near)


def write(path: Path, names, rows, signature=SIGNATURE) -> Path:
    with feature_writer(path, signature.to_dict()) as writer:
        writer.write(names, rows)
    return path


@pytest.fixture
def clusters() -> Clusters:
    return cluster_features(FeatureRows(tuple(NAMES), features(), SIGNATURE, {}), 0.7)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    query, gallery, labels = problem(**REFERENCE[0]["case"])
    made = calibrate(
        verify_pairs(query, gallery, **labels), checkpoint_sha256=SIGNATURE.sha256, data=["d"], precision="fp32"
    )
    path = tmp_path_factory.mktemp("c") / "t.json"
    write_calibration(path, made)
    return path, made


def test_groups_duplicates_and_scores(clusters) -> None:
    assert clusters.labels.tolist() == [0, 0, -1, -1, 0]
    assert clusters.duplicates.tolist() == [-1, -1, -1, -1, 0]
    assert clusters.persons.tolist() == [1, 1, 2, 0, 1]
    assert clusters.scores.f1 == 1
    assert clusters.scores.images == 4  # not the distractor
    found = clusters.to_dict()
    assert (found["images"], found["groups"], found["alone"], found["near_duplicates"]) == (5, 1, 2, 1)
    assert found["with"] == SIGNATURE.to_dict()


def test_persons_are_known_if_every_name_says_them() -> None:
    def rows(*names: str, **columns: list) -> FeatureRows:
        return FeatureRows(names, features((0, 1)), SIGNATURE, columns)

    assert known_persons(rows("x/0012_c3s1_000.jpg", "y/-1_c1.png")).tolist() == [12, -1]
    assert known_persons(rows("0012_c3s1_000.jpg", "a.jpg")) is None
    assert known_persons(rows("0012_c3.jpg", "a.jpg", person=["7", 5.0])).tolist() == [7, 5]
    assert known_persons(rows("0012_c3.jpg", "a.jpg", person=["bob", None])).tolist() == [1, -1]
    assert cluster_features(rows("0000_c1.jpg", "-1_c2.jpg"), 0.7).scores is None


def test_several_files_of_one_signature(tmp_path) -> None:
    rows = features()
    paths = [write(tmp_path / "a.npz", NAMES[:2], rows[:2]), write(tmp_path / "b.parquet", NAMES[2:], rows[2:])]
    names, found, signature, columns, counts = read_together(paths)
    assert names == tuple(NAMES)
    np.testing.assert_array_equal(found, rows)
    assert signature == SIGNATURE
    assert columns == {}
    assert counts == (2, 3)


def test_columns_of_a_parquet_file_travel_with_the_rows(tmp_path) -> None:
    rows = features()
    with_columns, without = write(tmp_path / "a.parquet", NAMES[:2], rows[:2]), write(tmp_path / "b.npz", NAMES, rows)
    table = pq.read_table(with_columns)
    pq.write_table(table.append_column("person", [["x", "y"]]).append_column("x1", [[1, 2]]), with_columns)
    found = read_together([without, with_columns, without])
    assert found.columns == {
        "person": [None] * 5 + ["x", "y"] + [None] * 5,
        "x1": [None] * 5 + [1, 2] + [None] * 5,
    }
    clusters = cluster_features(found, 0.7)
    assert clusters.persons.tolist() == [-1] * 5 + [1, 2] + [-1] * 5
    write_clusters(clusters, tmp_path / "o.parquet")
    written = pq.read_table(tmp_path / "o.parquet")
    assert written.column_names == ["file", "person", "x1", "cluster", "duplicate_of"]
    assert written["person"].to_pylist() == found.columns["person"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "cd" * 32}, "sha256 cdcdcdcdcdcdcdcd and abababababababab"),
        ({"precision": "bf16", "flip": True}, "precision bf16 and fp32, flip True and False"),
    ],
)
def test_mixed_signatures_are_refused(tmp_path, change, said) -> None:
    rows = features()
    one = write(tmp_path / "a.npz", NAMES[:2], rows[:2])
    other = write(tmp_path / "b.npz", NAMES[2:], rows[2:], replace(SIGNATURE, **change))
    with pytest.raises(DataError, match=rf"b\.npz and .*a\.npz were not made in the same way \({said}\)"):
        read_together([one, other])


def test_rows_that_are_not_finite_and_single_images_are_refused(tmp_path) -> None:
    rows = features()
    rows[1, 7], rows[3] = np.inf, np.nan
    with pytest.raises(DataError, match=r"a\.npz: the features of 2 of 5 images .* first of '0001_c2_b\.jpg'"):
        read_together([write(tmp_path / "a.npz", NAMES, rows)])
    with pytest.raises(DataError, match=r"one\.npz: expected the features of at least 2 images, got 1"):
        read_together([write(tmp_path / "one.npz", NAMES[:1], features()[:1])])


def test_the_threshold_of_a_calibration(measured) -> None:
    path, made = measured
    assert choose_threshold(SIGNATURE, calibration=path) == made.threshold(1e-3)
    assert choose_threshold(SIGNATURE, calibration=path, fpr=1e-2) == made.threshold(1e-2)
    assert choose_threshold(SIGNATURE, threshold=-0.25) == -0.25
    with pytest.raises(DataError, match=r"no threshold for a false positive rate of 0\.5"):
        choose_threshold(SIGNATURE, calibration=path, fpr=0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no threshold: measure one .* `osnet eval -m MODEL -d DATA --calibrate FILE`"),
        ({"threshold": 0.5, "calibration": "t.json"}, "--threshold and --calibration exclude each other"),
        ({"threshold": 0.5, "fpr": 0.1}, "--fpr chooses a threshold of --calibration"),
        ({"threshold": 1.5}, "threshold: expected a number from -1 to 1, got 1.5"),
    ],
)
def test_exactly_one_threshold(given, said) -> None:
    with pytest.raises(OptionError, match=said):
        choose_threshold(SIGNATURE, **given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint_sha256": "cd" * 32}, r"checkpoint cdcdcdcdcdcd \(features: abababababab\)"),
        ({"precision": "bf16"}, r"precision bf16 \(features: fp32\)"),
        ({"flip": True, "pool": "mean"}, r"flip True \(features: False\), pool mean \(features: None\)"),
        ({"metric": "euclidean"}, r"metric euclidean \(features: cosine\)"),
    ],
)
def test_a_calibration_of_other_features_is_refused(measured, tmp_path, change, said) -> None:
    write_calibration(tmp_path / "t.json", replace(measured[1], **change))
    with pytest.raises(DataError, match=rf"t\.json' is not for these features; it was measured with {said};"):
        threshold_for(tmp_path / "t.json", SIGNATURE, 1e-3)


def test_a_calibration_without_a_precision_is_for_any(measured, tmp_path) -> None:
    write_calibration(tmp_path / "t.json", replace(measured[1], precision=None))
    assert threshold_for(tmp_path / "t.json", SIGNATURE, 1e-3) == measured[1].threshold(1e-3)


def read_rows(path: Path) -> list[tuple]:
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return [
                (row["file"], int(row["cluster"]), int(row["duplicate_of"]) if row["duplicate_of"] else None)
                for row in csv.DictReader(file)
            ]
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [(row["file"], row["cluster"], row["duplicate_of"]) for row in rows]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_a_row_for_each_image(clusters, tmp_path, ending) -> None:
    path = tmp_path / f"out{ending}"
    write_clusters(clusters, path)
    assert read_rows(path) == [
        (NAMES[0], 0, None), (NAMES[1], 0, None), (NAMES[2], -1, None), (NAMES[3], -1, None), (NAMES[4], 0, 0),
    ]  # fmt: skip
    if ending == ".parquet":
        about = json.loads(pq.read_schema(path).metadata[b"osnet.cluster"])
        assert about["threshold"] == 0.7
    elif ending == ".json":
        assert json.loads(path.read_text())["scores"]["f1"] == 1
    with pytest.raises(ExistsError, match="exists"):
        write_clusters(clusters, path, overwrite=False)


def test_a_column_of_several_types_is_refused(clusters, tmp_path) -> None:
    mixed = replace(clusters, rows=clusters.rows._replace(columns={"note": [1, "a", None, None, None]}))
    with pytest.raises(DataError, match="the column note is of several types"):
        write_clusters(mixed, tmp_path / "o.parquet")
    assert not list(tmp_path.iterdir())
    write_clusters(mixed, tmp_path / "o.json")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_names_are_escaped(clusters, tmp_path, ending) -> None:
    path = tmp_path / f"out{ending}"
    names = ("=1+1.jpg", "b\udce9.jpg", 'q"\r.jpg', "d,.jpg", "e.jpg")
    write_clusters(replace(clusters, rows=clusters.rows._replace(names=names, columns={"note": ["@x"] * 5})), path)
    rows = read_rows(path)
    formula = "'=1+1.jpg" if ending == ".csv" else "=1+1.jpg"
    assert [row[0] for row in rows] == [formula, r"b\udce9.jpg", 'q"\r.jpg', "d,.jpg", "e.jpg"]
    if ending == ".csv":
        assert '"\'@x"' in path.read_text(encoding="utf-8")


def test_where_a_table_can_be_written(tmp_path) -> None:
    (tmp_path / "d.csv").mkdir()
    for name, said in (("a.txt", r"ending in one of \.csv, \.parquet, \.json"), ("no/a.csv", "does not exist; make it"),
                       ("d.csv", "is a folder")):  # fmt: skip
        with pytest.raises(OptionError, match=said):
            check_output(tmp_path / name)

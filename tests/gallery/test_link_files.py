"""Feature files with camera, time and track → a table with the person of each row."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from osnet.errors import DataError, ExistsError, OptionError
from osnet.evaluation.feature_tables import FeatureRows
from osnet.gallery.link_files import Links, link_features, read_tracks, write_links
from osnet.inference.embedder import Signature
from osnet.inference.feature_files import feature_writer
from osnet.variants import FEATURE_DIM

SIGNATURE = Signature("osnet_x0_25", "ab" * 32, "fp32", 256, 128, True, False, "1")

# Two people who look much the same. Person 1 walks from north to south, person 2 is in the north all the time.
CAMERAS = ["north", "north", "south", "south", "north", "north"]
SECONDS = [0, 1, 20, 21, 0, 25]
IDS = [5, 5, 5, 5, 6, 6]
PERSONS = [1, 1, 1, 1, 2, 2]


def rows(**columns: list) -> FeatureRows:
    noise = 0.02 * np.random.default_rng(0).standard_normal((6, FEATURE_DIM))
    features = np.float32(np.eye(1, FEATURE_DIM) + noise)
    told = {"camera": CAMERAS, "time": SECONDS, "track": IDS, **columns}
    named = {name: values for name, values in told.items() if values}
    return FeatureRows(tuple(f"{i}.jpg" for i in range(6)), features, SIGNATURE, named)


def test_tracks_are_linked_and_scored() -> None:
    found = link_features(rows(person=PERSONS), 0.5, score=True)
    assert found.identities.tolist() == [0, 0, 0, 0, 1, 1]
    assert found.scores.idf1 == 1
    summary = found.to_dict()
    assert (summary["rows"], summary["tracks"], summary["cameras"]) == (6, 3, 2)
    assert (summary["identities"], summary["in_several_cameras"]) == (2, 1)
    alone = link_features(rows(person=PERSONS), 1, score=True)
    assert alone.identities.tolist() == [0, 0, 2, 2, 1, 1]
    assert alone.scores.idf1 == 4 / 6
    assert link_features(rows(person=PERSONS), 0.5).scores is None
    with pytest.raises(DataError, match="no column person"):
        link_features(rows(), 0.5, score=True)


@pytest.mark.parametrize(
    "times",
    [
        [str(second) for second in SECONDS],
        [f"2026-11-25T14:00:{second:02d}+01:00" for second in SECONDS],
        [datetime.datetime(2026, 11, 25, 13, 0, second) for second in SECONDS],
    ],
    ids=["text", "iso", "datetime"],
)
def test_times_are_read_in_each_form(times) -> None:
    found = link_features(rows(time=times), 0.5)
    np.testing.assert_array_equal(found.tracks.starts - found.tracks.starts[0], [0, 0, 20])
    assert found.identities.tolist() == [0, 0, 0, 0, 1, 1]


def test_frames_count_where_there_is_no_time() -> None:
    frames = [25 * second for second in SECONDS]
    assert link_features(rows(time=[], frame=frames), 0.5).identities.tolist() == [0, 0, 0, 0, 1, 1]
    travel = {("north", "south"): (0, 18)}
    found = link_features(rows(time=[], frame=frames), 0.5, fps=25, travel=travel)
    assert found.identities.tolist() == [0, 0, 2, 2, 1, 1]
    assert found.tracks.ends.tolist() == [1, 25, 21]
    with pytest.raises(OptionError, match=r"--travel is in seconds.*only the column frame; give --fps"):
        link_features(rows(time=[], frame=frames), 0.5, travel=travel)
    with pytest.raises(OptionError, match="fps: expected a number above 0"):
        link_features(rows(time=[], frame=frames), 0.5, fps=0)


def test_persons_may_be_the_tracks_of_each_camera() -> None:
    found = link_features(rows(track=[], person=PERSONS), 0.5, split=10)
    assert found.tracks.of_row.tolist() == [0, 0, 3, 3, 1, 2]


def test_files_without_cameras_are_a_camera_each(tmp_path: Path) -> None:
    for name in ("north", "south"):
        found = rows()
        with feature_writer(tmp_path / f"{name}.csv", SIGNATURE.to_dict()) as writer:
            writer.write(found.names[:2], found.features[:2])
    paths = [tmp_path / "north.csv", tmp_path / "south.csv"]
    assert read_tracks(paths).columns["camera"] == ["north", "north", "south", "south"]
    with pytest.raises(OptionError, match="a name of its own, or a column camera, got north, north"):
        read_tracks([paths[0], paths[0]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"track": []}, r"no column track \(further columns: camera, time\); .* --track"),
        ({"time": []}, "no column time or frame"),
        ({"camera": [*CAMERAS[:5], ""]}, r"row 5 \('5.jpg'\): camera is empty"),
        ({"track": [1, None, 1, 1, 1, 1]}, r"row 1 \('1.jpg'\): track is empty"),
        ({"time": [0, 1, "noon", 3, 4, 5]}, r"row 2 \('2.jpg'\): time cannot be understood .*got 'noon'"),
    ],
)
def test_rows_that_cannot_be_linked_are_named(columns, message) -> None:
    with pytest.raises(DataError, match=message):
        link_features(rows(**columns), 0.5)


@pytest.fixture(scope="module")
def links() -> Links:
    return link_features(rows(person=PERSONS), 0.5)


def test_the_table_has_the_person_of_each_row(links, tmp_path) -> None:
    write_links(links, tmp_path / "o.csv")
    with open(tmp_path / "o.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["file", "camera", "time", "track", "person", "identity"]
    assert [int(row["identity"]) for row in found] == [0, 0, 0, 0, 1, 1]
    write_links(links, tmp_path / "o.parquet")
    table = pq.read_table(tmp_path / "o.parquet")
    assert table["identity"].to_pylist() == [0, 0, 0, 0, 1, 1]
    assert b'"in_several_cameras": 1' in table.schema.metadata[b"osnet.link"]
    with pytest.raises(ExistsError):
        write_links(links, tmp_path / "o.csv", overwrite=False)

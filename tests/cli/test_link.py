"""`osnet gallery link` as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from osnet.inference.embedder import Signature
from osnet.variants import FEATURE_DIM
from tests.cli.test_commands import osnet, refused

pytestmark = pytest.mark.slow

SIGNATURE = Signature("osnet_x0_25", "ab" * 32, "fp32", 256, 128, True, False, "1")


def write(path: Path, frames: list[int], persons: list[int]) -> Path:
    """Features of persons who look much the same, as `osnet embed VIDEO --boxes` writes them."""
    noise = 0.02 * np.random.default_rng(len(frames)).standard_normal((len(frames), FEATURE_DIM))
    features = np.float32(np.eye(1, FEATURE_DIM) + noise)
    table = pa.table(
        {
            "file": [f"{frame}.jpg" for frame in frames],
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), FEATURE_DIM),
            "frame": frames,
            "person": persons,
        }
    )
    about = {f"osnet.{key}": value for key, value in SIGNATURE.to_dict().items()}
    pq.write_table(table.replace_schema_metadata(about), path)
    return path


@pytest.fixture
def cameras(tmp_path: Path) -> list[Path]:
    """Person 1 walks from north to south; person 2 stays in the north for longer."""
    return [
        write(tmp_path / "north.parquet", [1, 2, 1, 300], [1, 1, 2, 2]),
        write(tmp_path / "south.parquet", [200, 210], [1, 1]),
    ]


def test_a_table_and_a_summary(cameras: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "persons.csv"
    run = osnet("gallery", "link", *cameras, "-o", out, "-t", "0.5", "--score")
    assert run.returncode == 0, run.stderr
    assert "6 rows in 3 tracks of 2 cameras; persons: 2, of them in several cameras: 1" in run.stdout
    assert "IDF1 100.0 %: 6 of 6 rows, of 2 persons" in run.stdout
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["camera"] for row in rows] == ["north"] * 4 + ["south"] * 2
    assert [int(row["identity"]) for row in rows] == [0, 0, 1, 1, 0, 0]
    refused(osnet("gallery", "link", *cameras, "-o", out, "-t", "0.5"), "persons.csv' exists", "--overwrite")
    words = ("--travel", "north,south,0,15", "--fps", "10", "--split", "20", "--overlapping", "south,north")
    run = osnet("gallery", "link", *cameras, "-o", out, "-t", "0.5", *words, "--json", "--overwrite")
    found = json.loads(run.stdout)
    # from 0.2 s to 20 s is over 15 s; a pause of 29.9 s makes another track, of the person from the south
    assert (found["tracks"], found["identities"], found["scores"]) == (4, 3, None)


def test_bad_input_is_one_line(cameras: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    for words, part in (
        (["-t", "0.5", "--overlapping", "north"], "--overlapping: expected two cameras, such as north,south"),
        (["-t", "0.5", "--travel", "north,south,soon,60"], "--travel: expected two cameras and the least and greatest"),
        (["-t", "0.5", "--travel", "north,south,1,6"], "give --fps"),
        ([], "no threshold: measure one"),
    ):
        refused(osnet("gallery", "link", *cameras, "-o", out, *words), part)
    assert not out.exists()

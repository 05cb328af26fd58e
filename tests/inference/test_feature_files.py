from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.errors import DiskError, OptionError
from osnet.inference.feature_files import FORMATS, check_format, feature_writer, read_features

ABOUT = {"model": "osnet_x0_25", "sha256": "ab" * 32, "precision": "fp32"}
NAMES = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=9)


def features_for(names: list[str]) -> np.ndarray:
    return np.random.default_rng(len(names)).standard_normal((len(names), 512)).astype(np.float32)


@pytest.mark.parametrize("ending", FORMATS)
@settings(max_examples=15, deadline=None)
@given(names=NAMES)
def test_what_is_written_is_read_bit_for_bit(
    ending: str, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, features = tmp_path_factory.mktemp("f") / f"out{ending}", features_for(names)
    with feature_writer(path, ABOUT) as writer:
        for start in range(0, len(names), 4):
            writer.write(names[start : start + 4], features[start : start + 4])
    found_names, found, about = read_features(path)
    assert found_names == names
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features)
    assert about == ABOUT
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_npz_opens_with_numpy_alone(tmp_path: Path) -> None:
    with feature_writer(tmp_path / "a.npz", ABOUT) as writer:
        writer.write(["one", "zwölf"], features_for(["one", "zwölf"]))
    archive = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert list(archive["files"]) == ["one", "zwölf"]
    assert archive["features"].shape == (2, 512)
    assert str(archive["sha256"]) == ABOUT["sha256"]


@pytest.mark.parametrize("ending", FORMATS)
def test_an_error_leaves_nothing_and_keeps_what_was_there(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{ending}"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with feature_writer(path, ABOUT) as writer:
            writer.write(["a"], features_for(["a"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    writing = feature_writer(tmp_path / "a.csv", ABOUT)
    with pytest.raises(DiskError, match="No space left"), writing, open("/dev/full", "w") as full:
        full.write("x" * 100_000)


@pytest.mark.parametrize(
    ("name", "match"),
    [("a.txt", "expected a name ending in one of .npz"), ("gone/a.npz", "does not exist"), ("dir.npz", "is a folder")],
)
def test_where_features_cannot_go(name: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "dir.npz").mkdir()
    with pytest.raises(OptionError, match=match):
        check_format(tmp_path / name)


def test_other_files_are_not_read_as_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(OptionError, match="not a feature file"):
        read_features(tmp_path / "a.npz")
    with pytest.raises(OptionError, match=r"gone\.npz: cannot be read"):
        read_features(tmp_path / "gone.npz")
    with pytest.raises(OptionError, match="expected a name ending"):
        read_features(tmp_path / "a.json")

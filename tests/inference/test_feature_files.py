from __future__ import annotations

import copy
import functools
import io
import os
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.errors import DiskError, OptionError
from osnet.inference import feature_files
from osnet.inference.feature_files import FORMATS, check_format, feature_writer, read_features

ABOUT = {"model": "osnet_x0_25", "sha256": "ab" * 32, "precision": "fp32"}
NAMES = st.lists(
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("=-'\\\udc80\udcff"),
        min_size=1,
    ),
    max_size=9,
)


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


@pytest.mark.parametrize("ending", FORMATS)
def test_names_that_are_not_utf_8_and_formulas_are_valid_text_for_others(ending: str, tmp_path: Path) -> None:
    names = ["b\udce9b\udce9.jpg", "=HYPERLINK(1).jpg", "'@x", "-1.jpg", "\uff1d1.jpg", "\tx"]
    path, about = tmp_path / f"a{ending}", {**ABOUT, "source": "\udce9,=1+1;@x,\t-1"}
    with feature_writer(path, about) as writer:
        writer.write(names, features_for(names))
    found, _, found_about = read_features(path)
    assert found == names
    assert found_about == about
    if ending == ".csv":
        lines = path.read_text(encoding="utf-8").splitlines()
        cells = [
            cell.strip('"')
            for line in lines
            for cell in re.split("[,;]", line)
            if not re.fullmatch(r"-?[\d.e-]+", cell)
        ]
        assert r"b\udce9b\udce9.jpg" in cells
        assert not [cell for cell in cells if cell[:1] and cell[0] in "=+-@\t\r\uff1d"]
    elif ending == ".npz":
        assert str(np.load(path)["files"][0]) == r"b\udce9b\udce9.jpg"
    else:
        assert pq.read_table(path)["file"][0].as_py() == r"b\udce9b\udce9.jpg"


def npz(path: Path, packing: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None, dtype: str | None = None) -> bytes:
    """`array` under a header that may declare another shape or type."""
    out = io.BytesIO()
    fields = {"descr": dtype or array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(out, fields)
    return out.getvalue() + array.tobytes()


DAMAGED = Path(__file__).parents[1] / "fixtures" / "damaged_statistics.parquet"
ROW, NAME = np.zeros((1, 512), np.float32), np.array(["a"])


@pytest.mark.parametrize(
    ("features", "files", "match"),
    [
        (npy(ROW, shape=(10**9, 512)), npy(NAME), r"declares to hold float32 \(1000000000, 512\)"),
        (npy(ROW), npy(NAME, shape=(10**15,), dtype="<U0"), "has not the 0 bytes"),
        (npy(ROW), npy(NAME, shape=(2,)), "has not the 8 bytes"),
        (npy(ROW) + b"x", npy(NAME), "has not the 2,048 bytes"),
        (npy(ROW[:, :500]), npy(NAME), r"got float32 \(1, 500\)"),
        (npy(ROW.astype(np.float64)), npy(NAME), "got float64"),
        (npy(ROW), npy(np.array([0x110000], "<u4"), dtype="<U1"), "SystemError|ValueError"),
        (npy(ROW, dtype="|O"), npy(NAME), "declares to hold object"),
        (np.lib.format.magic(2, 0) + b"\xff" * 4, npy(NAME), "version 1.0"),
    ],
    ids=["rows", "empty-names", "names", "tail", "width", "double", "no-character", "objects", "long-header"],
)
def test_a_npz_that_lies_is_refused(features: bytes, files: bytes, match: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"not a feature file.*({match})"):
        read_features(npz(tmp_path / "a.npz", features=features, files=files))


def peak(read: Callable[[], object]) -> int:
    """Bytes that Python and pyarrow took for it at most."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes()
    finally:
        tracemalloc.stop()


MANY = 50_000  # rows of zeros: 102 MB in some hundred kilobytes


def bomb_npz(path: Path) -> None:
    npz(path, zipfile.ZIP_DEFLATED, features=npy(np.zeros((MANY, 512), np.float32)), files=npy(np.full(MANY, "a")))


def bomb_npz_that_declares_little(path: Path) -> None:
    """The packed features go on after the one row that all headers declare."""
    npz(path, zipfile.ZIP_DEFLATED, features=npy(np.zeros((MANY, 512), np.float32), shape=(1, 512)), files=npy(NAME))
    raw, size = path.read_bytes(), MANY * 2048 + 128
    assert raw.count(size.to_bytes(4, "little")) == 2
    path.write_bytes(raw.replace(size.to_bytes(4, "little"), (2048 + 128).to_bytes(4, "little")))


def bomb_npz_that_overlaps(path: Path) -> None:
    """Many entries of the directory name the same bytes."""
    npz(path, features=npy(np.zeros((500, 512), np.float32)), files=npy(NAME))
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(100):
            again = copy.copy(archive.infolist()[0])
            again.filename = again.orig_filename = f"x{i}.npy"
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]


def bomb_npz_bzip2(path: Path) -> None:
    npz(path, zipfile.ZIP_BZIP2, features=npy(np.zeros((MANY, 512), np.float32)), files=npy(np.full(MANY, "a")))


def bomb_parquet(path: Path, names: str = "a", **options: str) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(MANY * 512, np.float32)), 512)
    pq.write_table(pa.table({"file": [names] * MANY, "feature": column}), path, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".npz", bomb_npz),
        (".npz", bomb_npz_that_declares_little),
        (".npz", bomb_npz_that_overlaps),
        (".npz", bomb_npz_bzip2),
        (".parquet", bomb_parquet),
        (".parquet", functools.partial(bomb_parquet, compression="zstd")),
    ],
    ids=["packed", "declares-little", "overlaps", "bzip2", "dictionary", "zstd"],
)
def test_little_on_disk_does_not_take_much_memory(
    ending: str, write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_files, "_ALWAYS", 1 << 20)
    path = tmp_path / f"bomb{ending}"
    write(path)
    assert path.stat().st_size < 2 << 20

    def read() -> None:
        with pytest.raises(OptionError, match="not a feature file"):
            read_features(path)

    assert peak(read) < 8 << 20


def test_damaged_statistics_do_not_end_the_process() -> None:
    """Found by the fuzzer: for this file pyarrow's `metadata.row_group(0).column(j)` calls terminate()."""
    code = f"from osnet.inference.feature_files import read_features; read_features({str(DAMAGED)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "terminate" not in run.stderr
    assert run.returncode == 0 or "OptionError" in run.stderr


def test_a_long_name_of_every_row_is_kept_once(tmp_path: Path) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1000 * 512, np.float32)), 512)
    pq.write_table(pa.table({"file": ["x" * 100_000] * 1000, "feature": column}), tmp_path / "a.parquet")
    found: list[object] = []
    assert peak(lambda: found.extend(read_features(tmp_path / "a.parquet"))) < 20 << 20
    assert found[0] == ["x" * 100_000] * 1000


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "first line"),
        ("# [[[[" + "[" * 100_000, "RecursionError"),
        ('# {"a": 1}\n', "first line"),
        ("# {}\nname,f0\n", "expected the columns"),
        ("# {}\n" + ",".join(["file", *(f"f{i}" for i in range(512))]) + "\n\n", "row 1 has 0 cells"),
        ("# {}\n" + ",".join(["file", *(f"f{i}" for i in range(512))]) + "\n" + "a," * 512 + "a\n", "convert string"),
        (
            "# {}\n" + ",".join(["file", *(f"f{i}" for i in range(512))]) + '\n"' + "a" * 200_000,
            "(field limit|end of data)",
        ),
    ],
    ids=["empty", "deep", "number", "columns", "blank", "text", "long"],
)
def test_a_csv_of_another_kind_is_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(OptionError, match=f"not a feature file.*{match}"):
        read_features(tmp_path / "a.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("ending", FORMATS)
def test_a_fifo_is_not_waited_for(ending: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"a{ending}")
    with pytest.raises(OptionError, match="it is a FIFO"):
        read_features(tmp_path / f"a{ending}")


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
    with pytest.raises(OptionError, match="gone: no such file or folder"):
        read_features(tmp_path / "gone")
    (tmp_path / "a.json").touch()
    with pytest.raises(OptionError, match=r"a\.json: expected a name ending"):
        read_features(tmp_path / "a.json")

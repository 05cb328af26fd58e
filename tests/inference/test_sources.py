from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from osnet.errors import DataError, ImageError
from osnet.escaping import name_of_text
from osnet.inference.sources import Source, read_member
from tests.processes import finish, start


def files(*inputs: str | Path) -> list[str]:
    return [name_of_text(name) for table in Source(inputs).tables() for name in table["file"].to_pylist()]


def tar_of(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "notes.txt", "deep/er/c.jpg", "deep/a.jpg", ".hidden.jpg"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "tree"


def test_folders_come_in_one_order_with_what_is_inside_and_each_file_once(tree: Path) -> None:
    expected = [str(tree / name) for name in ("a.png", "b.jpg", "deep/a.jpg", "deep/er/c.jpg")]
    assert files(tree) == expected
    assert files(tree / "deep", tree, tree) == [*expected[2:], *expected[:2]]
    assert files(tree / "b.jpg", tree) == [expected[1], expected[0], *expected[2:]]
    source = Source([tree])
    list(source.tables())
    assert (source.ignored, source.examples) == (1, [str(tree / "notes.txt")])


def test_a_folder_that_leads_into_itself_is_walked_once(tree: Path) -> None:
    (tree / "deep/back").symlink_to(tree)
    assert len(files(tree)) == 4


def test_lists_and_standard_input_name_files_that_need_not_be_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "l.txt").write_bytes(b"a.jpg\r\n\nb\xe9.jpg\n/abs/c.jpg")
    assert files(tmp_path / "l.txt") == [str(tmp_path / "a.jpg"), str(tmp_path / "b\udce9.jpg"), "/abs/c.jpg"]

    class Input:
        buffer = io.BytesIO(b"x/a.jpg\nb\xe9.jpg\n")

    monkeypatch.setattr(sys, "stdin", Input)
    assert files("-") == ["x/a.jpg", "b\udce9.jpg"]


def test_csv_cells_stay_texts_but_for_the_box(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(
        b'\xef\xbb\xbfpath, x1,y1,x2,y2,person,note\nb\xe9.jpg,1,2,3.5,4,0007,"two\nlines"\n/c.jpg,,,,,,\n'
    )
    (table,) = Source([tmp_path / "t.csv"]).tables()
    assert [name_of_text(name) for name in table["file"].to_pylist()] == [str(tmp_path / "b\udce9.jpg"), "/c.jpg"]
    assert table.select(["x1", "x2"]).to_pylist() == [{"x1": 1.0, "x2": 3.5}, {"x1": None, "x2": None}]
    assert table["person"].to_pylist() == ["0007", ""]
    assert table["note"].to_pylist() == ["two\nlines", ""]


def test_parquet_columns_keep_their_types_and_mixed_inputs_have_gaps(tmp_path: Path, tree: Path) -> None:
    pq.write_table(pa.table({"camera": pa.array([3], pa.int8()), "path": ["a.jpg"]}), tmp_path / "t.parquet")
    (tmp_path / "u.csv").write_text("path,person\nb.jpg,x\n")
    source = Source([tmp_path / "t.parquet", tmp_path / "u.csv", tree / "a.png"])
    rows = pa.concat_tables(source.tables())
    assert rows.schema.field("camera").type == pa.int8()
    assert rows["camera"].to_pylist() == [3, None, None]
    assert rows["person"].to_pylist() == [None, "x", None]


def test_images_in_a_tar_are_found_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "s.tar", **{"d/1.jpg": b"one", "d/1.json": b"{}", "d/2.png": b"second", "d/2.cls": b"0"})
    source = Source([path])
    (rows,) = source.tables()
    assert rows["file"].to_pylist() == [f"{path}/d/1.jpg", f"{path}/d/2.png"]
    places = rows.select(["_osnet.tar", "_osnet.offset", "_osnet.size"]).to_pylist()
    assert [read_member(*place.values(), limit=6) for place in places] == [b"one", b"second"]
    assert (source.ignored, source.examples) == (2, [f"{path}/d/1.json", f"{path}/d/2.cls"])
    with pytest.raises(ImageError, match="a member of 6 bytes, over 5"):
        read_member(*places[1].values(), limit=5)
    os.truncate(path, places[1]["_osnet.offset"] + 2)
    with pytest.raises(ImageError, match="has been cut since"):
        read_member(*places[1].values(), limit=6)


@pytest.mark.parametrize("size", [100, 512, 700, 1024, 1100, 2048])
def test_a_tar_that_was_cut_is_an_error_wherever_it_was_cut(size: int, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "s.tar", **{"1.jpg": b"x" * 300, "2.jpg": b"y" * 300})
    os.truncate(path, size)
    with pytest.raises(DataError, match=r"s\.tar: not a whole tar file .* after [012] images; copy it again"):
        files(path)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("t.csv", "file,person\na,1\n", "has the column file|lacks the column path; it has file, person"),
        ("t.csv", "path,x1,y1,x2\na,1,2,3\n", "lacks y2; a box needs the columns x1, y1, x2, y2"),
        ("t.csv", "path,a,a\nx,1,2\n", "repeated columns: a"),
        ("t.csv", "path,feature\nx,1\n", "has the column feature, which the output uses"),
        ("t.csv", "path,x1,y1,x2,y2\nx,1,2,left,4\n", "cannot be read: .*left"),
        ("t.csv", "path,person\nx\n", "cannot be read: .*Expected 2 columns, got 1"),
        ("t.csv", "path,person\nx,1\n,2\n", "row 2: path is empty"),
        ("t.csv", "", "cannot be read: Empty CSV"),
        ("t.parquet", "PAR1 nonsense", "cannot be read"),
        ("t.tar", "not a tar", "not a whole tar file"),
        ("t.tar.gz", "", "a compressed tar file"),
        ("film.mp4", "", "this is a video"),
    ],
)
def test_what_cannot_be_used_is_one_line(name: str, text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises((DataError, ImageError), match=match) as caught:
        files(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


READ_AND_END = """
import pathlib, sys
from osnet.errors import DataError
from osnet.inference.tables import open_table
try:
    with open_table(pathlib.Path(sys.argv[1])):
        pass
except DataError:
    print("refused")
"""


@pytest.mark.slow
def test_a_table_that_was_refused_does_not_abort_the_process(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,person\nx\n")
    for _ in range(8):  # the threads of pyarrow were mostly in the way, not always
        assert finish(start(READ_AND_END, tmp_path / "t.csv")) == ("refused\n", "")


def test_inputs_are_checked_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, match in ((tmp_path / "gone.csv", "no such file"), (tmp_path / "empty", "no images in this folder")):
        with pytest.raises(ImageError, match=match):
            Source([path])
    (tmp_path / "a.csv").write_text("path,x\na,1\n")
    pq.write_table(pa.table({"x": [1], "path": ["a.jpg"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="the tables do not go together"):
        Source([tmp_path / "a.csv", tmp_path / "b.parquet"])


def test_parts_have_the_same_rows_however_the_tables_come(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(10_000)]
    (tmp_path / "l.txt").write_text("\n".join(names))
    sizes = []
    found = []
    for part in Source([tmp_path / "l.txt"]).parts(3000):
        sizes.append(len(part))
        found += part["file"].to_pylist()
    assert sizes == [3000, 3000, 3000, 1000]
    assert found == [str(tmp_path / name) for name in names]

"""Each layout as records, found by looking, overruled by name; wrong folders named."""

from __future__ import annotations

import json
import os
import re

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from scipy.io import savemat

from osnet.data import cuhk03
from osnet.data.load import LAYOUTS, load_records
from osnet.data.records import Record, cameras, persons
from osnet.errors import DataError, OptionError
from tests.data_sets import MARKET, good_market, touch


def listed(data, split):
    return [(record.path.name, record.person, record.camera) for record in data.split(split, junk=True)]


@pytest.fixture
def market(tmp_path):
    return touch(tmp_path / "Market-1501-v15.09.15", *MARKET)


def test_market1501(market):
    found = load_records(market)
    assert (found.name, found.root, found.protocol) == ("market1501", market, "market1501")
    assert listed(found, "train") == [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c2s1_000451_03.jpg", 2, 2),
        ("0007_c3s3_077419_03.jpg", 7, 3),
    ]
    assert listed(found, "gallery") == [
        ("-1_c1s1_000401_03.jpg", -1, 1),
        ("0000_c1s1_000151_01.jpg", 0, 1),
        ("0001_c1s1_001051_02.jpg", 1, 1),
        ("0001_c6s1_002051_02.jpg", 1, 6),
    ]
    assert found.split("query") == (
        Record(market / "query" / "0001_c1s1_001051_00.jpg", person=1, camera=1, split="query", tracklet=None),
    )
    assert persons(found.split("gallery")).tolist() == [0, 1, 1], "junk is left out unless asked for"
    assert cameras(found.split("train")).tolist() == [1, 2, 3]
    assert found.counts()["gallery"] == {"images": 4, "persons": 1, "cameras": 2, "distractors": 1, "junk": 1}
    assert found.counts()["train"] == {"images": 3, "persons": 2, "cameras": 3, "distractors": 0, "junk": 0}


def test_torchreid_folder_around_market1501(tmp_path):
    inner = touch(tmp_path / "market1501" / "Market-1501-v15.09.15", *MARKET)
    assert load_records(tmp_path / "market1501").root == inner
    assert load_records(str(inner)).records == load_records(tmp_path / "market1501", "market1501").records


def test_market1501_distractors(market):
    touch(market, "images/0000_c1s1_000001_00.jpg", "images/-1_c2s1_000001_00.jpg", "images/9999_c3s1_000001_00.jpg")
    assert load_records(market).counts()["gallery"]["distractors"] == 1
    counts = load_records(market, distractors=True).counts()["gallery"]
    assert (counts["distractors"], counts["junk"]) == (3, 2)
    with pytest.raises(OptionError, match="part of market1501"):
        load_records(market, "dukemtmcreid", distractors=True)


def test_dukemtmcreid_is_told_from_market_by_its_names(tmp_path):
    names = [f"{folder}/0005_c{c}_f0046985.jpg" for c, folder in enumerate(("query", "bounding_box_test"), 2)]
    root = touch(tmp_path / "dukemtmc-reid" / "DukeMTMC-reID", *names)
    found = load_records(tmp_path / "dukemtmc-reid")
    assert (found.name, found.root) == ("dukemtmcreid", root)
    assert listed(found, "gallery") == [("0005_c3_f0046985.jpg", 5, 3)]
    assert load_records(root, "market1501").name == "market1501"


@pytest.mark.parametrize(
    ("version", "train", "test"), [("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2")]
)
def test_msmt17(tmp_path, version, train, test):
    root = touch(tmp_path / "msmt17" / f"MSMT17_{version}", f"{train}/0000/x.jpg", f"{test}/0000/x.jpg")
    lists = {
        "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_003_14_0303noon_0015_1.jpg 1"],
        "val": ["0001/0001_004_15_0303noon_0016_1.jpg 1"],
        "query": ["0000/0000_000_03_0303morning_0008_0.jpg 0"],
        "gallery": ["0000/0000_001_05_0303morning_0008_0.jpg 0", ""],
    }
    for split, lines in lists.items():
        (root / f"list_{split}.txt").write_text("\n".join(lines))
    found = load_records(tmp_path / "msmt17")
    assert (found.name, found.root) == ("msmt17", root)
    assert [(r.person, r.camera, r.split) for r in found.records] == [
        (1, 1, "train"), (2, 14, "train"), (2, 15, "val"), (3, 3, "query"), (3, 5, "gallery"),
    ]  # fmt: skip
    assert found.split("train")[0].path == root / train / "0000/0000_000_01_0303morning_0015_0.jpg"
    assert found.split("query")[0].path == root / test / "0000/0000_000_03_0303morning_0008_0.jpg"

    (root / "list_query.txt").write_text("0000/0000_000_03_x.jpg zero\n")
    with pytest.raises(DataError, match=r"list_query\.txt', line 1: expected '<image> <person>'"):
        load_records(root)
    (root / "list_query.txt").unlink()
    (root / "list_train.txt").unlink()
    with pytest.raises(DataError, match="has no list_train"):
        load_records(root)


def test_msmt17_in_two_versions_asks_for_one(tmp_path):
    for version in ("V1", "V2"):
        touch(tmp_path / "msmt17" / f"MSMT17_{version}", "list_query.txt")
    with pytest.raises(DataError, match=r"several versions; use one: .*MSMT17_V1 or .*MSMT17_V2"):
        load_records(tmp_path / "msmt17")


@pytest.fixture
def cuhk03_release(tmp_path):
    """Two camera pairs with two and one people; one cell of ten is empty; and the files of the new protocol."""
    root = tmp_path / "cuhk03"
    (root / "cuhk03_release").mkdir(parents=True)
    rng, pictures = np.random.default_rng(0), {}
    with h5py.File(root / cuhk03.RELEASE, "w") as file:
        for kind in cuhk03.KINDS:
            pairs = []
            for pair, people in enumerate((2, 1), 1):
                cells = np.empty((10, people), h5py.ref_dtype)
                for person in range(people):
                    for number in range(10):
                        pixels = rng.integers(0, 256, (6, 3, 3), np.uint8)
                        empty = (person, number) == (0, 4)
                        name = f"{pair}_{person + 1:03d}_{1 if number < 5 else 2}_{number + 1:02d}.png"
                        data = np.zeros(2, np.uint64) if empty else pixels.T
                        cells[number, person] = file.create_dataset(f"cells/{kind}/{name}", data=data).ref
                        if not empty:
                            pictures[f"images_{kind}/{name}"] = pixels
                pairs.append(file.create_dataset(f"pairs/{kind}/{pair}", data=cells, dtype=h5py.ref_dtype).ref)
            file.create_dataset(kind, data=np.array([pairs], h5py.ref_dtype), dtype=h5py.ref_dtype)
    for kind in cuhk03.KINDS:
        names = [name.split("/")[1] for name in pictures if name.startswith(f"images_{kind}")]
        filelist = np.empty((len(names), 1), object)
        filelist[:, 0] = names
        labels = np.array([[int(name[0]) * 10 + int(name[2:5])] for name in names])
        train = [i + 1 for i, name in enumerate(names) if name[0] == "1"]
        query = [i + 1 for i, name in enumerate(names) if name.startswith("2_001_1_01")]
        gallery = [i + 1 for i, name in enumerate(names) if name.startswith("2_001_2")]
        split = {"train_idx": train, "query_idx": query, "gallery_idx": gallery}
        savemat(cuhk03.config_file(root, kind), {"filelist": filelist, "labels": labels, **split})
    return root, pictures


def test_cuhk03(cuhk03_release, capsys):
    root, pictures = cuhk03_release
    with pytest.raises(DataError, match=r"python -m osnet\.data\.cuhk03"):
        load_records(root)
    assert cuhk03.main([str(root)]) == 0
    assert capsys.readouterr().out.split() == [str(root / f"images_{kind}") for kind in cuhk03.KINDS]
    assert {str(path.relative_to(root)) for path in root.glob("images_*/*")} == set(pictures)
    for name, pixels in pictures.items():
        assert (np.asarray(Image.open(root / name)) == pixels).all()
    assert not list(root.glob(".*")), "no half-made folder is left"

    for name, kind in (("cuhk03", "detected"), ("cuhk03-labeled", "labeled")):
        found = load_records(root, name)
        assert (found.name, found.protocol) == (name, "market1501")
        assert [(r.path, r.person, r.camera) for r in found.split("query")] == [
            (root / f"images_{kind}" / "2_001_1_01.png", 21, 1)
        ]
        assert [(r.person, r.camera) for r in found.split("gallery")] == [(21, 2)] * 5
        assert len(found.split("train")) == 19
        assert all(record.path.is_file() for record in found.records)
    assert load_records(root).name == "cuhk03"
    assert cuhk03.main([str(root)]) == 0
    assert capsys.readouterr().out == "", "what is there is left alone"


def test_cuhk03_damaged(cuhk03_release, capsys):
    root, _ = cuhk03_release
    touch(root, "images_detected/x.png")
    config = cuhk03.config_file(root, "detected")
    config.write_bytes(config.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot read"):
        load_records(root)
    names, places = np.array([["1_001_1_01.png"]], object), [1, 2]
    splits = dict.fromkeys(("train_idx", "query_idx", "gallery_idx"), places)
    for content in ({"labels": [1]}, {"labels": [1], "filelist": names, **splits}):
        savemat(config, content)
        with pytest.raises(DataError, match="not a CUHK03 protocol file"):
            load_records(root)
    config.unlink()
    with pytest.raises(DataError, match=r"cuhk03_new_protocol_config_detected\.mat"):
        load_records(root, "cuhk03")
    (root / cuhk03.RELEASE).write_bytes(b"MATLAB")
    assert cuhk03.main([str(root)]) == 2
    assert "cannot extract" in capsys.readouterr().err
    assert not list(root.glob("*labeled*/")), "nothing half-made"
    assert cuhk03.main([]) == 2


def test_folder_with_numbers_and_cameras(tmp_path):
    names = [f"{person:03d}/img_cam{camera}_{i}.png" for person in (1, 2, 30) for camera in (1, 2) for i in range(3)]
    found = load_records(touch(tmp_path, *names, "004/only_c1.jpg", ".cache/x.jpg"))
    assert (found.name, found.protocol) == ("folder", "market1501")
    assert found.person_names == {}
    assert {record.person for record in found.records} == {1, 2, 30, 4}
    assert sorted((r.person, r.camera) for r in found.split("query")) == [(p, c) for p in (1, 2, 30) for c in (1, 2)]
    assert len(found.split("gallery")) == 13
    again, other = load_records(tmp_path), load_records(tmp_path, seed=1)
    assert again.records == found.records
    assert other.split("query") != found.split("query")
    touch(tmp_path, "005/new_c1.jpg", "005/new_c2.jpg")
    kept = [record for record in load_records(tmp_path).records if record.person != 5]
    assert tuple(kept) == found.records, "a new person moves nobody else's images"
    assert {r.split for r in load_records(tmp_path, split="train").records} == {"train"}


def test_folder_with_names_and_without_cameras(tmp_path):
    found = load_records(
        touch(tmp_path, "ann/1.jpg", "ann/2.jpg", "ben/1.jpg", "ben/2.JPG", "7/1.webp", "ben/notes.txt")
    )
    assert found.protocol == "camera-blind"
    assert found.person_names == {1: "7", 2: "ann", 3: "ben"}
    assert {record.camera for record in found.records} == {None}
    assert cameras(found.records).tolist() == [-1] * 5
    assert sorted(record.person for record in found.split("query")) == [2, 3]
    assert sorted(record.person for record in found.split("gallery")) == [1, 2, 3]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("layout", ["folder", "csv", "escaped csv", "parquet", "msmt17"])
def test_names_that_are_not_utf_8(tmp_path, layout):
    """As an archive with Latin-1 names leaves them on Linux; a table may hold the bytes, or our escape of them."""
    name = os.fsdecode("andré/bébé_cam1.jpg".encode("latin-1"))
    files = touch(tmp_path / "images", name, name.replace("cam1", "cam2"), "bo/1_cam1.jpg")
    if layout == "folder":
        found = load_records(files)
        assert found.person_names == {1: "andr\udce9", 2: "bo"}
    elif layout == "msmt17":
        name = "0000/0000_000_03_b\udce9.jpg"
        touch(tmp_path, f"train/{name}", f"test/{name}")
        for part in ("train", "val", "query", "gallery"):
            (tmp_path / f"list_{part}.txt").write_bytes(os.fsencode(f"{name} 1\n"))
        found = load_records(tmp_path)
    elif layout == "parquet":
        table = {"path": [r"images/andr\udce9/b\udce9b\udce9_cam1.jpg"], "person": [r"andr\udce9"]}
        pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "data.parquet")
        found = load_records(tmp_path / "data.parquet")
    else:
        path = r"andr\udce9/b\udce9b\udce9_cam1.jpg" if layout == "escaped csv" else name
        (tmp_path / "data.csv").write_bytes(os.fsencode(f"path,person\nimages/{path},1\n"))
        found = load_records(tmp_path / "data.csv")
    assert any("\udce9" in record.path.name for record in found.records)
    assert all(record.path.is_file() for record in found.records)


def test_two_spellings_of_a_number_are_two_people(tmp_path):
    assert load_records(touch(tmp_path, "1/a.jpg", "01/a.jpg")).person_names == {1: "01", 2: "1"}


def test_folder_with_splits(tmp_path):
    found = load_records(touch(tmp_path, "query/1/c1.jpg", "gallery/1/c2.jpg", "gallery/2/c1.jpg", "train/3/c1.jpg"))
    assert found.name == "folder"
    assert [(r.person, r.camera, r.split) for r in found.records] == [
        (3, 1, "train"), (1, 1, "query"), (1, 2, "gallery"), (2, 1, "gallery"),
    ]  # fmt: skip


def test_csv_and_parquet(tmp_path):
    rows = [
        {"path": "a/1.jpg", "person": "ann", "camera": "door", "split": "query", "tracklet": "t1"},
        {"path": "a/2.jpg", "person": "ann", "camera": "yard", "split": "gallery", "tracklet": None},
        {"path": "/far/3.jpg", "person": "ben", "camera": None, "split": "train", "tracklet": None},
    ]
    lines = [",".join(rows[0]), *(",".join(cell or "" for cell in row.values()) for row in rows)]
    (tmp_path / "data.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    for kind in ("csv", "parquet"):
        found = load_records(tmp_path / f"data.{kind}")
        assert found.name == kind
        assert found.person_names == {1: "ann", 2: "ben"}
        assert [(r.path, r.person, r.camera, r.split, r.tracklet) for r in found.records] == [
            (tmp_path / "a/1.jpg", 1, 1, "query", "t1"),
            (tmp_path / "a/2.jpg", 1, 2, "gallery", None),
            (found.records[2].path.__class__("/far/3.jpg"), 2, None, "train", None),
        ]
        assert found.protocol == "market1501"


def test_table_of_numbers_with_gaps_and_no_splits(tmp_path):
    table = {"path": ["1.jpg", "2.jpg", "3.jpg"], "person": [5, 5, 6], "camera": [0.0, None, 3.0]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "data.parquet")
    found = load_records(tmp_path / "data.parquet")
    assert [(r.person, r.camera) for r in found.records] == [(5, 0), (5, None), (6, 3)]
    assert sorted(r.split for r in found.records) == ["gallery", "gallery", "query"]
    assert found.protocol == "camera-blind"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,who\na,1\n", "lacks person. Known: path, person, camera, split, tracklet"),
        ("path,person,cam\na,1,2\n", "unknown or repeated columns: cam"),
        ("path,person,split\na,1,test\n", "row 2: unknown split 'test'. Known: train"),
        ("path,person,split\na,1,\n", "row 2: split is empty"),
        ("path,person\na,1\n,2\n", "row 3: path is empty"),
        ("path,person\na,1,2\n", "row 2: expected 2 cells"),
        ("path,person\na\n", "row 2: expected 2 cells"),
        ("path,person\n", "has no images"),
        ("path,person\n\xff\n", "row 2: expected 2 cells"),
        ('path,person\n"a,1\n', "cannot read table"),
    ],
)
def test_bad_csv(tmp_path, text, words):
    (tmp_path / "data.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        load_records(tmp_path / "data.csv")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_parquet(tmp_path):
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot read table"):
        load_records(tmp_path / "data.parquet")


def refused(path, dataset="auto"):
    with pytest.raises(DataError) as caught:
        load_records(path, dataset)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_one_folder_too_high_or_low_names_the_right_one(tmp_path):
    market = touch(tmp_path / "disk" / "data" / "Market-1501-v15.09.15", *MARKET)
    for dataset in ("auto", "market1501"):
        for high in (market.parent, tmp_path / "disk", tmp_path):
            message = refused(high, dataset)
            assert "too high" in message
            assert repr(str(market)) in message
        for low in ("query", "bounding_box_train", "bounding_box_test"):
            message = refused(market / low, dataset)
            assert "too low" in message
            assert repr(str(market.resolve())) in message


def test_wrong_level_of_a_folder_of_people(tmp_path):
    people = touch(tmp_path / "all" / "people", "ann/1.jpg", "ann/2.jpg")
    assert repr(str(people)) in refused(tmp_path)
    assert repr(str(people)) in refused(tmp_path / "all", "folder")
    assert "has images directly" in refused(people / "ann")


def test_part_of_msmt17_is_no_folder_of_people(tmp_path):
    root = touch(tmp_path / "MSMT17_V1", "train/0000/0000_000_01_x.jpg", "list_train.txt")
    assert "too low" in refused(root / "train")
    assert load_records(root / "train", "folder").name == "folder", "overruled by name"


def test_what_is_no_data_set(tmp_path, market):
    assert "no such file" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "expected one of market1501" in refused(tmp_path / "empty")
    assert "is a file" in refused(touch(tmp_path, "weights.ckpt") / "weights.ckpt")
    assert "is a folder" in refused(market, "csv")
    assert "looks like market1501" in refused(market, "msmt17")
    touch(market, "query/holiday.jpg")
    assert "1 of 2 images" in refused(market)
    assert "'holiday.jpg'" in refused(market)
    with pytest.raises(OptionError, match=r"dataset: expected one of auto, market1501, .*got 'market'"):
        load_records(market, "market")
    with pytest.raises(OptionError, match="split: expected one of train, val, query, gallery"):
        load_records(market, split="test")
    (market / "query" / "holiday.jpg").unlink()
    with pytest.raises(OptionError, match="split: expected one of train, val, query, gallery"):
        load_records(market, "dukemtmcreid").split("test")


def test_every_layout_says_what_it_looks_like():
    assert json.dumps(LAYOUTS)
    for layout in LAYOUTS:
        assert LAYOUTS[layout]


def test_others_beside_are_counted_in_words_that_fit(tmp_path):
    for i in range(3):
        good_market(tmp_path / f"set{i}")
        if i:
            words = "(or 1 other beside it)" if i == 1 else "(or 2 others beside it)"
            assert words in refused(tmp_path)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1"])
def test_a_seed_is_a_whole_number_from_0_up(tmp_path, seed):
    touch(tmp_path, "ann/1.jpg", "ann/2.jpg")
    with pytest.raises(OptionError, match=re.escape(f"seed: expected an integer of at least 0, got {seed!r}")):
        load_records(tmp_path, seed=seed)
    assert load_records(tmp_path, seed=np.int64(3)).records == load_records(tmp_path, seed=3).records

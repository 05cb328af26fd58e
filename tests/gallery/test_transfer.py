"""Features and galleries from and to Parquet files, and another model's gallery from thumbnails."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import osnet
from osnet.errors import DataError, ExistsError, GalleryError, ImageError, OptionError
from osnet.gallery.enrol import add_images, search_images
from osnet.gallery.filters import Filter
from osnet.gallery.transfer import add_features, export_gallery, import_gallery, rebuild_gallery
from osnet.inference.feature_files import feature_writer
from tests.data_sets import image
from tests.gallery.conftest import SIGNATURE, NewGallery, features

NOON = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.timezone.utc)


def parquet(path: Path, count: int = 5, signature: Any = SIGNATURE, **columns: Any) -> Path:
    """A file of features with further columns, as `osnet embed` writes the parts of a folder."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(features(count).ravel(), pa.float32()), 512)
    table = pa.table({"file": [f"{i}.jpg" for i in range(count)], "feature": column, **columns})
    about = {f"osnet.{key}": value for key, value in signature.to_dict().items()}
    pq.write_table(table.replace_schema_metadata(about), path)
    return path


@pytest.mark.slow
def test_columns_become_what_is_told_of_the_entries(new_gallery: NewGallery, tmp_path: Path) -> None:
    gallery = new_gallery()
    times = [NOON, None, NOON + datetime.timedelta(hours=1), NOON, NOON]
    path = parquet(
        tmp_path / "a.parquet", person=["ann", None, "bob", "bob", "cat"], camera=[1, 2, 1, 2, None], time=times,
        x1=[0, 0, 0, 0, None], y1=[0] * 5, x2=[9.5] * 5, y2=[20] * 5, site=["north", "south", None, "north", "north"],
    )  # fmt: skip
    assert add_features(gallery, path, attributes={"floor": 3}) == (5, 5)
    first, second, third, _, last = gallery.list()
    assert (first.identity, first.camera, first.time, first.source) == ("ann", "1", NOON.timestamp(), "0.jpg")
    assert (first.box, dict(first.attributes)) == ((0, 0, 9.5, 20), {"floor": 3, "site": "north"})
    assert (second.identity, second.time) == (None, None)
    assert (dict(third.attributes), last.camera, last.box) == ({"floor": 3}, None, None)
    assert np.array_equal(gallery.features([first.id, last.id]), features(5)[[0, 4]])
    assert add_features(gallery, path, attributes={"floor": 3}) == (5, 0)


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.parquet"])
def test_every_kind_of_feature_file(name: str, new_gallery: NewGallery, tmp_path: Path) -> None:
    gallery = new_gallery()
    with feature_writer(tmp_path / name, SIGNATURE.to_dict()) as writer:
        writer.write(["0007_c2s1_1.jpg", "b\udce9b/0008_c1s1_1.jpg"], features(2))
    assert add_features(gallery, tmp_path / name, labels="market") == (2, 2)
    found = [(entry.identity, entry.camera, entry.source) for entry in gallery.list()]
    assert found == [("0007", "2", "0007_c2s1_1.jpg"), ("0008", "1", "b\udce9b/0008_c1s1_1.jpg")]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"signature": replace(SIGNATURE, sha256="6" * 64)}, DataError, "sha256 6666"),
        (
            {"time": ["1764075600"] * 3 + ["noon"] * 2},
            OptionError,
            "a.parquet, rows from 0: row 3 of 5: time: expected a time",
        ),
        ({"site": [[1]] * 5}, OptionError, "attribute site: expected a text"),
        ({"id": ["x"] * 5}, DataError, "expected an id of 32 hexadecimal digits"),
        ({"attributes": ["[1]"] * 5}, DataError, "expected attributes as a JSON object"),
    ],
)
def test_bad_files_change_nothing(
    change: dict[str, Any], error: type[Exception], message: str, new_gallery: NewGallery, tmp_path: Path
) -> None:
    gallery = new_gallery()
    with pytest.raises(error, match=message):
        add_features(gallery, parquet(tmp_path / "a.parquet", **change))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 hello")
    with pytest.raises(OptionError, match=r"b.parquet: not a Parquet file"):
        add_features(gallery, tmp_path / "b.parquet")
    assert len(gallery) == 0


def all_of(gallery: osnet.Gallery) -> list[Any]:
    return [(row.entry, row.feature.tobytes(), row.thumbnail) for row in gallery._store.rows(Filter())]


@pytest.mark.slow
def test_a_gallery_comes_back_as_it_was(new_gallery: NewGallery, tmp_path: Path) -> None:
    gallery = new_gallery(thumbnails=(32, 16))
    gallery.add(
        features(6), identity=["ann", None, "bob", "bob", "d", "e"], time=[NOON, None, 3, 4, 5, 6.5],
        camera=[1, 2, 3] * 2, source=["a\udce9.jpg", None, "c", "d", "e", "f"],
        box=[(1, 2, 3, 4)] + [None] * 5, attributes={"site": "north", "floor": 2, "open": True},
        thumbnail=list(np.random.default_rng(0).integers(0, 256, (6, 32, 16, 3)).astype(np.uint8)),
    )  # fmt: skip
    out = tmp_path / "all.parquet"
    assert export_gallery(gallery, out) == 6
    names, found, about = osnet.read_features(out)
    assert names == ["a\udce9.jpg", "", "c", "d", "e", "f"]
    assert np.array_equal(found, features(6))
    assert about["sha256"] == SIGNATURE.sha256
    with pytest.raises(ExistsError):
        export_gallery(gallery, out)
    copy = tmp_path / "copy.gallery"
    assert import_gallery(copy, out) == (6, 6)
    assert import_gallery(copy, out) == (6, 0)
    with osnet.Gallery(copy) as other:
        assert all_of(other) == all_of(gallery)
        assert other.about.thumbnails == (32, 16)
    assert export_gallery(gallery, out, overwrite=True, identity="bob") == 2
    with pytest.raises(OptionError, match=r"ends in \.parquet"):
        export_gallery(gallery, tmp_path / "all.csv")


@pytest.mark.parametrize("bad", [set(), {0}, {9}, {1, 2, 7}, set(range(10))])
def test_a_bad_image_costs_itself_only(bad: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def search(paths: list[Path], limit: int) -> list[str]:
        for path in paths:
            if int(path.name) in bad:
                raise ImageError(f"{path} is bad")
        return [f"{limit} of {path}" for path in paths]

    monkeypatch.setattr("osnet.gallery.enrol._BATCH", 4)
    failed: list[str] = []
    paths = [Path(str(i)) for i in range(10)]
    gallery: Any = SimpleNamespace(search=search)
    searched, results = search_images(gallery, paths, on_failure=failed.append, limit=3)
    assert searched == [path for i, path in enumerate(paths) if i not in bad]
    assert results == [f"3 of {path}" for path in searched]
    assert failed == [f"{i} is bad" for i in sorted(bad)]


@pytest.mark.slow
def test_a_name_that_tells_nothing_is_found_before_anything_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osnet.gallery.enrol._BATCH", 1)
    paths = [image(tmp_path / name) for name in ("0007_c1s1_000001_00.jpg", "holiday.jpg")]
    with osnet.Gallery.create(tmp_path / "a.gallery", "osnet_x0_25_drawn") as gallery:
        with pytest.raises(DataError, match=r"holiday\.jpg: expected a name such as 0002_c1s1_000451_03\.jpg"):
            add_images(gallery, paths, labels="market")
        assert len(gallery) == 0


@pytest.mark.slow
def test_images_with_labels_and_another_model_from_their_thumbnails(tmp_path: Path) -> None:
    paths = [image(tmp_path / "shop" / name / f"{i}.jpg", seed=i) for i, name in enumerate(("ann", "bob", "cat"))]
    paths.append(tmp_path / "shop" / "cat" / "broken.jpg")
    paths[-1].write_bytes(b"no picture")
    failed: list[str] = []
    with osnet.Gallery.create(tmp_path / "a.gallery", "osnet_x0_25_drawn", thumbnails=(256, 128)) as gallery:
        ids, bad = add_images(gallery, paths, labels="folder", camera="1", on_failure=failed.append)
        assert (len(ids), bad) == (3, 1)
        assert "broken.jpg" in failed[0]
        gallery.add(features(1), identity="dan")
        assert [entry.identity for entry in gallery.list()] == ["ann", "bob", "cat", "dan"]
        assert gallery.search(paths[1], threshold=0.9)[0].identity == "bob"
        done = rebuild_gallery(gallery, tmp_path / "b.gallery", "osnet_x0_25_drawn", flip=True)
        assert done == (4, 3)
    with osnet.Gallery(tmp_path / "b.gallery") as other:
        assert other.signature.flip
        assert [entry.id for entry in other.list()] == ids
        assert other.search(paths[1], threshold=0.9)[0].identity == "bob"
    with pytest.raises(DataError, match="flip True, the gallery has False"):
        osnet.Gallery(tmp_path / "a.gallery", osnet.Embedder("osnet_x0_25_drawn", flip=True))
    with osnet.Gallery.create(tmp_path / "c.gallery", SIGNATURE) as bare:
        with pytest.raises(GalleryError, match="keeps no thumbnails"):
            rebuild_gallery(bare, tmp_path / "d.gallery", "osnet_x0_25_drawn")
        with pytest.raises(DataError, match="expected a name such as 0002_c1s1"):
            add_images(bare, paths[:1], labels="market")
    assert sorted(path.name for path in tmp_path.glob("*gallery*")) == ["a.gallery", "b.gallery", "c.gallery"]

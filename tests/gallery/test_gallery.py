"""What users of a gallery see, the same for every store."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import osnet
from osnet.errors import DataError, GalleryError, ImageError, OptionError, OsnetError
from osnet.evaluation.calibration import calibrate, write_calibration
from osnet.evaluation.verification import verify_pairs
from osnet.gallery.milvus import MilvusStore
from tests.data_sets import image
from tests.gallery.conftest import PLAIN, SIGNATURE, NewGallery, features

PEOPLE, CAMERAS = ["ann", "bob", None], ["1", "2", "3", None]


def filled(new_gallery: NewGallery, count: int = 60, model: Any = SIGNATURE) -> tuple[osnet.Gallery, list[str]]:
    gallery = new_gallery(model)
    ids = gallery.add(
        features(count),
        identity=[PEOPLE[i % 3] for i in range(count)],
        camera=[CAMERAS[i % 4] for i in range(count)],
        time=[None if i % 5 == 0 else 1000.0 + i for i in range(count)],
        source=[f"shop/{i}.jpg" for i in range(count)],
        box=[None if i % 2 else (i, 0, i + 10, 20.5) for i in range(count)],
        attributes=[{"floor": i % 2, "site": "north" if i % 7 else "south"} for i in range(count)],
    )
    return gallery, ids


def test_what_is_told_of_an_entry_comes_back(new_gallery: NewGallery) -> None:
    gallery, ids = filled(new_gallery)
    entries = list(gallery.list())
    assert [entry.id for entry in entries] == ids
    assert entries[4] == replace(
        entries[4], identity="bob", camera="1", time=1004.0, source="shop/4.jpg", box=(4.0, 0.0, 14.0, 20.5),
        attributes={"floor": 0, "site": "north"},
    )  # fmt: skip
    assert (entries[5].identity, entries[5].time, entries[5].box) == (None, None, None)
    assert np.array_equal(gallery.features(ids), features(60))
    assert len(gallery) == 60
    stats = gallery.stats()
    assert (stats.entries, stats.identities, stats.unidentified) == (60, 2, 20)
    assert (dict(stats.cameras), stats.first, stats.last) == ({"1": 15, "2": 15, "3": 15}, 1001.0, 1059.0)
    assert stats.to_dict()["with"]["sha256"] == SIGNATURE.sha256


def test_a_search_ranks_as_plain_loops_do(new_gallery: NewGallery) -> None:
    gallery, ids = filled(new_gallery)
    rows, queries = features(60), features(5, seed=1)
    found = gallery.search(queries, limit=7)
    for query, result in zip(queries.astype(np.float64), found):
        similarity = [sum(a * b for a, b in zip(query, row)) for row in rows.astype(np.float64)]
        best = sorted(range(60), key=lambda row: -similarity[row])[:7]
        assert [match.entry.id for match in result.matches] == [ids[row] for row in best]
        assert [match.similarity for match in result.matches] == pytest.approx(
            [similarity[row] for row in best], abs=1e-6
        )


@pytest.mark.parametrize(
    ("conditions", "meets"),
    [
        ({"camera": "2"}, lambda e: e.camera == "2"),
        ({"camera": [1, 2]}, lambda e: e.camera in ("1", "2")),
        ({"identity": "ann"}, lambda e: e.identity == "ann"),
        ({"since": 1010, "until": 1030}, lambda e: e.time is not None and 1010 <= e.time < 1030),
        ({"where": {"site": "south"}}, lambda e: e.attributes["site"] == "south"),
        ({"where": {"floor": [1, 2], "site": "north"}}, lambda e: e.attributes == {"floor": 1, "site": "north"}),
        ({"camera": "1", "since": 1020, "where": {"floor": 0}},
         lambda e: e.camera == "1" and e.time is not None and e.time >= 1020 and e.attributes["floor"] == 0),
        ({"camera": "nowhere"}, lambda e: False),
        ({"where": {"height": 1}}, lambda e: False),
        ({"where": {"floor": "0"}}, lambda e: False),
        ({"camera": "1' OR '1'='1"}, lambda e: False),
        ({"where": {"floor\" = 0 OR 1 --": 0}}, lambda e: False),
        ({"where": {"site": 'north" OR true OR "'}}, lambda e: False),
    ],
)  # fmt: skip
def test_conditions_are_the_same_for_searching_listing_and_removing(
    conditions: dict[str, Any], meets: Any, new_gallery: NewGallery
) -> None:
    gallery, ids = filled(new_gallery)
    expected = {entry.id for entry in gallery.list() if meets(entry)}
    assert {entry.id for entry in gallery.list(**conditions)} == expected
    found = gallery.search(features(1, seed=1), limit=100, **conditions)[0]
    assert {match.entry.id for match in found.matches} == expected
    receipt = gallery.remove(**conditions)
    assert set(receipt.ids) == expected
    assert {entry.id for entry in gallery.list()} == set(ids) - expected
    assert receipt.remaining == 60 - len(expected)


def test_the_same_again_adds_nothing(new_gallery: NewGallery) -> None:
    gallery, ids = filled(new_gallery)
    one = {"camera": "1", "box": (0, 0, 10, 20.5), "attributes": {"site": "south", "floor": 0}, "source": "shop/0.jpg"}
    before = list(gallery.list())
    assert gallery.add(features(1), identity="ann", **one) == ids[:1]  # type: ignore[arg-type]
    assert list(gallery.list()) == before  # in the same order, added when it was added
    assert len(gallery) == 60
    twice = features(2, seed=3)[[0, 1, 0]]
    assert len(set(gallery.add(twice, identity="ann"))) == 2
    assert len(gallery) == 62
    assert gallery.add(features(1), identity="bob", **one) != ids[:1]  # type: ignore[arg-type]
    assert len(gallery) == 63


@pytest.mark.slow
def test_the_same_picture_again_adds_nothing(new_gallery: NewGallery, tmp_path: Path) -> None:
    gallery = new_gallery("osnet_x0_25_drawn")
    first, other = image(tmp_path / "a.png", seed=1), image(tmp_path / "b.png", seed=2)
    ids = gallery.add([first, other], identity="ann")
    assert gallery.add([other, first], identity="ann") == ids[::-1]
    with Image.open(first) as picture:  # the pixels count, not the file
        assert gallery.add(picture, identity="ann", source=first) == ids[:1]
        assert gallery.add(np.asarray(picture), identity="ann", source=first) == ids[:1]
        picture.save(first, compress_level=0)
    assert gallery.add(first, identity="ann") == ids[:1]
    assert len(gallery) == 2
    again = gallery.add([first, first], identity="bob")
    assert again[0] == again[1]
    other.replace(first)  # another picture with the same name
    assert gallery.add(first, identity="ann")[0] not in ids
    assert len(gallery) == 4


def test_a_person_is_found_however_the_accents_are_written(new_gallery: NewGallery) -> None:
    gallery = new_gallery()
    gallery.add(features(1), identity="Jose\u0301", attributes={"town": "Zu\u0308rich"})
    assert gallery.rename(next(gallery.list()).id, "Jos\u00e9") == next(gallery.list()).id
    assert len(gallery.remove(identity="Jos\u00e9", where={"town": "Z\u00fcrich"}).ids) == 1


def test_groups_have_the_best_of_each_identity(new_gallery: NewGallery) -> None:
    gallery, _ = filled(new_gallery)
    query = features(1, seed=1)
    every = gallery.search(query, limit=60)[0].matches
    expected, seen = [], set()
    for match in every:
        if match.entry.identity is None or match.entry.identity not in seen:
            expected.append(match.entry.id)
        seen.add(match.entry.identity)
    assert len(expected) == 22
    for limit in (1, 2, 5, 22, 30):
        found = gallery.search(query, limit=limit, group=True)[0].matches
        assert [match.entry.id for match in found] == expected[:limit]


def test_a_person_with_many_entries_does_not_hide_the_others(new_gallery: NewGallery) -> None:
    gallery = new_gallery()
    base = features(1)[0]
    near = base + 0.001 * features(300, seed=1)
    gallery.add(near / np.linalg.norm(near, axis=1, keepdims=True), identity="many")
    gallery.add(features(3, seed=2), identity=["ann", "bob", "cat"])
    found = gallery.search(base, limit=3, group=True)[0].matches
    assert found[0].entry.identity == "many"
    assert len({match.entry.identity for match in found}) == 3


def test_unknown_needs_a_threshold(new_gallery: NewGallery) -> None:
    gallery = new_gallery()
    assert gallery.search(features(1), threshold=0.5)[0].unknown is True  # nobody is there
    gallery.add(features(2), identity=["ann", "bob"])
    query = features(2)[1] + 0.02 * features(1, seed=5)[0]
    query /= np.linalg.norm(query)
    plain = gallery.search(query)[0]
    assert (plain.unknown, plain.identity, plain.matches[0].entry.identity) == (None, None, "bob")
    best = plain.matches[0].similarity
    at, above = gallery.search(query, threshold=best)[0], gallery.search(query, threshold=best + 1e-4)[0]
    assert (at.unknown, at.identity) == (False, "bob")
    assert (above.unknown, above.identity, above.matches) == (True, None, plain.matches)


def test_the_threshold_of_a_search_rises_with_the_gallery(new_gallery: NewGallery, tmp_path: Path) -> None:
    rows = features(40, seed=9)
    found = verify_pairs(
        rows, rows, query_ids=np.arange(40) // 2, gallery_ids=np.arange(40) // 2, protocol="camera-blind"
    )
    measured = calibrate(found, checkpoint_sha256=SIGNATURE.sha256, data=["noise"])
    write_calibration(tmp_path / "t.json", measured)
    gallery = new_gallery()
    gallery.add(features(3))
    assert len(gallery) == 3
    assert gallery.threshold(tmp_path / "t.json", far=0.2) == measured.for_search(0.2, 3).threshold
    gallery.add(features(30, seed=1))
    assert gallery.threshold(tmp_path / "t.json", far=0.2) == measured.for_search(0.2, 33).threshold
    assert measured.for_search(0.2, 33).threshold > measured.for_search(0.2, 3).threshold
    assert gallery.threshold(tmp_path / "t.json", 0.01) == measured.threshold(0.01)
    for wrong in ({}, {"fpr": 0.01, "far": 0.01}):
        with pytest.raises(OptionError, match=r"expected one of far .* and fpr"):
            gallery.threshold(tmp_path / "t.json", **wrong)
    write_calibration(tmp_path / "t.json", replace(measured, checkpoint_sha256="0" * 64))
    with pytest.raises(DataError, match="for these features; it was measured with checkpoint 0000"):
        gallery.threshold(tmp_path / "t.json", far=0.2)


@pytest.mark.slow
def test_re_ranking_is_that_of_the_first_hundred(new_gallery: NewGallery) -> None:
    pytest.importorskip("scipy")
    gallery = new_gallery()
    rng = np.random.default_rng(0)
    rows = np.repeat(features(12, seed=4), 12, axis=0) + 0.06 * rng.standard_normal((144, 512)).astype(np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    ids = gallery.add(rows, identity=[f"p{i // 12}" for i in range(144)])
    query = rows[5] + 0.06 * rng.standard_normal(512).astype(np.float32)
    query /= np.linalg.norm(query)
    first = np.argsort(-(rows @ query), kind="stable")[:100]
    distances = osnet.rerank(query[None], rows[first])[0]
    order = first[np.argsort(distances, kind="stable")]
    found = gallery.search(query, limit=100, rerank=True)[0].matches
    assert [match.entry.id for match in found] == [ids[row] for row in order]
    assert [match.distance for match in found] == pytest.approx(np.sort(distances).tolist(), abs=1e-6)
    assert [match.similarity for match in found] == pytest.approx((rows @ query)[order].tolist(), abs=1e-5)
    grouped = gallery.search(query, limit=3, rerank=True, group=True)[0].matches
    assert grouped[0].entry.identity == "p0"
    assert len({match.entry.identity for match in grouped}) == 3


def test_features_that_are_not_normalised_keep_their_length(new_gallery: NewGallery) -> None:
    gallery = new_gallery(PLAIN)
    rows = features(3) * np.array([[0.5], [3], [40]], np.float32)
    ids = gallery.add(rows)
    assert np.array_equal(gallery.features(ids), rows)
    found = gallery.search(rows[1] * 7)[0].matches
    assert (found[0].entry.id, found[0].similarity) == (ids[1], pytest.approx(1, abs=1e-6))


def bad_feature(row: int, value: float) -> Any:
    rows = features(3)
    rows[row, 7] = value
    return rows


@pytest.mark.parametrize(
    ("items", "told", "error", "message"),
    [
        (bad_feature(1, np.nan), {}, DataError, "row 1 of 3 holds NaN or infinity"),
        (bad_feature(2, np.inf), {}, DataError, "row 2 of 3 holds NaN"),
        (features(2) * 0, {}, DataError, "row 0 of 2 is all zero"),
        (features(2) * 3, {}, DataError, "row 0 has the length 3"),
        (np.ones((2, 256), np.float32), {}, DataError, r"expected floats \(N, 512\), got float32 \(2, 256\)"),
        (np.ones((2, 3, 512), np.float32), {}, DataError, "expected floats"),
        ([[0.5] * 512, [0.5] * 511], {}, DataError, "mixed widths"),
        (features(2), {"signature": replace(SIGNATURE, sha256="6" * 64)}, DataError, "sha256 6666.*gallery has 5555"),
        (features(2), {"signature": replace(SIGNATURE, flip=True)}, DataError, "flip True, the gallery has False"),
        (features(2), {"identity": ["ann"]}, OptionError, "identity: expected one for each of 2 pictures, got 1"),
        (features(2), {"identity": ""}, OptionError, "identity: expected a text"),
        (features(2), {"time": "noon"}, OptionError, "time: expected a time"),
        (features(2), {"box": (1, 2, 3)}, OptionError, "box: expected one for each"),
        (features(2), {"box": [(1, 2, 3, np.nan), None]}, OptionError, "box: expected 4 finite numbers"),
        (features(2), {"attributes": {"a": [1]}}, OptionError, "attribute a: expected a text"),
        (features(2), {"attributes": "a"}, OptionError, "attributes: expected at most 64"),
        (features(2), {"source": 3}, OptionError, "source: expected a path"),
        (features(2), {"thumbnail": [b"x"]}, OptionError, "thumbnail: expected one for each of 2"),
        (["a.jpg"], {"thumbnail": [b"x"]}, OptionError, "thumbnail: is for features"),
        (["a.jpg"], {}, OptionError, "does not know where its model osnet_x0_25 is"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_changes_nothing(
    items: Any, told: dict[str, Any], error: type[OsnetError], message: str, new_gallery: NewGallery
) -> None:
    gallery, ids = filled(new_gallery, 6)
    with pytest.raises(error, match=message) as caught:
        gallery.add(items, **told)
    assert "\n" not in str(caught.value)
    assert [entry.id for entry in gallery.list()] == ids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit: expected an integer from 1"),
        ({"threshold": 1.5}, "threshold: expected a number"),
        ({"camera": []}, "camera: expected at least one"),
        ({"signature": replace(SIGNATURE, precision="bf16")}, "precision bf16"),
    ],
)
def test_bad_searches_are_refused(arguments: dict[str, Any], message: str, new_gallery: NewGallery) -> None:
    gallery, _ = filled(new_gallery, 3)
    with pytest.raises(OsnetError, match=message):
        gallery.search(features(1), **arguments)
    with pytest.raises(DataError, match="query: row 0 of 1 holds NaN"):
        gallery.search(bad_feature(0, np.nan)[:1])


@pytest.mark.parametrize("arguments", [{}, {"everything": True, "identity": "ann"}])
def test_removing_everything_must_be_said(arguments: dict[str, Any], new_gallery: NewGallery) -> None:
    gallery, _ = filled(new_gallery, 3)
    with pytest.raises(OptionError, match="expected conditions"):
        gallery.remove(**arguments)
    assert gallery.remove(ids=[]).remaining == 3
    assert len(gallery.remove(everything=True).ids) == 3
    assert len(gallery) == 0


def test_entries_are_removed_by_their_age(new_gallery: NewGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = new_gallery()
    now, day = time.time(), 86_400
    known = gallery.add(features(2), identity=["ann", "bob"], time=[now - 3 * day, now - day])
    monkeypatch.setattr("osnet.gallery.gallery.clock", SimpleNamespace(time=lambda: now - 4 * day))
    # without a time, when it was added counts
    long_ago = gallery.add(features(2, seed=2), identity=["cat", "dan"], time=[None, now])
    monkeypatch.undo()
    assert gallery.remove(older_than="5d").ids == ()
    receipt = gallery.remove(older_than="2d")
    assert (set(receipt.ids), receipt.identities) == ({known[0], long_ago[0]}, ("ann", "cat"))
    assert (receipt.remaining, receipt.to_dict()["removed"]) == (2, 2)
    assert {entry.id for entry in gallery.list()} == {known[1], long_ago[1]}


def test_a_receipt_says_what_went(new_gallery: NewGallery) -> None:
    gallery = new_gallery(thumbnails=(32, 16))
    picture = Image.new("RGB", (30, 60), "red")
    ids = gallery.add(features(4), identity=["b", "a", "b", None], thumbnail=[picture, picture, None, None])
    receipt = gallery.remove(identity=["a", "b"])
    assert (set(receipt.ids), receipt.identities, receipt.thumbnails) == (set(ids[:3]), ("a", "b"), 2)
    assert (receipt.remaining, receipt.to_dict()["removed"]) == (1, 3)
    assert receipt.erased is not isinstance(gallery._store, MilvusStore)  # Milvus erases later
    assert gallery.remove(identity="a").ids == ()
    assert gallery.search(features(4), limit=4)[0].matches[0].entry.id == ids[3]
    with pytest.raises(GalleryError, match=f"has no entry {ids[0]}"):
        gallery.features(ids)


def test_an_entry_becomes_one_of_another_person(new_gallery: NewGallery) -> None:
    gallery = new_gallery(thumbnails=(32, 16))
    told: dict[str, Any] = {"camera": "1", "time": 5, "source": "a.jpg", "attributes": {"site": "north"}}
    picture = Image.new("RGB", (8, 16), "red")
    ids = gallery.add(features(3), identity=["7", "7", None], thumbnail=[picture] * 3, **told)
    before, thumbnail = next(gallery.list(ids=ids[0])), gallery.thumbnail(ids[0])
    assert gallery.rename(ids[0], 7) == ids[0]  # a number is taken as text: the same name changes nothing
    assert [entry.id for entry in gallery.list()] == ids
    new = gallery.rename(ids[0], "ann")
    assert new is not None
    assert {entry.id for entry in gallery.list()} == {new, *ids[1:]}
    assert next(gallery.list(ids=new)) == replace(before, id=new, identity="ann")
    assert np.array_equal(gallery.features([new]), features(1))
    assert gallery.thumbnail(new) == thumbnail
    assert gallery.search(features(1), threshold=0.9)[0].identity == "ann"
    nobody = gallery.rename(new, None)
    assert next(gallery.list(ids=nobody)).identity is None
    assert gallery.rename(nobody or "", 7) == ids[0]  # its id is what it was: it is the same entry again
    assert gallery.rename("0" * 32, "ann") is None
    with pytest.raises(OptionError, match="identity: expected a text"):
        gallery.rename(ids[1], "")
    assert len(gallery) == 3


def test_thumbnails(new_gallery: NewGallery, tmp_path: Path) -> None:
    gallery = new_gallery(thumbnails=(32, 16))
    red = Image.new("RGB", (30, 60), "red")
    file = io.BytesIO()
    red.save(file, "PNG")
    ids = gallery.add(features(3), thumbnail=[red, file.getvalue(), np.full((9, 9, 3), (255, 0, 0), np.uint8)])
    for id in ids:
        with Image.open(io.BytesIO(gallery.thumbnail(id) or b"")) as small:
            assert (small.format, small.size) == ("JPEG", (16, 32))
            assert np.abs(np.asarray(small, int) - (254, 0, 0)).max() < 4
    assert new_gallery().thumbnail(ids[0]) is None
    bomb = b"P6 60000 60000 255\n" + b"\0" * 100
    refused = [(bomb, "the thumbnail: over 100000000 pixels"), (b"hello", "not an image format"), (b"", "is empty")]
    for bad, message in refused:
        with pytest.raises(ImageError, match=message):
            gallery.add(features(2, seed=8), thumbnail=[red, bad])
    assert len(gallery) == 3


@pytest.mark.slow
def test_any_number_of_threads(new_gallery: NewGallery) -> None:
    gallery = new_gallery()
    few = isinstance(gallery._store, MilvusStore)  # a test server is slower
    rows = features(400)
    parts, rounds, readers_count = (2, 2, 1) if few else (4, 5, 2)
    errors: list[BaseException] = []
    stop = threading.Event()

    def write(part: int) -> None:
        try:
            for start in range(0, 20 * rounds, 20):
                some = slice(100 * part + start, 100 * part + start + 20)
                gallery.add(rows[some], identity=str(part))
                gallery.remove(identity=str(part), ids=gallery.add(rows[some], identity=str(part))[:5], compact=False)
        except BaseException as error:  # noqa: BLE001 - asserted on below
            errors.append(error)

    def read() -> None:
        try:
            while not stop.is_set():
                for match in gallery.search(rows[:3], limit=50)[2].matches:
                    assert match.similarity <= 1 + 1e-5
                sum(1 for _ in gallery.list())
        except BaseException as error:  # noqa: BLE001 - asserted on below
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(readers_count)]
    writers = [threading.Thread(target=write, args=(part,)) for part in range(parts)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert errors == []
    assert len(gallery) == parts * rounds * 15
    kept = [100 * part + row for part in range(parts) for row in range(20 * rounds) if row % 20 >= 5]
    for row, result in zip(kept, gallery.search(rows[kept], limit=1)):
        assert result.matches[0].entry.identity == str(row // 100)
        assert result.matches[0].similarity == pytest.approx(1, abs=1e-5)


def test_a_closed_gallery_says_so(new_gallery: NewGallery) -> None:
    gallery, _ = filled(new_gallery, 3)
    gallery.close()
    gallery.close()
    for use in (lambda: gallery.search(features(1)), lambda: gallery.add(features(1)), lambda: list(gallery.list())):
        with pytest.raises(GalleryError, match="closed"):
            use()

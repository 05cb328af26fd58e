"""A gallery in a file: what is on the disk after kills, damage, a full disk, and beside other processes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import osnet
from benchmarks.gallery_kills import kill_often
from osnet.errors import DiskError, ExistsError, GalleryError, LockError
from osnet.gallery.filters import Filter
from osnet.gallery.store import FORMAT
from tests.gallery.conftest import SIGNATURE, features
from tests.processes import finish, small_disk, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery of 200 entries of 20 people, with thumbnails."""
    path = tmp_path / "people.gallery"
    with osnet.Gallery.create(path, SIGNATURE, thumbnails=(16, 8)) as gallery:
        pictures = np.random.default_rng(0).integers(0, 256, (200, 16, 8, 3)).astype(np.uint8)
        gallery.add(
            features(200), identity=[f"person-{i % 20}" for i in range(200)], thumbnail=list(pictures),
            attributes={"site": "north"}, source=[f"{i}.jpg" for i in range(200)],
        )  # fmt: skip
    return path


def test_all_of_it_is_one_file(path: Path) -> None:
    assert os.listdir(path.parent) == [path.name]
    with osnet.Gallery(path) as gallery:
        assert gallery.check() == []
        assert gallery.signature == SIGNATURE
        assert gallery.search(features(3)[2])[0].matches[0].entry.source == "2.jpg"
    assert os.listdir(path.parent) == [path.name]
    with pytest.raises(ExistsError, match="exists"):
        osnet.Gallery.create(path, SIGNATURE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such gallery; expected a file that `osnet gallery create` made"),
        (b"", "an empty file"),
        (b"hello" * 1000, "damaged, or not a gallery"),
        ("other", "another SQLite file"),
        ("newer", rf"a gallery of format {FORMAT + 1}, written by a newer osnet"),
        ("described", "its description is damaged"),
    ],
)
def test_what_is_not_a_gallery_is_named(content: bytes | str | None, message: str, path: Path) -> None:
    other = path.parent / "other.gallery"
    if isinstance(content, bytes):
        other.write_bytes(content)
    elif content:
        change = {
            "other": "PRAGMA application_id = 0",
            "newer": f"PRAGMA user_version = {FORMAT + 1}",
            "described": "UPDATE about SET content = replace(content, '555', '666')",
        }[content]
        other.write_bytes(path.read_bytes())
        database = sqlite3.connect(other)
        database.execute(change)
        database.commit()
        database.close()
    before = other.read_bytes() if content is not None else None
    with pytest.raises(GalleryError, match=message) as caught:
        osnet.Gallery(other)
    assert str(other) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (other.read_bytes() if other.exists() else None) == before


def damaged(path: Path, position: int) -> Path:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("what", ["its feature", "its thumbnail", "what is told of it"])
def test_a_changed_byte_is_found_and_the_entry_named(what: str, path: Path) -> None:
    with osnet.Gallery(path) as gallery:
        entry = next(iter(gallery.list(identity="person-7")))
        thumbnail = gallery.thumbnail(entry.id) or b""
    data = path.read_bytes()
    searched = {
        "its feature": features(8)[7].tobytes()[:64],
        "its thumbnail": thumbnail[-64:],
        "what is told of it": b"person-77.jpg",
    }[what]
    damaged(path, data.index(searched) + 1)
    with osnet.Gallery(path) as gallery:
        lines = gallery.check()
        assert len(lines) == 1
        assert re.search(rf"entry {entry.id} .*damaged: {what}", lines[0])
        if what == "its thumbnail":
            with pytest.raises(GalleryError, match=what):
                gallery.thumbnail(entry.id)
        else:
            with pytest.raises(GalleryError, match=f"entry {entry.id} .*{what}.*gallery remove --id {entry.id}"):
                gallery.search(features(1))
        assert gallery.remove(ids=entry.id).ids == (entry.id,)
        assert gallery.check() == []
        assert len(gallery.search(features(1), limit=300)[0].matches) == 199


@pytest.mark.slow
def test_a_changed_byte_anywhere_is_found_or_harmless(path: Path) -> None:
    data = path.read_bytes()
    with osnet.Gallery(path) as gallery:
        expected = [(row.entry, row.feature.tobytes(), row.thumbnail) for row in gallery._store.rows(Filter())]
    found = 0
    for position in np.random.default_rng(1).integers(0, len(data), 60).tolist():
        path.write_bytes(data)
        damaged(path, position)
        try:
            with osnet.Gallery(path) as gallery:
                lines = gallery.check()
                assert all(str(path) in line and "\n" not in line for line in lines)
                if not lines:
                    rows = [(row.entry, row.feature.tobytes(), row.thumbnail) for row in gallery._store.rows(Filter())]
                    assert rows == expected
                found += bool(lines)
        except GalleryError:
            found += 1
    assert found > 40


@pytest.mark.slow
def test_no_byte_of_what_was_removed_is_left(path: Path) -> None:
    rng = np.random.default_rng(0)
    with osnet.Gallery(path) as gallery:
        gone: list[bytes] = []
        for step in range(3):
            rows = features(60, seed=step + 1)
            names = [f"someone-{rng.integers(1 << 60):x}" for _ in rows]
            pictures = list(rng.integers(0, 256, (60, 16, 8, 3)).astype(np.uint8))
            gallery.add(rows, identity=names, thumbnail=pictures, attributes={"note": "seen"})
            chosen = [entry for entry in gallery.list() if rng.random() < 0.4]
            for entry, feature in zip(chosen, gallery.features([entry.id for entry in chosen])):
                thumbnail = gallery.thumbnail(entry.id) or b""
                gone += [feature.tobytes()[:16], feature.tobytes()[-16:], thumbnail[-20:-2], entry.id.encode()]
                gone += [(entry.identity or "").encode()] * (not (entry.identity or "").startswith("person"))
            receipt = gallery.remove(ids=[entry.id for entry in chosen])
            assert receipt.erased
            data = b"".join(file.read_bytes() for file in path.parent.iterdir())
            assert [piece for piece in gone if piece in data] == []
            assert gallery._store._writer.execute("PRAGMA freelist_count").fetchone() == (0,)  # written anew
        assert gallery.check() == []


def test_what_is_removed_is_overwritten_at_once(path: Path) -> None:
    with osnet.Gallery(path) as gallery:
        entries = list(gallery.list(identity="person-3"))
        gone = [
            gallery.features([entry.id]).tobytes()[part] for entry in entries for part in (slice(64), slice(-64, None))
        ]
        gone += [(gallery.thumbnail(entry.id) or b"")[-64:] for entry in entries]
        gone += [entry.id.encode() for entry in entries]
        assert gone == [piece for piece in gone if piece in path.read_bytes()]
        assert not gallery.remove(identity="person-3", compact=False).erased
        data = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert [piece for piece in gone if piece in data] == []


def test_a_receipt_does_not_claim_what_a_reader_holds_up(path: Path) -> None:
    with osnet.Gallery(path, timeout=0.1) as gallery:
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (200,)
        receipt = gallery.remove(identity="person-3")
        assert (len(receipt.ids), receipt.erased) == (10, False)
        reader.execute("COMMIT")
        reader.close()
        assert not gallery.remove(identity="person-4", compact=False).erased
        receipt = gallery.remove(identity="nobody")  # nothing more to remove, but to erase
        assert (receipt.ids, receipt.erased) == ((), True)
        assert gallery.compact()


@pytest.mark.slow
def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert kill_often(tmp_path / "people.gallery", 6, seed=11).startswith("6 kills")


WRITE_UNTIL_FULL = """
import sys, numpy as np, osnet
from osnet.errors import DiskError
from tests.gallery.conftest import features
gallery = osnet.Gallery(sys.argv[1])
for batch in range(10_000):
    try:
        gallery.add(features(50, seed=batch), identity=str(batch))
    except DiskError as error:
        print(batch, error)
        break
"""


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        path = disk / "people.gallery"
        osnet.Gallery.create(path, SIGNATURE).close()
        (disk / "filler").write_bytes(bytes(1 << 19))
        batches, _, message = finish(start(WRITE_UNTIL_FULL, path))[0].partition(" ")
        assert re.match(rf"{path}: cannot be read or written \(.*(full|I/O).*\); expected a folder with room", message)
        with osnet.Gallery(path) as gallery:
            assert gallery.check() == []
            assert gallery.stats().entries == 50 * int(batches)
            for batch in range(int(batches)):
                found = gallery.search(features(1, seed=batch), limit=1)[0].matches[0]
                assert (found.entry.identity, round(found.similarity, 4)) == (str(batch), 1)
            (disk / "filler").unlink()
            assert len(gallery.remove(identity="0").ids) == 50
            assert "0" not in {match.entry.identity for match in gallery.search(features(1), limit=100)[0].matches}
    missing = tmp_path / "no" / "people.gallery"
    with pytest.raises(DiskError, match="No such file or directory"):
        osnet.Gallery.create(missing, SIGNATURE)


HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
database.execute("COMMIT")
"""


@pytest.fixture
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing to the gallery until it gets a line."""
    process = start(HOLD, path, stdin=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate(timeout=30)


@pytest.mark.slow
def test_a_second_writer_waits_and_not_for_ever(path: Path, held: subprocess.Popen[str]) -> None:
    with osnet.Gallery(path, timeout=0.5) as gallery:
        begun = time.monotonic()
        with pytest.raises(LockError, match=r"another process has been writing to this gallery for 0.5 s; try again"):
            gallery.add(features(1, seed=9))
        assert 0.4 < time.monotonic() - begun < 20
        assert len(gallery.search(features(1), limit=300)[0].matches) == 200  # readers need not wait
        assert held.stdin
        held.stdin.write("\n")
        held.stdin.flush()
    with osnet.Gallery(path, timeout=30) as gallery:
        gallery.add(features(1, seed=9))
        assert len(gallery) == 201


ADD = """
import sys, osnet
from tests.gallery.conftest import features
with osnet.Gallery(sys.argv[1], timeout=60) as gallery:
    for step in range(20):
        gallery.add(features(10, seed=100 * int(sys.argv[2]) + step), identity=sys.argv[2])
"""


@pytest.mark.slow
def test_readers_see_whole_batches_while_two_processes_write(path: Path) -> None:
    writers = [start(ADD, path, number) for number in (1, 2)]
    with osnet.Gallery(path) as gallery:
        seen = 0
        while any(writer.poll() is None for writer in writers):
            found = gallery.search(features(1, seed=100), limit=1000)[0].matches
            assert len(found) >= seen
            assert len(found) % 10 == 0
            assert len(found) == len({match.entry.id for match in found})
            seen = len(found)
        for writer in writers:
            finish(writer)
        assert len(gallery.search(features(1), limit=1000)[0].matches) == 200 + 400
        with osnet.Gallery(path) as other:
            other.remove(identity="1")
        assert len(gallery.search(features(1), limit=1000)[0].matches) == 400

"""Publishing whole files, with real disks, processes and signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from osnet.errors import CheckpointError, DiskError
from osnet.files import atomic_file, atomic_write, read_whole

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and signals are POSIX's")


def test_what_is_published_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic_write(path, b"one")
    atomic_write(path, memoryview(b"two"))
    assert read_whole(path) == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_fault_42_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_block_that_raises_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")

    def write_and_raise() -> None:
        with atomic_file(tmp_path / "a") as private:
            private.write_text("half")
            raise error

    with pytest.raises(error):
        write_and_raise()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileExistsError, match="exists; remove it or ask to overwrite it"):
        atomic_write(tmp_path / "a", b"new", overwrite=False)
    assert (tmp_path / "a").read_text() == "old"
    atomic_write(tmp_path / "b", b"new", overwrite=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b"]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "real").read_text() == "old"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("name", ["none/a", "file/a", "folder"])
def test_where_nothing_can_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiskError, match="cannot write"):
        atomic_write(tmp_path / name, b"x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def fill() -> None:
        with atomic_file(tmp_path / "a") as private:
            private.write_text("half")
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")

    with pytest.raises(DiskError, match="No space left"):
        fill()
    assert not list(tmp_path.iterdir())


def _publish_for_ever(path: str) -> None:
    while True:
        for byte in (b"a", b"b"):
            atomic_write(path, byte * 1_000_000)


def test_a_killed_process_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a"
    process = multiprocessing.get_context("fork").Process(target=_publish_for_ever, args=(str(path),))
    process.start()
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(20):
        assert read_whole(path) in (b"a" * 1_000_000, b"b" * 1_000_000)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert read_whole(path) in (b"a" * 1_000_000, b"b" * 1_000_000)
    assert all(entry.name == "a" or entry.name.endswith(".part") for entry in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"), [("folder", "is a folder"), ("none", "No such file"), ("/dev/null", "device")]
)
def test_what_is_not_read(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=message):
        read_whole(tmp_path / name)

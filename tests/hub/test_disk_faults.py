"""What disks and processes do wrong (faults 30 to 43), with real ones."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from osnet.errors import CacheError, DiskError, DownloadError, HashError, LockError, OfflineError
from osnet.hub import fetch as fetch_module
from osnet.hub.card import Card
from osnet.hub.fetch import fetch, fetch_verified
from osnet.hub.partial import Partial
from tests.conftest import CardMaker
from tests.hub.conftest import Fetch, files_in
from tests.processes import ROOT, finish, read_only, run_module, small_disk, start
from tests.servers import Exchange, Server, cut_chunks, drip, pausing, ranged, until_close, wait_for, whole

DATA = random.Random(5).randbytes(2_000_000)
FINAL = "mindspore/1.6/x.ckpt"

FETCH = "import sys, osnet; print(osnet.fetch(sys.argv[1]))"
NO_LOCKS = "import filelock; filelock.FileLock.acquire = lambda self, *args, **options: None\n"


@pytest.fixture(autouse=True)
def _children_may_ask(https_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)


@pytest.fixture
def card(https_server: Server, make_card: CardMaker) -> Card:
    return make_card(https_server.on("/x.ckpt", ranged(DATA)), DATA)


@pytest.fixture
def cached(card: Card, cache: Path, https_server: Server) -> Path:
    """The card's file is in the cache, and the server has forgotten that it was asked."""
    path = fetch(card)
    assert path == cache / FINAL
    https_server.requests.clear()
    return path


def partial_sizes(cache: Path) -> list[int]:
    return [path.stat().st_size for path in cache.rglob("*.part")]


def started_download(card: Card, cache: Path, server: Server, code: str = FETCH) -> subprocess.Popen[str]:
    """A process in the middle of a download: a million bytes are on its disk, and no more come."""
    server.on("/x.ckpt", pausing(DATA, 1_000_000, threading.Event()))
    process = start(code, card.path)
    wait_for(lambda: process.poll() is not None or sum(partial_sizes(cache)) > 900_000)
    assert process.poll() is None, process.communicate()
    return process


@pytest.mark.slow
@pytest.mark.parametrize("locks", ["locks", "no-locks"])
def test_fault_30_kill_9(locks: str, card: Card, cache: Path, https_server: Server) -> None:
    process = started_download(card, cache, https_server, (NO_LOCKS if locks == "no-locks" else "") + FETCH)
    process.kill()
    process.communicate()
    assert not (cache / FINAL).exists()
    assert len(partial_sizes(cache)) == 1
    finish(start(FETCH, card.path))
    assert (cache / FINAL).read_bytes() == DATA
    first, second = https_server.requests
    assert first.start == 0
    assert second.start > 900_000
    assert files_in(cache) == [FINAL]


@pytest.mark.slow
def test_fault_30_killed_after_the_last_byte(card: Card, cache: Path, https_server: Server) -> None:
    process = started_download(card, cache, https_server)
    process.kill()
    process.communicate()
    (partial,) = cache.rglob("*.part")
    partial.write_bytes(DATA)
    https_server.requests.clear()
    assert fetch(card).read_bytes() == DATA
    assert https_server.requests == []
    assert files_in(cache) == [FINAL]


@pytest.mark.slow
def test_fault_30_the_partial_file_is_damaged(card: Card, cache: Path, https_server: Server) -> None:
    process = started_download(card, cache, https_server)
    process.kill()
    process.communicate()
    (partial,) = cache.rglob("*.part")
    partial.write_bytes(b"\0" * 500_000)
    https_server.on("/x.ckpt", ranged(DATA))
    assert fetch(card).read_bytes() == DATA
    assert [exchange.start for exchange in https_server.requests] == [0, 500_000, 0]
    assert files_in(cache) == [FINAL]


@pytest.mark.slow
def test_the_partial_file_of_a_process_that_runs_is_left_alone(card: Card, cache: Path, https_server: Server) -> None:
    process = started_download(card, cache, https_server, NO_LOCKS + FETCH)
    https_server.on("/x.ckpt", ranged(DATA))
    finish(start(NO_LOCKS + FETCH, card.path))
    assert https_server.requests[-1].start == 0
    assert len(partial_sizes(cache)) == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert files_in(cache) == [FINAL]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_fault_31_processes_at_once(count: int, card: Card, cache: Path, https_server: Server) -> None:
    go = threading.Event()
    https_server.on("/x.ckpt", pausing(DATA, 1_000_000, go))
    processes = [start(FETCH, card.path) for _ in range(count)]
    wait_for(lambda: https_server.requests)
    time.sleep(0.5)
    go.set()
    outputs = {finish(process)[0].strip() for process in processes}
    assert outputs == {str(cache / FINAL)}
    assert (cache / FINAL).read_bytes() == DATA
    assert len(https_server.requests) == 1
    assert files_in(cache) == [FINAL]


@pytest.mark.slow
def test_fault_32_locks_that_do_nothing(card: Card, cache: Path, https_server: Server) -> None:
    go = threading.Event()
    https_server.on("/x.ckpt", pausing(DATA, 1_000_000, go))
    processes = [start(NO_LOCKS + FETCH, card.path) for _ in range(8)]
    wait_for(lambda: len(https_server.requests) == 8, 60)
    go.set()
    for process in processes:
        finish(process)
    assert (cache / FINAL).read_bytes() == DATA
    assert files_in(cache) == [FINAL]


@pytest.mark.parametrize("error", ["OSError(37, 'no locks')", "NotImplementedError()"])
def test_fault_32_a_disk_that_knows_no_locks(error: str, card: Card, cache: Path) -> None:
    code = f"def refuse(*args, **options): raise {error}\nimport filelock; filelock.FileLock.acquire = refuse\n"
    finish(start(code + FETCH, card.path))
    assert files_in(cache) == [FINAL]


@pytest.mark.slow
def test_fault_33_lock_holder_that_hangs(card: Card, cache: Path, https_server: Server) -> None:
    process = started_download(card, cache, https_server)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LockError, match="held this lock for") as caught:
            fetch(card, timeout=1)
        assert str(cache / f".{card.checkpoint.sha256}.lock") in str(caught.value)
    finally:
        process.kill()
        process.communicate()
    https_server.on("/x.ckpt", ranged(DATA))
    fetch(card)
    assert files_in(cache) == [FINAL]


@pytest.mark.parametrize("length", ["known", "unknown", "chunked"])
def test_fault_34_disk_full(
    length: str, https_server: Server, make_card: CardMaker, tmp_path: Path, fetch_from: Fetch
) -> None:
    data = DATA * 11  # 22 MB
    reply = {"known": whole(data), "unknown": until_close(data), "chunked": cut_chunks(data, len(data))}[length]
    card = make_card(https_server.on("/x.ckpt", reply), data)
    with small_disk(tmp_path / "disk", "20m") as disk:
        with pytest.raises(DiskError) as caught:
            fetch_from(card, https_server, cache_dir=disk)
        assert files_in(disk) == []
    message = str(caught.value)
    assert str(disk) in message
    assert "bytes needed" in message
    assert " free; make room, or set OSNET_CACHE" in message
    if length == "known":
        assert "22000000 bytes needed" in message
        assert f"{20 << 20} free" in message
    assert len(https_server.requests) == 1


def test_fault_34_the_good_file_survives_a_full_disk(
    https_server: Server, make_card: CardMaker, tmp_path: Path, fetch_from: Fetch
) -> None:
    data = DATA * 6  # 12 MB: once, not twice
    card = make_card(https_server.on("/x.ckpt", until_close(data)), data)
    with small_disk(tmp_path / "disk", "20m") as disk:
        fetch_from(card, https_server, cache_dir=disk)
        with pytest.raises(DiskError):
            fetch_from(card, https_server, cache_dir=disk, force=True)
        assert files_in(disk) == [FINAL]
        assert (disk / FINAL).read_bytes() == data


@pytest.mark.slow
def test_fault_34_a_killed_download_does_not_fill_the_disk(
    https_server: Server, make_card: CardMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DATA * 7  # 14 MB: not twice
    card = make_card(https_server.on("/x.ckpt", pausing(data, 13_000_000, threading.Event())), data)
    with small_disk(tmp_path / "disk", "20m") as disk:
        monkeypatch.setenv("OSNET_CACHE", str(disk))
        process = start(FETCH, card.path)
        wait_for(lambda: sum(partial_sizes(disk)) > 12_000_000)
        process.kill()
        process.communicate()
        assert fetch(card).read_bytes() == data
        assert files_in(disk) == [FINAL]


def test_fault_35_read_only_cache(
    card: Card, cached: Path, cache: Path, https_server: Server, make_card: CardMaker
) -> None:
    other = make_card(https_server.on("/other.ckpt", whole(b"other")), b"other", name="other", mindspore_version="1.9")
    with read_only(cache):
        assert fetch(card) == cached
        assert fetch(card, offline=True) == cached
        with pytest.raises(CacheError, match=r"cannot be written.*OSNET_CACHE"):
            fetch(other)
        with pytest.raises(CacheError, match=r"cannot be written.*OSNET_CACHE"):
            fetch(card, force=True)
    assert https_server.requests == []
    assert files_in(cache) == [FINAL]


def test_fault_35_no_folder_can_be_made(card: Card, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError, match="file"):
        fetch(card, cache_dir=tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with read_only(tmp_path / "empty"), pytest.raises(CacheError, match="OSNET_CACHE"):
        fetch(card, cache_dir=tmp_path / "empty" / "cache")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped-bit": flip,
    "zeros": lambda path: path.write_bytes(bytes(len(DATA))),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(DATA[:-1]),
    "longer": lambda path: path.write_bytes(DATA + b"x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_fault_36_damaged_file(damage: str, card: Card, cached: Path, cache: Path, https_server: Server) -> None:
    DAMAGES[damage](cached)
    damaged = cached.read_bytes()
    with pytest.raises(HashError, match="kept") as caught:
        fetch(card, offline=True)
    for word in (str(cached), card.checkpoint.sha256, hashlib.sha256(damaged).hexdigest(), "fetch again"):
        assert word in str(caught.value)
    with pytest.raises(HashError):
        fetch_verified(card, offline=True)
    assert cached.read_bytes() == damaged
    assert https_server.requests == []
    assert fetch_verified(card).data == DATA
    assert cached.read_bytes() == DATA
    assert len(https_server.requests) == 1
    assert files_in(cache) == [FINAL]


def test_fault_36_damaged_and_no_network(card: Card, cached: Path, https_server: Server) -> None:
    flip(cached)
    damaged = cached.read_bytes()
    https_server.replies.clear()
    with pytest.raises(DownloadError, match="404"):
        fetch(card)
    assert cached.read_bytes() == damaged


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("thing", ["folder", "fifo", "dangling-link", "link-to-itself", "link-to-fifo"])
def test_fault_37_no_file_at_the_path(
    thing: str, force: bool, card: Card, cache: Path, tmp_path: Path, https_server: Server
) -> None:
    path = cache / FINAL
    path.parent.mkdir(parents=True)
    if thing == "folder":
        (path / "inside").mkdir(parents=True)
    elif thing == "fifo":
        os.mkfifo(path)
    elif thing == "link-to-fifo":
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    else:
        path.symlink_to(tmp_path / "nowhere" if thing == "dangling-link" else path)
    before = path.lstat()
    for options in ({"force": force}, {"offline": True}):
        with pytest.raises(CacheError) as caught:
            fetch(card, **options)  # type: ignore[arg-type]
        assert str(path) in str(caught.value)
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert https_server.requests == []


def test_fault_38_cache_folder_is_a_link(card: Card, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    assert fetch(card) == cache / FINAL
    assert files_in(tmp_path / "elsewhere") == [FINAL]
    assert cache.is_symlink()
    assert fetch(card, offline=True).read_bytes() == DATA


def test_fault_38_file_is_a_link(card: Card, cached: Path, tmp_path: Path, https_server: Server) -> None:
    outside = tmp_path / "outside.ckpt"
    cached.rename(outside)
    cached.symlink_to(outside)
    assert fetch(card, offline=True) == cached
    assert cached.is_symlink()
    outside.write_bytes(b"precious")
    assert fetch(card).read_bytes() == DATA
    assert outside.read_bytes() == b"precious"
    assert not cached.is_symlink()


def test_fault_38_partial_file_is_a_link(card: Card, cache: Path, https_server: Server, tmp_path: Path) -> None:
    process = started_download(card, cache, https_server)
    process.kill()
    process.communicate()
    (partial,) = cache.rglob("*.part")
    precious = tmp_path / "precious"
    precious.write_bytes(DATA[:1000])
    partial.unlink()
    partial.symlink_to(precious)
    https_server.on("/x.ckpt", ranged(DATA))
    assert fetch(card).read_bytes() == DATA
    assert precious.read_bytes() == DATA[:1000]


@pytest.mark.parametrize("change", ["overwritten", "emptied", "appended"])
def test_fault_68_partial_file_changed_while_it_is_received(
    change: str, card: Card, cached: Path, cache: Path, https_server: Server, fetch_from: Fetch
) -> None:
    def meddling(exchange: Exchange) -> None:
        exchange.head(content_length=len(DATA))
        exchange.send(DATA[:1_000_000])
        wait_for(lambda: sum(partial_sizes(cache)) > 900_000)
        (partial,) = cache.rglob("*.part")
        with open(partial, "ab" if change == "appended" else "r+b") as file:
            if change == "emptied":
                file.truncate()
            else:
                file.write(b"evil" * (300_000 if change == "appended" else 1))
        exchange.send(DATA[1_000_000:])

    https_server.on("/x.ckpt", meddling)
    with pytest.raises(HashError, match=card.checkpoint.sha256):
        fetch_from(card, https_server, force=True)
    assert cached.read_bytes() == DATA
    assert files_in(cache) == [FINAL]


def test_fault_68_partial_file_replaced_while_it_is_received(
    card: Card, cached: Path, cache: Path, https_server: Server, fetch_from: Fetch
) -> None:
    def replacing(exchange: Exchange) -> None:
        exchange.head(content_length=len(DATA))
        exchange.send(DATA[:1_000_000])
        wait_for(lambda: sum(partial_sizes(cache)) > 900_000)
        (partial,) = cache.rglob("*.part")
        (cache / "evil").write_bytes(b"evil")
        (cache / "evil").replace(partial)
        exchange.send(DATA[1_000_000:])

    https_server.on("/x.ckpt", replacing)
    with pytest.raises(CacheError, match="replaced the partial file"):
        fetch_from(card, https_server, force=True)
    assert cached.read_bytes() == DATA
    assert files_in(cache) == [FINAL]


@pytest.fixture
def orphan(card: Card, cache: Path) -> Path:
    """Where a killed download of the card would have left its bytes."""
    (cache / FINAL).parent.mkdir(parents=True)
    return Partial(cache / FINAL, card.checkpoint.sha256).path


def test_fault_69_partial_file_is_a_hard_link(
    card: Card, orphan: Path, cache: Path, https_server: Server, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(DATA[:1000][::-1])
    os.link(precious, orphan)
    assert fetch(card).read_bytes() == DATA
    assert https_server.requests[0].start == 0
    assert precious.read_bytes() == DATA[:1000][::-1]
    assert (cache / FINAL).stat().st_ino != precious.stat().st_ino


def test_fault_69_partial_file_of_another_user(card: Card, orphan: Path, cache: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    orphan.write_bytes(DATA)
    orphan.chmod(0o666)
    os.chown(orphan, 12345, 12345)
    path = fetch(card)
    assert path.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    assert orphan.exists()


def test_fault_69_partial_file_of_a_tebibyte(card: Card, orphan: Path, cache: Path, https_server: Server) -> None:
    with open(orphan, "wb") as file:
        file.truncate(1 << 40)
    assert fetch(card, timeout=20).read_bytes() == DATA
    assert https_server.requests[0].start == 0
    assert files_in(cache) == [FINAL]


def test_fault_70_no_thread_to_be_had(card: Card, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("osnet.hub.connection.threading.Timer.start", refuse)
    with pytest.raises(DownloadError, match="can't start new thread"):
        fetch(card)
    assert files_in(cache) == []


def test_fault_39_file_swapped_after_hashing(card: Card, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Swapping:
        """Whatever is hashed, the file on disk is another one from then on."""

        @staticmethod
        def sha256(*data: bytes) -> object:
            cached.write_bytes(b"evil")
            return hashlib.sha256(*data)

    monkeypatch.setattr("osnet.hub.cache.hashlib", Swapping)
    verified = fetch_verified(card, offline=True)
    assert cached.read_bytes() == b"evil"
    assert verified.data == DATA
    assert hashlib.sha256(verified.data).hexdigest() == verified.sha256 == card.checkpoint.sha256
    assert verified.path == cached
    assert verified.card is card


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:System time is way off")
@pytest.mark.parametrize("jump", ["to-the-future", "to-the-past", "to-and-fro"])
def test_fault_40_clock_jumps(jump: str, card: Card, https_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"to-the-future": [4e9], "to-the-past": [1.0], "to-and-fro": [4e9, 1.0]}[jump]
    clock = itertools.cycle(now)
    monkeypatch.setattr("time.time", lambda: next(clock))
    assert fetch(card, timeout=20).read_bytes() == DATA
    assert https_server.connections == 1
    https_server.on("/x.ckpt", drip(DATA, 0.1))
    with pytest.raises(DownloadError, match="not done in time"):
        fetch(card, timeout=1, force=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["python", "osnet"])
def test_fault_41_ctrl_c(command: str, card: Card, cache: Path, https_server: Server) -> None:
    https_server.on("/x.ckpt", pausing(DATA, 1_000_000, threading.Event()))
    process = start(FETCH, card.path) if command == "python" else run_module("-m", "osnet", "fetch", card.path)
    wait_for(lambda: process.poll() is not None or sum(partial_sizes(cache)) > 900_000)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == (-signal.SIGINT if command == "python" else 130), errors
    assert files_in(cache) == []
    https_server.on("/x.ckpt", ranged(DATA))
    assert fetch(card, timeout=5).read_bytes() == DATA


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o077, 0o600), (0o022, 0o644)])
def test_fault_42_umask(umask: int, mode: int, card: Card) -> None:
    before = os.umask(umask)
    try:
        path = fetch(card)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


NO_HOME = """
import os, pwd, sys
def nobody(_): raise KeyError
pwd.getpwuid = nobody
import osnet
try:
    osnet.fetch(sys.argv[1])
except osnet.errors.CacheError as error:
    print(error)
"""


def test_fault_43_no_home(card: Card) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("HOME", "OSNET_CACHE")}
    out, errors = finish(start(NO_HOME, card.path, env=surroundings))
    assert "HOME" in out
    assert "set OSNET_CACHE" in out
    assert errors == ""


def start_without_stderr(code: str, path: object) -> subprocess.Popen[str]:
    # By a shell: code that runs between fork and exec can end where other tests left threads behind.
    command = ["sh", "-c", 'exec "$0" -c "$1" "$2" 2>&-', sys.executable, code, str(path)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("progress", [None, True])
def test_fault_43_stderr_closed(progress: bool | None, card: Card, https_server: Server, cache: Path) -> None:

    def slow(exchange: Exchange) -> None:
        """Long enough for a progress bar."""
        exchange.head(content_length=len(DATA))
        for start_byte in range(0, len(DATA), 200_000):
            exchange.send(DATA[start_byte : start_byte + 200_000])
            time.sleep(0.15)

    https_server.on("/x.ckpt", slow)
    code = f"import sys, osnet; print(osnet.fetch(sys.argv[1], progress={progress}))"
    out, _ = finish(start_without_stderr(code, card.path))
    assert out.strip() == str(cache / FINAL)
    assert (cache / FINAL).read_bytes() == DATA
    https_server.replies.clear()
    code = f"import sys, osnet; osnet.fetch(sys.argv[1], progress={progress}, force=True)"
    process = start_without_stderr(code, card.path)
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_offline_never_opens_a_socket(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.__init__", refuse)
    with pytest.raises(OfflineError, match=r"x\.ckpt.*OSNET_OFFLINE.*SHA-256"):
        fetch_module.fetch(card, offline=True)

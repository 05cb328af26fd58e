"""A short run of the fuzzer, and proof that it sees faults."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from osnet import image_files
from osnet.errors import ImageError
from tests import fuzz_image_files


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files").mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(tmp_path / "files"))  # a fault leaves its file behind


@pytest.mark.slow
def test_a_short_run() -> None:
    figures = fuzz_image_files.run(count=1000, seconds=None, seed=0)
    assert figures["files"] == 1000
    assert figures["read"] > figures["files"] / 10
    assert figures["refused"] > figures["files"] / 2


def test_the_same_seed_gives_the_same_files() -> None:
    assert list(fuzz_image_files.mutated(50, 3)) == list(fuzz_image_files.mutated(50, 3))
    assert list(fuzz_image_files.mutated(50, 3)) != list(fuzz_image_files.mutated(50, 4))


def start_a_program() -> Image.Image:
    with contextlib.suppress(Exception):
        subprocess.run(["true"], check=True)
    return Image.new("RGB", (1, 1))


def refuse(text: str) -> Image.Image:
    raise ImageError(text)


def refuse_with_much_memory() -> Image.Image:
    return refuse(str(len(b"x" * (64 << 20))))


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (lambda: [][0], "IndexError"),
        (start_a_program, "_Started"),
        (lambda: Image.new("L", (1, 1)), "L from"),
        (lambda: Image.new("RGB", (2000, 2000)), "4,000,000 pixels"),
        (lambda: refuse("a\nb"), "for "),
        (refuse_with_much_memory, "bytes for"),
    ],
    ids=["crash", "program", "mode", "pixels", "message", "memory"],
)
def test_it_sees_faults(reader: Callable[[], Image.Image], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def faulty(_: object) -> Iterator[Image.Image]:
        yield reader()

    monkeypatch.setattr(fuzz_image_files, "decoded", faulty)
    monkeypatch.setattr(fuzz_image_files, "WARM_UP", 0)
    with pytest.raises(AssertionError, match=message):
        fuzz_image_files.run(count=10, seconds=None, seed=0)


def test_it_sees_a_tile_that_is_larger_than_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_TIFF_TILE_WIDTH", None)
    monkeypatch.setattr(fuzz_image_files, "seeds", lambda: [fuzz_image_files._huge_tile()])
    monkeypatch.setattr(fuzz_image_files, "WARM_UP", 0)
    with pytest.raises(AssertionError, match="bytes for"):
        fuzz_image_files.run(count=200, seconds=None, seed=0)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_image_files.main(["--count", "100", "--seed", "1"]) == 0
    assert "100 damaged image files" in capsys.readouterr().out

"""Which files are images, and decoding one that may be anything."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from osnet import image_files
from osnet.errors import ImageError
from osnet.image_files import FORMATS, IMAGE_SUFFIXES, Listing, decoded, find_images, list_images, unused

SUFFIX_OF = {
    "JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".gif", "PPM": ".ppm",
}  # fmt: skip
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 128\n%%EndComments\n"


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def image_bytes(kind: str, size: tuple[int, int] = (6, 9)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(content, kind)
    return content.getvalue()


def relative(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_folders_are_searched_to_the_bottom_in_order_and_the_rest_is_told(tmp_path: Path) -> None:
    write(tmp_path, "b/2.JPG", "b/1.png", "b/c/d/3.TIFF", "a.jpeg", "notes.txt", "b/x.heic")
    write(tmp_path, ".hidden.jpg", ".cache/1.jpg", "b/Thumbs.db", "b/.DS_Store", "desktop.ini")
    found = list_images(tmp_path)
    assert relative(found.images, tmp_path) == ["a.jpeg", "b/1.png", "b/2.JPG", "b/c/d/3.TIFF"]
    assert found.images == sorted(found.images)
    assert relative(found.others, tmp_path) == ["b/x.heic", "notes.txt"]
    assert find_images([tmp_path, tmp_path / "b"]) == found, "named twice, listed once"
    assert find_images([tmp_path / "notes.txt", tmp_path]) == Listing(
        [tmp_path / "notes.txt", *found.images], [tmp_path / "b/x.heic"]
    ), "a file that is named outright is an image"


def test_every_suffix_is_taken_in_either_case(tmp_path: Path) -> None:
    names = [f"{i}{suffix}" for i, suffix in enumerate((*IMAGE_SUFFIXES, *(s.upper() for s in IMAGE_SUFFIXES)))]
    assert relative(list_images(write(tmp_path, *names)).images, tmp_path) == sorted(names)


def test_linked_folders_are_followed_once_each(tmp_path: Path) -> None:
    write(tmp_path, "data/ann/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "data/ben").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/again").symlink_to(tmp_path / "data")
    (tmp_path / "data/self").symlink_to("self")
    (tmp_path / "data/gone.jpg").symlink_to("nowhere")
    found = list_images(tmp_path / "data")
    assert relative(found.images, tmp_path / "data") == ["ann/1.jpg", "ben/2.jpg", "gone.jpg"]
    assert relative(found.others, tmp_path / "data") == ["again", "self"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "open/1.jpg", "shut/2.jpg")
    scandir = os.scandir

    def refusing(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert relative(list_images(tmp_path).others, tmp_path) == ["shut"]
    with pytest.raises(ImageError, match=r"shut: the folder cannot be read \(Permission denied\)"):
        find_images([tmp_path / "shut"])


def test_what_find_images_refuses(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path, "film.mov")
    for path, reason in (("empty", "no images in this folder"), ("gone", "no such file"), ("film.mov", "video")):
        with pytest.raises(ImageError, match=reason):
            find_images([tmp_path / path])


def test_files_that_are_not_used_are_counted_and_the_first_named() -> None:
    assert unused([Path("a.heic")]).startswith("1 file is not used: a.heic; image files end in .bmp .gif")
    assert unused([Path(f"{i}.txt") for i in range(5)]).startswith(
        "5 files are not used: 0.txt, 1.txt, 2.txt and 2 more"
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded_whatever_the_file_is_called(kind: str, tmp_path: Path) -> None:
    for suffix in (SUFFIX_OF[kind], ".jpg"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(image_bytes(kind))
        with decoded(path) as image:
            assert (image.mode, image.size) == ("RGB", (6, 9))
            assert np.abs(np.asarray(image).astype(int) - (200, 100, 50)).max() <= 12


def test_an_eps_named_jpg_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object, **_: object) -> None:
        raise AssertionError(f"started {arguments}")

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, start)
    monkeypatch.setattr(os, "system", start)
    for body in (b"showpage\n%%EOF\n", b"{} loop\n%%EOF\n"):
        (tmp_path / "person.jpg").write_bytes(EPS + body)
        with pytest.raises(ImageError, match=r"person\.jpg: not an image format"), decoded(tmp_path / "person.jpg"):
            pass


def ico(png: bytes) -> bytes:
    """An icon whose directory says 16 x 16, whatever the PNG inside is."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "TGA", "PCX", "SGI", "DDS", "JPEG2000", "PDF", "EPS"])
def test_other_formats_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(ico(image_bytes("PNG", (64, 64))) if kind == "ICO" else image_bytes(kind, (16, 16)))
    with pytest.raises(ImageError, match=r"a\.jpg: not an image format that is known here; expected one of JPEG, PNG"):
        decoded(path).__enter__()


def test_a_tiff_does_not_hide_a_large_tile(tmp_path: Path) -> None:
    side = 1000
    data = zlib.compress(bytes(side * side * 3))
    tags = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 2), (277, 3), (322, side), (323, side), (324, 0)]
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = [(tag, start if tag == 324 else value) for tag, value in tags] + [(325, len(data))]
    ifd = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + ifd + bytes(4) + data)
    with pytest.raises(ImageError, match=r"a\.tif: a TIFF in tiles .* save it in strips"):
        decoded(tmp_path / "a.tif").__enter__()


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("x"),
        NotImplementedError(),
        RuntimeError("two\nlines"),
        RecursionError(),
        MemoryError(),
        KeyError(1),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("when", ["open", "load"])
def test_whatever_a_decoder_raises_is_one_error(
    error: Exception, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    (tmp_path / "a.jpg").write_bytes(image_bytes("JPEG"))
    monkeypatch.setattr(image_files, "agrees_with_pillow", lambda: False)
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, {"open": "_open", "load": "load"}[when], fail)
    with pytest.raises(ImageError, match=r"a\.jpg: (cannot be decoded \(|not an image)") as caught:
        decoded(tmp_path / "a.jpg").__enter__()
    assert "\n" not in str(caught.value)


def test_an_error_inside_the_block_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(image_bytes("JPEG"))
    with pytest.raises(AttributeError, match="mine"), decoded(tmp_path / "a.jpg"):
        raise AttributeError("mine")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_and_a_huge_file_are_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    with pytest.raises(ImageError, match=r"fifo\.jpg: it is a FIFO"):
        decoded(tmp_path / "fifo.jpg").__enter__()
    with open(tmp_path / "sparse.webp", "wb") as file:
        file.write(image_bytes("WEBP"))
        file.truncate(image_files.MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"sparse\.webp: the file has 400,000,001 bytes"):
        decoded(tmp_path / "sparse.webp").__enter__()


def test_all_threads_together_hold_no_more_pixels_than_one_image_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 100)
    held, most, lock = 0, 0, threading.Lock()

    def work(seed: int) -> None:
        nonlocal held, most
        for side in np.random.default_rng(seed).integers(1, 11, 40):
            with decoded(Image.new("RGB", (int(side), 10))) as image:
                with lock:
                    held += image.width * image.height
                    most = max(most, held)
                threading.Event().wait(0.0005)
                with lock:
                    held -= image.width * image.height

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert 50 < most <= 100


def resident() -> int:
    """Bytes of memory that the process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_threads_keep_no_memory_of_large_images(tmp_path: Path) -> None:
    pixels = 4400 * 4400
    Image.new("RGB", (4400, 4400)).save(tmp_path / "a.bmp")
    ready, over = threading.Barrier(5), threading.Event()

    def work() -> None:
        with decoded(tmp_path / "a.bmp"):
            pass
        ready.wait(60)
        over.wait(60)  # memory is kept for each thread that lives

    threads = [threading.Thread(target=work) for _ in range(4)]
    before = resident()
    for thread in threads:
        thread.start()
    ready.wait(60)
    kept = resident() - before
    over.set()
    for thread in threads:
        thread.join()
    assert kept < 2 * 4 * pixels, f"{kept:,} bytes"


def test_a_caller_cannot_raise_the_limit_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 100)
    with pytest.raises(ImageError, match="over 100 pixels"), decoded(Image.new("RGB", (20, 20)), max_pixels=1000):
        pass
    with pytest.raises(ImageError, match="over 50 pixels"), decoded(Image.new("RGB", (9, 9)), max_pixels=50):
        pass


def test_a_bad_image_gives_its_pixels_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 54)
    (tmp_path / "a.jpg").write_bytes(image_bytes("JPEG")[:-100])
    (tmp_path / "b.jpg").write_bytes(image_bytes("JPEG"))
    for _ in range(3):
        with pytest.raises(ImageError, match=r"a\.jpg: cannot be decoded"):
            decoded(tmp_path / "a.jpg").__enter__()
        assert image_files._budget._held == 0, "or the next line would wait for ever"
        with decoded(tmp_path / "b.jpg") as image:
            assert image.size == (6, 9)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_pixels_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 16)
    with decoded(Image.new("RGB", (4, 4))):
        child = os.fork()
        if child == 0:
            threading.Timer(10, os._exit, (1,)).start()
            with decoded(Image.new("RGB", (4, 4))):
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

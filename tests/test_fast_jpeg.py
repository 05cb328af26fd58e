"""JPEG files by simplejpeg: Pillow's pixels, or Pillow."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from osnet import fast_jpeg, image_files
from osnet.errors import ImageError
from osnet.fast_jpeg import agrees_with_pillow, plain_jpeg
from osnet.image_files import decoded
from tests.fuzz_image_files import mutated

FOUND_OUT = (agrees_with_pillow, fast_jpeg._simplejpeg)


@pytest.fixture(autouse=True)
def nothing_found_out() -> Iterator[None]:
    """What was found out about simplejpeg is forgotten before and after each test."""
    for cached in FOUND_OUT:
        cached.cache_clear()
    yield
    for cached in FOUND_OUT:
        cached.cache_clear()


def picture(width: int = 43, height: int = 61, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def stand_in(shift: int = 0) -> SimpleNamespace:
    """A simplejpeg that gives Pillow's pixels, plus `shift`."""
    return SimpleNamespace(decode_jpeg=lambda content, strict: by_pillow(content) + np.uint8(shift))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [10, 75, 100])
def test_the_pixels_are_pillows_at_every_size(subsampling: str, progressive: bool, quality: int) -> None:
    pytest.importorskip("simplejpeg")
    assert agrees_with_pillow()
    for seed in range(30):
        width, height = np.random.default_rng(seed).integers(1, 140, 2).tolist()
        content = jpeg(picture(width, height, seed), subsampling=subsampling, progressive=progressive, quality=quality)
        plain = plain_jpeg(content)
        assert plain is not None
        assert plain.size == (width, height)
        found = plain.decode()
        assert found is not None
        np.testing.assert_array_equal(np.asarray(found), by_pillow(content))


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}, "RGB"),
        ({"xmp": b'<x:xmpmeta tiff:Orientation="6"/>'}, "RGB"),
        ({"icc_profile": b"x" * 128}, "RGB"),
        ({}, "L"),
        ({}, "CMYK"),
        ({"keep_rgb": True}, "RGB"),
    ],
)
def test_what_is_not_plain_is_left_to_pillow(options: dict[str, object], mode: str) -> None:
    assert plain_jpeg(jpeg(picture().convert(mode), **options)) is None


def test_other_and_large_files_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpeg(picture())
    assert plain_jpeg(content)
    for start in range(content.index(b"\xff\xda")):
        assert not plain_jpeg(content[:start]), "cut before the first scan"
    assert not plain_jpeg(b"\x89PNG" + content)
    assert not plain_jpeg(content.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")), "12 bits"
    monkeypatch.setattr(fast_jpeg, "MAX_PIXELS", 43 * 61 - 1)
    assert not plain_jpeg(content)


def test_a_simplejpeg_with_other_pixels_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    for shift, used in ((0, True), (1, False)):
        agrees_with_pillow.cache_clear()
        monkeypatch.setattr(fast_jpeg, "_simplejpeg", lambda shift=shift: stand_in(shift))
        assert agrees_with_pillow() is used
        with image_files._opened(tmp_path / "a.jpg") as opened:
            assert isinstance(opened, fast_jpeg.PlainJpeg) is used
        with decoded(tmp_path / "a.jpg") as image:
            np.testing.assert_array_equal(np.asarray(image), by_pillow(jpeg(picture())))


def test_without_simplejpeg_pillow_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert not agrees_with_pillow()
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    with decoded(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(np.asarray(image), by_pillow(jpeg(picture())))


def test_damaged_files_end_as_with_pillow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    assert agrees_with_pillow()
    taken = 0

    def outcome(path: Path) -> np.ndarray | str:
        try:
            with decoded(path) as image:
                return np.asarray(image)
        except ImageError as error:
            return str(error)

    for seed in range(3):
        for _, content in mutated(4000, seed):
            plain = plain_jpeg(content)
            if plain is None:
                continue
            path = tmp_path / "a.jpg"
            path.write_bytes(content)
            taken += plain.decode() is not None
            found = outcome(path)
            with monkeypatch.context() as alone:
                alone.setattr(image_files, "agrees_with_pillow", lambda: False)
                expected = outcome(path)
            np.testing.assert_array_equal(found, expected)
    assert taken > 20

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from osnet.errors import ImageError, OptionError
from osnet.image_files import MAX_PIXELS
from osnet.inference.images import crop_boxes, load_image, prepare
from tests.data_sets import huge_png


def picture(height: int = 40, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def closed_image() -> Image.Image:
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


def test_a_file_an_image_and_an_array_of_one_picture_are_equal(tmp_path: Path) -> None:
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(pixels).resize((128, 256), Image.Resampling.BILINEAR))
    for given_as in (pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(prepare(given_as), expected)
    np.testing.assert_array_equal(prepare(pixels[:, :, ::-1], color="bgr"), expected)
    assert np.any(prepare(pixels, color="bgr") != expected)


def test_colour_order_is_of_arrays_only(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(prepare(tmp_path / "a.png", color="bgr"), prepare(tmp_path / "a.png"))


def test_every_mode_becomes_the_rgb_that_it_shows(tmp_path: Path) -> None:
    pixels = picture()
    image = Image.fromarray(pixels)
    grey = np.asarray(image.convert("L"))
    stacked = np.stack([grey] * 3, axis=2)
    sixteen = grey.astype(np.uint16) * 257

    def reread(image: Image.Image, name: str, **options: object) -> np.ndarray:
        image.save(tmp_path / name, **options)
        return np.asarray(load_image(tmp_path / name))

    np.testing.assert_array_equal(reread(image.convert("L"), "l.png"), stacked)
    np.testing.assert_array_equal(reread(Image.fromarray(sixteen), "l16.png"), stacked)
    np.testing.assert_array_equal(reread(Image.fromarray(sixteen), "l16.tif"), stacked)
    np.testing.assert_array_equal(np.asarray(load_image(sixteen)), stacked)
    np.testing.assert_array_equal(np.asarray(load_image(grey)), stacked)
    np.testing.assert_array_equal(np.asarray(load_image(grey[:, :, None])), stacked)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(grey))
    np.testing.assert_array_equal(reread(alpha, "rgba.png"), pixels)
    np.testing.assert_array_equal(np.asarray(load_image(np.asarray(alpha))), pixels)
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(reread(palette, "p.png"), np.asarray(palette.convert("RGB")))
    shown = reread(palette, "p.gif", transparency=0)
    np.testing.assert_array_equal(shown, np.asarray(palette.convert("RGB")))
    assert load_image(image.convert("CMYK")).mode == "RGB"
    assert load_image(image.convert("1")).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    upright = Image.fromarray(picture())
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "a.png")), np.asarray(upright))
    with Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(np.asarray(load_image(opened)), np.asarray(upright))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_and_hostile_files_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(200, 100)).save(buffer, "JPEG")
    side = int(MAX_PIXELS**0.5) + 1
    cases = {
        "truncated.jpg": (buffer.getvalue()[:-400], "cannot be decoded"),
        "bomb.png": (huge_png(50_000, 50_000), "pixels, refused"),
        "large.png": (huge_png(side, side), "refused before decoding"),
        "text.jpg": (b"hello there", "not an image format"),
        "empty.jpg": (b"", "the file is empty"),
        "film.mp4": (b"\0\0\0\x18ftypmp42", "this is a video"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=reason) as caught:
            prepare(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        prepare(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        prepare(tmp_path)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 3), np.float32), "expected a uint8 array"),
        (np.zeros((3, 40, 20), np.uint8), "transpose it"),
        (np.zeros((40, 20, 5), np.uint8), r"got uint8 \(40, 20, 5\)"),
        (np.zeros((0, 20, 3), np.uint8), "no pixels"),
        (np.zeros(5, np.uint8), r"\(H, W\)"),
        (None, "NoneType"),
        (np.full((4, 4, 3), 200, np.uint16), "values up to 200: 8 bits"),
        (closed_image(), "closed image"),
        (Image.new("F", (4, 4)), "floating-point"),
        (Image.new("I", (4, 4), 70_000), "32-bit"),
    ],
)
def test_what_is_no_picture_is_refused(array: object, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        prepare(array)  # type: ignore[arg-type]


def test_an_unknown_colour_order_is_refused() -> None:
    with pytest.raises(OptionError, match="'rgb' or 'bgr'"):
        prepare(picture(), color="gbr")


@given(
    st.lists(
        st.tuples(st.floats(-30, 50), st.floats(-30, 70), st.floats(-30, 50), st.floats(-30, 70)),
        min_size=1,
        max_size=4,
    )
)
def test_boxes_are_cut_to_the_frame_or_refused_together(boxes: list[tuple[float, float, float, float]]) -> None:
    frame = picture(40, 20)
    expected, bad = [], []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        rows = [r for r in range(40) if int(y1) <= r < int(y2)]
        columns = [c for c in range(20) if int(x1) <= c < int(x2)]
        if rows and columns:
            expected.append(frame[np.ix_(rows, columns)])
        else:
            bad.append(i)
    if bad:
        with pytest.raises(ImageError, match=f"{len(bad)} of {len(boxes)} boxes.*box {bad[0]}:"):
            crop_boxes(frame, boxes)
        return
    for found, wanted in zip(crop_boxes(frame, boxes), expected):
        np.testing.assert_array_equal(found, wanted)


def test_boxes_that_make_no_sense_are_refused() -> None:
    frame = picture()
    assert crop_boxes(frame, []) == []
    assert crop_boxes(frame, np.empty((0, 4))) == []
    with pytest.raises(ImageError, match="1 of 1 boxes"):
        crop_boxes(frame, [[0, 0, float("nan"), 5]])
    with pytest.raises(ImageError, match=r"shape \(N, 4\)"):
        crop_boxes(frame, [[0, 0, 5]])
    for bad in ("abc", [[0, 0, 1], [0, 0, 1, 2]]):
        with pytest.raises(ImageError, match="boxes: expected numbers"):
            crop_boxes(frame, bad)
    with pytest.raises(ImageError, match="one frame"):
        crop_boxes(frame[None], [[0, 0, 5, 5]])

"""The programs that exported files are for: what each feeds to a re-identification network, and which file it expects.

Read from their sources; `tests/exporting/interop.py` compares them with the programs themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import numpy as np
from PIL import Image

from osnet.checks import check_choice
from osnet.exporting import beside
from osnet.models.input_format import InputFormat
from osnet.variants import INPUT_HEIGHT, INPUT_WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

Resize = Callable[["NDArray[np.uint8]", "tuple[int, int]"], "NDArray[np.float32]"]
Sides = tuple[Optional[int], Optional[int]]
"""Height and width as a file states them; None where it takes any."""


@dataclass(frozen=True)
class Consumer:
    """A program that runs re-identification networks of other people.

    Attributes:
        name: as the command line has it.
        title: the program and the version whose source was read.
        suffixes: of the files that it takes; the first is the usual one.
        values, layout: what it feeds, see `InputFormat`.
        batch: images it feeds at once; None for any number.
        resize: how it brings a crop, uint8 (h, w, 3) RGB, to (height, width): float32 (height, width, 3) in 0..255.
        size: height and width that it resizes to, from the path of the file and the sides that the file states.
        beside: text of the files that it looks for beside the exported one, by path.
        fills_batch: suffixes of the files for which it fills up a fixed batch when it has fewer crops.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    values: str
    layout: str
    batch: int | None
    resize: Resize
    size: Callable[[Path, Sides], tuple[int, int]]
    beside: Callable[[Path, InputFormat], dict[Path, str]] = beside.nothing
    fills_batch: tuple[str, ...] = (".onnx", ".xml", ".mindir")

    def feed(
        self, crop: NDArray[np.uint8], size: tuple[int, int], values: str | None = None
    ) -> NDArray[np.float32 | np.uint8]:
        """`crop` as the program feeds it, or would if it fed `values`: a batch of one."""
        resized = self.resize(crop, size)
        if self.layout == "nhwc":
            return np.clip(np.rint(resized), 0, 255).astype(np.uint8)[None]
        values = values or self.values
        x = resized if values == "bytes" else resized / np.float32(255)
        if values == "normalized":
            constants = InputFormat("unit").shift_and_scale()
            if constants is not None:
                x = (x - constants[0]) * constants[1]
        return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)


def antialiased(crop: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Pillow's bilinear filter, as torchreid and this package resize."""
    height, width = size
    return np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def bilinear(crop: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Between the four nearest pixels, centres aligned, without antialiasing: torch's interpolate in float32."""
    above, below, down = _taps(crop.shape[0], size[0])
    left, right, across = _taps(crop.shape[1], size[1])
    x = crop.astype(np.float32)
    x = x[above] + (x[below] - x[above]) * down[:, None, None]
    wide: NDArray[np.float32] = x[:, left] + (x[:, right] - x[:, left]) * across[None, :, None]
    return wide


def bilinear_bytes(crop: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """`bilinear`, rounded: cv2's INTER_LINEAR of 8 bits, but for a difference of 1 here and there."""
    return np.rint(bilinear(crop, size))


def _taps(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `new` places: the two of `old` beside it, and the weight of the second."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, old - 1), (place - low).astype(np.float32)


def _stated(_path: Path, sides: Sides) -> tuple[int, int]:
    """What the file states; the usual size where it takes any."""
    return sides[0] or INPUT_HEIGHT, sides[1] or INPUT_WIDTH


def _size_in_boxmot(path: Path, sides: Sides) -> tuple[int, int]:
    """In ONNX the file's own; else what stands in the file beside it, or follows from the name."""
    try:
        about = json.loads(beside.boxmot_metadata(path).read_text(encoding="utf-8"))
        height, width = map(int, about["model_kwargs"]["img_size"])
    except (OSError, ValueError, KeyError, TypeError):
        of_vehicles = "veri" in path.name or "vehicleid" in path.name
        height, width = (256, 256) if of_vehicles else (INPUT_HEIGHT, INPUT_WIDTH)
    return (sides[0] or height, sides[1] or width) if path.suffix.lower() == ".onnx" else (height, width)


def _size_in_ultralytics(path: Path, sides: Sides) -> tuple[int, int]:
    """In ONNX the file's own; else 224 x 224."""
    height, width = sides if path.suffix.lower() == ".onnx" else (None, None)
    height = height or 224
    return height, width or height


CONSUMERS: dict[str, Consumer] = {
    consumer.name: consumer
    for consumer in (
        Consumer(
            name="boxmot",
            title="BoxMOT 25.0.0",
            suffixes=(".onnx", ".xml"),
            values="normalized",
            layout="nchw",
            batch=None,
            resize=bilinear_bytes,
            size=_size_in_boxmot,
            beside=beside.boxmot,
            fills_batch=(".onnx",),
        ),
        Consumer(
            name="ultralytics",
            title="Ultralytics 8.4.190",
            suffixes=(".onnx",),
            values="unit",
            layout="nchw",
            batch=None,
            resize=bilinear,
            size=_size_in_ultralytics,
            beside=beside.ultralytics,
            fills_batch=(),
        ),
        Consumer(
            name="deepstream",
            title="DeepStream",
            suffixes=(".onnx",),
            values="bytes",
            layout="nchw",
            batch=None,
            resize=bilinear_bytes,
            size=_stated,
            beside=beside.deepstream,
        ),
        Consumer(
            name="triton",
            title="Triton",
            suffixes=(".onnx", ".xml"),
            values="bytes",
            layout="nhwc",
            batch=None,
            resize=antialiased,
            size=_stated,
            beside=beside.triton,
        ),
        Consumer(
            name="openvino",
            title="OpenVINO",
            suffixes=(".xml", ".onnx"),
            values="bytes",
            layout="nhwc",
            batch=None,
            resize=antialiased,
            size=_stated,
        ),
        Consumer(
            name="mindspore-lite",
            title="MindSpore Lite",
            suffixes=(".mindir", ".onnx"),
            values="normalized",
            layout="nchw",
            batch=1,
            resize=antialiased,
            size=_stated,
        ),
    )
}


def get_consumer(name: str) -> Consumer:
    """The consumer called `name`.

    Raises:
        OptionError: no such consumer; the message lists the known ones.
    """
    return CONSUMERS[check_choice("consumer", name, CONSUMERS)]

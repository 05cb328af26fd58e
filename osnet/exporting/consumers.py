"""The programs that exported files are for: what each feeds to a re-identification network, and which file it expects.

Read from their sources; `tests/exporting/interop.py` compares them with the programs themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from osnet.checks import check_choice
from osnet.models.input_format import InputFormat

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Resize = Callable[["NDArray[np.uint8]", "tuple[int, int]"], "NDArray[np.float32]"]


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
        default_size: the size that it takes where it cannot read one from the file; None where it always can.
        beside: text of the files that it wants beside the exported one, by name.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    values: str
    layout: str
    batch: int | None
    resize: Resize
    default_size: tuple[int, int] | None
    beside: Callable[[Path, InputFormat], dict[str, str]]

    def feed(self, crop: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32 | np.uint8]:
        """`crop` as the program feeds it: a batch of one."""
        resized = self.resize(crop, size)
        if self.layout == "nhwc":
            return np.clip(np.rint(resized), 0, 255).astype(np.uint8)[None]
        x = resized if self.values == "bytes" else resized / np.float32(255)
        if self.values == "normalized":
            constants = InputFormat("unit").shift_and_scale()
            if constants is not None:
                x = (x - constants[0]) * constants[1]
        return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)


def antialiased(crop: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Pillow's bilinear filter, as torchreid and this package resize."""
    height, width = size
    return np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def bilinear(crop: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Between the four nearest pixels, centres aligned, without antialiasing: cv2's INTER_LINEAR, torch's bilinear."""
    above, below, down = _taps(crop.shape[0], size[0])
    left, right, across = _taps(crop.shape[1], size[1])
    x = crop.astype(np.float32)
    x = x[above] + (x[below] - x[above]) * down[:, None, None]
    wide: NDArray[np.float32] = x[:, left] + (x[:, right] - x[:, left]) * across[None, :, None]
    return wide


def _taps(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `new` places: the two of `old` beside it, and the weight of the second."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, old - 1), (place - low).astype(np.float32)


def _nothing(_path: Path, _input: InputFormat) -> dict[str, str]:
    return {}


CONSUMERS: dict[str, Consumer] = {
    consumer.name: consumer
    for consumer in (
        Consumer("boxmot", "BoxMOT 25", (".onnx", ".xml"), "normalized", "nchw", None, bilinear, None, _nothing),
        Consumer("ultralytics", "Ultralytics 8.4", (".onnx",), "unit", "nchw", None, bilinear, (224, 224), _nothing),
        Consumer("deepstream", "DeepStream 7", (".onnx",), "bytes", "nchw", None, bilinear, None, _nothing),
        Consumer("triton", "Triton", (".onnx", ".xml"), "bytes", "nhwc", None, antialiased, None, _nothing),
        Consumer("openvino", "OpenVINO", (".xml", ".onnx"), "bytes", "nhwc", None, antialiased, None, _nothing),
        Consumer(
            "mindspore-lite",
            "MindSpore Lite",
            (".mindir", ".onnx"),
            "normalized",
            "nchw",
            1,
            antialiased,
            None,
            _nothing,
        ),
    )
}


def get_consumer(name: str) -> Consumer:
    """The consumer called `name`.

    Raises:
        OptionError: no such consumer; the message lists the known ones.
    """
    return CONSUMERS[check_choice("consumer", name, CONSUMERS)]

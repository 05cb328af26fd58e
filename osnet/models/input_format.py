"""What the input of a graph looks like: size, batch, layout and range of values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.checks import check_bool, check_choice, check_integer
from osnet.errors import OptionError
from osnet.variants import IMAGE_MEAN, IMAGE_STD, INPUT_HEIGHT, INPUT_WIDTH, check_size, parse_size, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

VALUES = ("normalized", "unit", "bytes")
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class InputFormat:
    """The input of a graph: RGB, one tensor for a batch of crops.

    Attributes:
        values: ``normalized``: (x / 255 - mean) / std with ImageNet's mean and standard deviation, as torchreid feeds
            it; ``unit``: x / 255, in 0..1; ``bytes``: x, in 0..255.
        layout: ``nchw``, float32 (B, 3, H, W); or ``nhwc``, uint8 (B, H, W, 3), for bytes only.
        size: height and width in pixels; the size that is resized to where `any_size` is set.
        batch: B; None for any number.
        any_size: the graph takes images of any size and resizes them itself; for ``nhwc`` only.
        name: of the input tensor.

    Raises:
        OptionError: values that do not exist, or not together.
    """

    values: str = "normalized"
    layout: str = "nchw"
    size: tuple[int, int] = (INPUT_HEIGHT, INPUT_WIDTH)
    batch: int | None = None
    any_size: bool = False
    name: str = "images"

    def __post_init__(self) -> None:
        check_choice("input", self.values, VALUES)
        check_choice("layout", self.layout, LAYOUTS)
        check_size(self.size)
        if self.batch is not None:
            check_integer("batch", self.batch, least=1)
        check_bool("any_size", self.any_size)
        if self.layout == "nhwc" and self.values != "bytes":
            raise OptionError(f"layout 'nhwc' holds uint8: expected input 'bytes', got {self.values!r}")
        if self.any_size and self.layout != "nhwc":
            raise OptionError("any_size needs layout 'nhwc' and input 'bytes': the graph resizes uint8 images")

    @property
    def dtype(self) -> type[np.generic]:
        return np.uint8 if self.layout == "nhwc" else np.float32

    @property
    def shape(self) -> tuple[int | None, ...]:
        """None where the graph takes any length."""
        height, width = (None, None) if self.any_size else self.size
        return (self.batch, height, width, 3) if self.layout == "nhwc" else (self.batch, 3, height, width)

    def shift_and_scale(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """``(x - shift) * scale`` for each channel (3,) is what the network takes; None where x is that already."""
        return None if self.values == "normalized" else _normalisation(255 if self.values == "bytes" else 1)

    def feed(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """Decoded crops, uint8 (B, H, W, 3) in RGB, as this input takes them."""
        if self.layout == "nhwc":
            return np.ascontiguousarray(crops)
        if self.values == "normalized":
            shift, scale = _normalisation(255)
            x = (crops - shift) * scale
        else:
            x = crops.astype(np.float32) / np.float32(255 if self.values == "unit" else 1)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def to_dict(self) -> dict[str, str]:
        """As an exported file holds it; its batch and the name of its input stand in the graph itself."""
        return {
            "input": self.values,
            "layout": self.layout,
            "size": size_text(self.size),
            "any_size": str(self.any_size).lower(),
            "color": "rgb",
        }

    @classmethod
    def from_dict(cls, texts: Mapping[str, str], *, batch: int | None, name: str) -> InputFormat:
        """The format that `to_dict` wrote.

        Raises:
            KeyError, OptionError: something is missing, or makes no sense.
        """
        return cls(
            values=texts["input"],
            layout=texts["layout"],
            size=parse_size(texts["size"]),
            batch=batch,
            any_size=texts.get("any_size") == "true",
            name=name,
        )

    def with_batch(self, batch: int | None) -> InputFormat:
        return replace(self, batch=batch)


def fill(crops: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`crops` with black ones added, so that there are `count`."""
    if len(crops) >= count:
        return crops
    return np.concatenate([crops, np.zeros((count - len(crops), *crops.shape[1:]), crops.dtype)])


def _normalisation(top: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift and scale (3,) of values in 0..`top`."""
    mean, std = np.asarray(IMAGE_MEAN), np.asarray(IMAGE_STD)
    return (top * mean).astype(np.float32), (1 / (top * std)).astype(np.float32)

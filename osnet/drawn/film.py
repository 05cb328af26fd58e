"""Frames as an MP4 file, encoded by PyAV."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from osnet.errors import DependencyError, OptionError


def check_mp4(width: int, height: int) -> None:
    """Check that frames of this size can be encoded.

    Raises:
        DependencyError: PyAV is missing.
        OptionError: a side is an odd number of pixels, which the encoder cannot halve for its colours.
    """
    try:
        importlib.import_module("av")
    except ImportError as error:
        raise DependencyError(
            f'mp4=True needs PyAV, which cannot be imported ({error}): pip install "osnet[video]"'
        ) from None
    if width % 2 or height % 2:
        raise OptionError(f"mp4=True: expected an even width and height, found {width}x{height}")


class Film:
    """An MP4 file (H.264) that is being written; the same frames give the same bytes with the same PyAV.

    Args:
        path: of the file.
        fps: frames per second.
        width, height: of every frame, as `check_mp4` takes them.
    """

    def __init__(self, path: Path, fps: int, width: int, height: int) -> None:
        self._av: Any = importlib.import_module("av")
        self._container: Any = self._av.open(str(path), "w", options={"fflags": "+bitexact"})
        # With more threads the bytes depend on the machine, and without `cpu-independent` even on the run.
        options = {"crf": "20", "threads": "1", "x264-params": "cpu-independent=1"}
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"

    def __enter__(self) -> Film:
        return self

    def add(self, image: Image.Image) -> None:
        """Append a frame."""
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_image(image)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

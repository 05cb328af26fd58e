"""Video files: the frames of one, by number, decoded by PyAV.

Frame n is the n-th that a player shows, the first is 1, as detectors and trackers count. A frame has the same pixels
whether the video was read from its start or a part of it was skipped.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import numpy as np

from osnet.errors import DependencyError, ImageError
from osnet.files import open_regular
from osnet.image_files import MAX_PIXELS, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv"
_WITH_TIMES = {"mp4", "matroska", "flv"}
"""Formats that say when each frame is shown."""

_COMPARED = 8
"""Frames at the start whose times must be those of the packets, before frames are looked up by time."""


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return name.lower().endswith(VIDEO_SUFFIXES)


class _Index(NamedTuple):
    """Times of all frames and of the key frames, in order, in the video's own unit."""

    times: list[int]
    keys: list[int]


class _DamageError(Exception):
    """A packet cannot be decoded."""


class Video:
    """The frames of a video file; for one thread at a time.

    Reading forward decodes each frame once. A frame further ahead, or back, is reached from a key frame before it where
    the file says when each frame is shown, else by decoding from the start.

    Args:
        path: of the file.

    Attributes:
        path: as given.
        frames: number of frames; None where it is not known before all are decoded.
        pixels: of a frame.

    Raises:
        ImageError: the file cannot be read as a video.
        DependencyError: PyAV is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._av: Any = importlib.import_module("av")
        except ImportError as error:
            raise DependencyError(
                f'{path}: video files need PyAV, which cannot be imported ({error}): pip install "osnet[video]"'
            ) from None
        self.path = path
        self._container: Any = None
        self._file: BufferedReader | None = None
        self._index: _Index | None = None
        self._at: tuple[int, Any] | None = None
        self._end: int | None = None
        self._careful = False  # after an error: threads that decode ahead lose good frames with the bad one
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        stream = self._open()
        self.pixels = stream.codec_context.width * stream.codec_context.height
        if not 0 < self.pixels <= MAX_PIXELS:
            self._refuse(f"frames of {self.pixels:,} pixels; expected 1 to {MAX_PIXELS:,}")
        found = self._read_index(stream)
        self._decoded = self._numbered_by_count()
        try:
            first = list(islice(self._decoded, _COMPARED))
        except _DamageError:
            self._careful = True
            first = list(islice(self._numbered_by_count(), _COMPARED))
        if not first:
            self._refuse("no frame can be decoded")
        if found and [frame.pts for _, frame in first] == found.times[: len(first)]:
            self._index = found
        self.frames = len(self._index.times) if self._index else None
        self._from_start()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Frame `number`, at least 1: uint8 (H, W, 3), RGB, upright.

        Raises:
            ImageError: there is no such frame, or it is damaged.
        """
        last = self.frames if self._end is None else self._end
        if last is not None and number > last:
            raise ImageError(f"{self.path}: no frame {number}, the video ends after frame {last}")
        try:
            found, frame = self._decode_to(number)
        except _DamageError:
            self._at, self._careful = None, True
            found, frame = self._decode_to(number)
        if found != number or frame.is_corrupt:
            raise ImageError(f"{self.path}: frame {number} is damaged; replace the file or leave the frame out")
        pixels = frame.to_ndarray(format="rgb24")
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else cast(Any, pixels)

    def _decode_to(self, number: int) -> tuple[int, Any]:
        """The frame `number`, or the first one after it."""
        if self._at is None or number < self._at[0] or self._can_skip(number):
            self._go_to(number)
        while self._at is None or self._at[0] < number:
            following = next(self._decoded, None)
            if following is None:
                self._end = self._at[0] if self._at else 0
                raise ImageError(f"{self.path}: no frame {number}, the video ends after frame {self._end}")
            self._at = following
        return self._at

    def _open(self) -> Any:
        self.close()
        try:
            self._file = BufferedReader(cast(Any, open_regular(self.path)))
        except OSError as error:
            self._refuse(error.strerror or str(error))
        try:
            # only these formats, and no other file: a playlist would name files and addresses
            options = {"format_whitelist": _FORMATS}
            self._container = self._av.open(self._file, options=options, io_open=_no_other_file)
            stream = self._container.streams.video[0]
            stream.thread_type = "NONE" if self._careful else "AUTO"
        except IndexError:
            self._refuse("no video in this file")
        except Exception as error:  # noqa: BLE001 - FFmpeg's errors are of many types
            self._refuse(str(error))
        return stream

    def _refuse(self, reason: str) -> NoReturn:
        raise ImageError(f"{self.path}: cannot be read as a video ({' '.join(reason.split()):.200})")

    def _read_index(self, stream: Any) -> _Index | None:
        """When the frames are shown; None where the file does not say it of each. Nothing is decoded."""
        if not set(self._container.format.name.split(",")) & _WITH_TIMES:
            return None
        times, keys = [], []
        try:
            for packet in self._container.demux(stream):
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    return None
                times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except self._av.FFmpegError:
            pass  # a file that was cut: these are the frames that are left
        return _Index(sorted(times), sorted(keys)) if len(set(times)) == len(times) else None

    def _from_start(self) -> None:
        self._at = None
        index = self._index
        self._decoded = self._numbered(self._frames(self._open(), None), index) if index else self._numbered_by_count()

    def _numbered_by_count(self) -> Iterator[tuple[int, Any]]:
        return enumerate(self._frames(self._open(), None), 1)

    def _numbered(self, frames: Iterator[Any], index: _Index) -> Iterator[tuple[int, Any]]:
        times = index.times
        for frame in frames:
            place = bisect_left(times, frame.pts) if frame.pts is not None else len(times)
            if place < len(times) and times[place] == frame.pts:
                yield place + 1, frame

    def _key_before(self, number: int) -> int | None:
        """The key frame to begin at: one more before the last, since some encoders renew a picture bit by bit."""
        if not self._index:
            return None
        place = bisect_right(self._index.keys, self._index.times[number - 1]) - 2
        return self._index.keys[place] if place > 0 else None

    def _can_skip(self, number: int) -> bool:
        key = self._key_before(number)
        return bool(key is not None and self._index and self._at and key > self._index.times[self._at[0] - 1])

    def _go_to(self, number: int) -> None:
        """Set `_decoded` to begin at `number` or before."""
        index, key = self._index, self._key_before(number)
        if index and key is not None:
            stream = self._open()
            try:
                self._container.seek(key, stream=stream)
                self._decoded = self._numbered(self._frames(stream, key), index)
                self._at = next(self._decoded, None)
            except self._av.FFmpegError:
                self._at = None
            if self._at and self._at[0] <= number:
                return
        self._from_start()

    def _frames(self, stream: Any, key: int | None) -> Iterator[Any]:
        """All frames from the present place on; with `key`, from the first key frame, which must not be after `key`.

        After a packet that cannot be decoded, the frames up to the next key frame are left out, for they were made
        from it. Where frames are counted, it is the end: what follows could not be numbered.
        """
        begin = gap_start = gap_end = None
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._av.FFmpegError):
                break
            if key is not None and begin is None:
                if not packet.is_keyframe:
                    continue
                begin = packet.pts
                if begin is None or begin > key:
                    return
            if gap_start is not None and gap_end is None and packet.size:
                if not packet.is_keyframe:
                    continue
                gap_end = packet.pts
            try:
                decoded = packet.decode()
            except self._av.FFmpegError:
                if not self._careful:
                    raise _DamageError from None
                if not self._index:
                    return
                gap_start, gap_end = packet.pts, None
                continue
            for frame in decoded:
                early = begin is not None and (frame.pts is None or frame.pts < begin)
                lost = gap_start is not None and gap_end is not None and gap_start <= (frame.pts or 0) < gap_end
                if not early and not lost:
                    yield frame


def _no_other_file(url: str, *_: Any) -> NoReturn:
    raise PermissionError(f"a video file that names another file is not read: {url}")

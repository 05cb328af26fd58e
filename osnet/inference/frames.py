"""The boxes of a video, or of a folder of frames, as a stream of tables of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from osnet.data.mot import Boxes, read_boxes, read_sequence
from osnet.errors import DataError, ImageError, OptionError
from osnet.escaping import text_of_name
from osnet.inference.sources import Source
from osnet.inference.tables import BOX, FILE, OFFSET, place_fields
from osnet.video_files import Video, is_video_name

if TYPE_CHECKING:
    import pyarrow as pa

FRAME, PERSON = "frame", "person"

_AT_ONCE = 4096


class FrameSource(Source):
    """The boxes in the frames of one video.

    A row has ``file`` (the image of the frame, or the video file), ``frame``, ``person`` (the id; null where unknown),
    the box, ``confidence``, ``class`` and ``visibility`` (null where the box file has none). Rows are sorted by frame.

    Args:
        inputs: a video file, or a folder as `osnet.data.mot.read_sequence` takes it; one.
        boxes: file of its boxes, as `osnet.data.mot.read_boxes` takes it, or what it gives.

    Raises:
        OptionError: several inputs, or one that is neither.
        ImageError: it does not exist or cannot be read.
        DataError: the box file cannot be used, or has frames that the video does not have.
    """

    def __init__(self, inputs: list[Path], boxes: Path | Boxes) -> None:
        import pyarrow as pa

        if len(inputs) != 1:
            raise OptionError(f"--boxes belong to one video or folder of frames, got {len(inputs)} inputs")
        path = Path(inputs[0])
        if not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        if not path.is_dir() and not is_video_name(path.name):
            raise OptionError(f"--boxes go with a video or a folder of frames, and {path} is neither")
        self.ignored, self.examples = 0, []
        self.has_boxes = True
        columns = [
            (FILE, pa.string()), (FRAME, pa.int64()), (PERSON, pa.int64()), *((name, pa.float64()) for name in BOX),
            ("confidence", pa.float64()), ("class", pa.int64()), ("visibility", pa.float64()),
        ]  # fmt: skip
        self.schema = pa.schema([*columns, *place_fields()])
        self._boxes = boxes if isinstance(boxes, Boxes) else read_boxes(boxes)
        if path.is_dir():
            self._files = {number: str(image) for number, image in read_sequence(path).frames.items()}
            last: int | None = max(self._files)
        else:
            self._files, self._film = {}, str(path)
            self.video = Video(path)
            last = self.video.frames
        asked = int(self._boxes.frames[-1])
        if last is not None and asked > last:
            self.close()
            name = "the box file" if isinstance(boxes, Boxes) else str(boxes)
            raise DataError(
                f"{name}: has boxes of frame {asked}, but {path} ends after frame {last}: it was cut, or the boxes are "
                "of another video"
            )

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows in order, some thousands at a time, each table with the columns of `schema`."""
        for start in range(0, len(self._boxes.frames), _AT_ONCE):
            yield self._table(self._boxes.of(slice(start, start + _AT_ONCE)))

    def _table(self, boxes: Boxes) -> pa.Table:
        import pyarrow as pa

        numbers = boxes.frames.tolist()
        if self.video:
            names, places = [self._film] * len(numbers), numbers
        else:
            names, places = [self._file(number) for number in numbers], [None] * len(numbers)
        columns = {
            FILE: list(map(text_of_name, names)), FRAME: numbers, OFFSET: places,
            PERSON: pa.array(boxes.ids, mask=boxes.ids < 0), **dict(zip(BOX, boxes.corners.T)),
            "confidence": pa.array(boxes.confidence, from_pandas=True),
            "class": pa.array(boxes.classes, mask=boxes.classes < 0),
            "visibility": pa.array(boxes.visibility, from_pandas=True),
        }  # fmt: skip
        return self._aligned(pa.table(columns))

    def _file(self, number: int) -> str:
        """The image of a frame; where it is missing, the name that it would have."""
        if number in self._files:
            return self._files[number]
        near = Path(next(iter(self._files.values())))
        return str(near.with_name(f"{number:06}{near.suffix}"))

    def close(self) -> None:
        """Close the video."""
        if self.video:
            self.video.close()

"""The pictures of records for a page: an image, its box, or a box in a frame of a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osnet.errors import DependencyError, ImageError
from osnet.image_files import decoded
from osnet.inference.images import cut_boxes
from osnet.video_files import Video, is_video_name

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from osnet.data.records import Record

_WIDTH, _HEIGHT = 116, 248


class Pictures:
    """Gives the picture of a record, as long as it is open.

    Args:
        may_be_missing: a picture that cannot be read is None instead of an error.

    Attributes:
        shown, missing: how many could be read, and how many could not.
        reason: why the first could not; None where all could.
    """

    def __init__(self, *, may_be_missing: bool) -> None:
        self._may_be_missing = may_be_missing
        self._videos: dict[Path, Video] = {}
        self.shown = self.missing = 0
        self.reason: str | None = None

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *_: object) -> None:
        for video in self._videos.values():
            video.close()

    def of(self, record: Record, width: int = _WIDTH, height: int = _HEIGHT) -> Image.Image | None:
        """The picture of `record`, RGB, of this size.

        Raises:
            ImageError, DependencyError: it cannot be read, and none may be missing.
        """
        from PIL import Image

        try:
            if record.frame is not None and is_video_name(record.path.name):
                picture = self._cut(
                    Image.fromarray(self._video(record.path).frame(record.frame)), record, width, height
                )
            else:
                with decoded(record.path) as image:
                    picture = self._cut(image, record, width, height)
        except (ImageError, DependencyError) as error:
            if not self._may_be_missing:
                raise
            self.missing += 1
            self.reason = self.reason or str(error)
            return None
        self.shown += 1
        return picture

    def _video(self, path: Path) -> Video:
        if path not in self._videos:
            self._videos[path] = Video(path)
        return self._videos[path]

    def _cut(self, image: Image.Image, record: Record, width: int, height: int) -> Image.Image:
        from PIL import Image

        if record.box is None:
            return image.resize((width, height), Image.Resampling.LANCZOS)
        (found,) = cut_boxes(image, [record.box], name=str(record.path), height=height, width=width)
        if isinstance(found, ImageError):
            raise found
        return Image.fromarray(found)

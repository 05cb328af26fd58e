"""Image files → entries, some at a time; a bad image costs itself only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from osnet.data.layouts import MARKET_NAME
from osnet.errors import DataError, ImageError
from osnet.gallery.gallery import Gallery

LABELS = ("folder", "market")
_BATCH = 256


def label(path: Path, labels: str | None) -> tuple[str | None, str | None]:
    """Identity and camera that the name of an image file tells.

    Args:
        path: of the image.
        labels: ``folder``: the name of its folder is the identity; ``market``: a name such as
            ``0002_c1s1_000451_03.jpg`` tells person and camera; None: nothing is told.

    Raises:
        DataError: a name that is not like that.
    """
    if labels == "folder":
        return path.absolute().parent.name, None
    if labels == "market":
        found = MARKET_NAME.match(path.name)
        if not found:
            raise DataError(
                f"{path}: expected a name such as 0002_c1s1_000451_03.jpg, which tells person and camera; labels "
                "folder takes the name of the folder instead"
            )
        return found[1], found[2]
    return None, None


def add_images(
    gallery: Gallery,
    paths: Sequence[Path],
    *,
    labels: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    on_failure: Callable[[str], None] | None = None,
    **told: Any,
) -> tuple[list[str], int]:
    """Add image files to a gallery, in batches that are each added whole or not at all.

    Args:
        gallery: to add to.
        paths: of the images.
        labels: as for `label`.
        progress: called with images done and all images.
        on_failure: called with the message of each image that cannot be read; it is left out.
        **told: ``identity``, ``camera``, ``time``, ``attributes`` of all images, as for `Gallery.add`; `labels` come
            first.

    Returns:
        Ids of the images that could be read, and the number of those that could not.
    """
    ids: list[str] = []
    failed = 0
    names = [label(path, labels) for path in paths]  # a name that tells nothing is found before anything is added
    for start in range(0, len(paths), _BATCH):
        batch = list(paths[start : start + _BATCH])
        given = [
            {
                **told,
                "identity": told.get("identity") if who is None else who,
                "camera": told.get("camera") if where is None else where,
            }
            for who, where in names[start : start + _BATCH]
        ]
        try:
            together: dict[str, Any] = {name: [one[name] for one in given] for name in given[0]}
            ids += gallery.add(batch, **together)
        except ImageError:
            for path, one in zip(batch, given):
                message = _added(gallery, path, one, ids)
                if message:
                    failed += 1
                    if on_failure:
                        on_failure(message)
        if progress:
            progress(start + len(batch), len(paths))
    return ids, failed


def _added(gallery: Gallery, path: Path, told: dict[str, Any], ids: list[str]) -> str | None:
    one: dict[str, Any] = {name: [value] for name, value in told.items()}
    try:
        ids += gallery.add([path], **one)
    except ImageError as error:
        return str(error)
    return None

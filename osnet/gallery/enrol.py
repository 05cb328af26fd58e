"""Image files → entries or answers, some at a time; a bad image costs itself only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from osnet.data.layouts import MARKET_NAME
from osnet.errors import DataError, ImageError
from osnet.gallery.gallery import Gallery
from osnet.gallery.store import Result

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
    names = [label(path, labels) for path in paths]  # a name that tells nothing is found before anything is added
    ids: list[str] = []

    def add(part: slice) -> None:
        who = [told.get("identity") if name is None else name for name, _ in names[part]]
        where = [told.get("camera") if name is None else name for _, name in names[part]]
        ids.extend(gallery.add(list(paths[part]), **{**told, "identity": who, "camera": where}))

    return ids, _in_batches(len(paths), add, on_failure, progress)


def search_images(
    gallery: Gallery, paths: Sequence[Path], *, on_failure: Callable[[str], None] | None = None, **options: Any
) -> tuple[list[Path], list[Result]]:
    """Search for image files.

    Args:
        gallery: to search.
        paths: of the images.
        on_failure: called with the message of each image that cannot be read; it is left out.
        **options: of `Gallery.search`.

    Returns:
        The images that could be read, and what was found for each.
    """
    searched: list[Path] = []
    results: list[Result] = []

    def search(part: slice) -> None:
        results.extend(gallery.search(list(paths[part]), **options))
        searched.extend(paths[part])

    _in_batches(len(paths), search, on_failure)
    return searched, results


def _in_batches(
    count: int,
    do: Callable[[slice], None],
    on_failure: Callable[[str], None] | None,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Call `do` with a part of all images at a time; the number of bad images."""
    failed = 0
    for start in range(0, count, _BATCH):
        stop = min(start + _BATCH, count)
        failed += _without_bad_ones(do, start, stop, on_failure)
        if progress:
            progress(stop, count)
    return failed


def _without_bad_ones(
    do: Callable[[slice], None], start: int, stop: int, on_failure: Callable[[str], None] | None
) -> int:
    """Call `do` with all images from `start` to `stop`, or with each half, if there is a bad one among them."""
    try:
        do(slice(start, stop))
    except ImageError as error:
        if stop - start > 1:
            middle = (start + stop) // 2
            return sum(_without_bad_ones(do, *half, on_failure) for half in ((start, middle), (middle, stop)))
        if on_failure:
            on_failure(str(error))
        return 1
    return 0

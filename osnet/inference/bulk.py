"""Many image files → one file of features, in bounded memory; a bad image costs itself only."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from osnet.errors import ImageError
from osnet.image_files import find_images
from osnet.inference.embedder import Embedder
from osnet.inference.feature_files import check_format, feature_writer
from osnet.inference.images import prepare
from osnet.inference.prefetch import prefetch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BulkResult:
    """What `embed_files` did.

    Attributes:
        written: images whose features are in the file.
        failed: for each image that could not be read, the message.
        others: files in the folders that are not images by their names, and folders that could not be read.
    """

    written: int
    failed: tuple[str, ...]
    others: tuple[Path, ...] = ()


def embed_files(
    embedder: Embedder,
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> BulkResult:
    """Embed every image that `inputs` (files and folders) name and write the features to `out`.

    Args:
        embedder: what to embed with.
        inputs: image files and folders, as for `osnet.image_files.find_images`.
        out: ``.npz``, ``.parquet`` or ``.csv``, see `osnet.inference.feature_files`. Appears whole at the end.
        strict: an unreadable image ends it, and nothing is written.
        progress: called with (done, all) after each batch.
        on_failure: called with the message of each unreadable image as it is met.

    Raises:
        ImageError: no images; with `strict`, the first unreadable one; no image could be read at all.
        OptionError, DiskError: `out` cannot be written.
    """
    check_format(out)
    paths, others = find_images(inputs)
    failed: list[str] = []
    names: deque[str] = deque()

    def crops() -> Iterator[NDArray[np.uint8]]:
        for path, crop in zip(paths, prefetch(partial(_prepare_or_error, size=embedder.size), paths)):
            if isinstance(crop, ImageError):
                if strict:
                    raise crop
                failed.append(str(crop))
                if on_failure:
                    on_failure(str(crop))
            else:
                names.append(str(path))
                yield crop

    written = 0
    with feature_writer(out, describe(embedder)) as writer:
        for features in embedder.stream(crops()):
            writer.write([names.popleft() for _ in range(len(features))], features)
            written += len(features)
            if progress:
                progress(written + len(failed), len(paths))
        if not written:
            raise ImageError(f"none of the {len(paths)} images could be read, nothing written; the first: {failed[0]}")
    return BulkResult(written, tuple(failed), tuple(others))


def describe(embedder: Embedder) -> dict[str, str]:
    """What features of `embedder` were made with, as text: its signature, and where it came from."""
    source, backend = Path(embedder.source.source).name, embedder.backend
    return {**embedder.signature.to_dict(), "source": source, "backend": backend}


def _prepare_or_error(path: Path, size: tuple[int, int]) -> NDArray[np.uint8] | ImageError:
    try:
        return prepare(path, height=size[0], width=size[1])
    except ImageError as error:
        return error

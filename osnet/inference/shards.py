"""Any number of images → a folder of features, part by part; what was killed goes on, and processes share the parts."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from osnet.checks import check_choice, check_integer
from osnet.errors import DataError, ImageError, OptionError
from osnet.escaping import name_of_text, text_of_name
from osnet.inference.bulk import describe
from osnet.inference.embedder import Embedder
from osnet.inference.feature_folder import (
    MAX_PART_SIZE,
    PART_SIZE,
    STORES,
    Failure,
    Manifest,
    Part,
    begin,
    check_same,
    finish,
    part_name,
    read_manifest,
    read_part,
    signature_part,
    write_part,
)
from osnet.inference.images import cut_boxes, prepare_boxes
from osnet.inference.prefetch import prefetch
from osnet.inference.sources import Source, content_of
from osnet.inference.tables import BOX, FEATURE, FILE, HIDDEN, OFFSET, SIZE, TAR
from osnet.locations import Location, is_address, location
from osnet.variants import FEATURE_DIM

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from osnet.video_files import Video

_BOXES_AT_ONCE = 64
_ROWS_TOGETHER = 16  # decoded by a thread at once
_GROUPS_AHEAD = 8  # of at most 79 rows: 60 MB of crops
_FRAMES_AHEAD, _PIXELS = 32, 50_000_000  # of a video: frames decoded ahead, and the most pixels in them
_REMOTE_READERS = 32  # a thread that reads from an object store waits most of the time
_TOO_MANY = 100
"""A part of at least so many rows of which no image can be read ends the run: a disk that is gone, not bad images."""


@dataclass(frozen=True)
class ShardResult:
    """What `embed_shards` did.

    Attributes:
        parts: number of all parts, of all shards.
        computed, there: number of this shard's parts that were computed, and that were there before.
        written, failed: number of features in this shard's parts, and of rows whose image could not be read.
        ignored: number of files and tar members that are not images; `examples` are the first few.
    """

    parts: int
    computed: int
    there: int
    written: int
    failed: int
    ignored: int
    examples: tuple[str, ...]


def parse_shard(text: str, name: str = "shard") -> tuple[int, int]:
    """Number and count of ``3/16``: the fourth of sixteen.

    Raises:
        OptionError: not such a text, or the number is not below the count.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not found or int(found[1]) >= int(found[2]):
        raise OptionError(f"{name}: expected NUMBER/COUNT with numbers from 0, such as 0/4 to 3/4, got {text!r:.80}")
    return int(found[1]), int(found[2])


def check_settings(part_size: int | None, store: str | None) -> None:
    """Check arguments of `embed_shards`; None for those that are not given.

    Raises:
        OptionError: one of them is not allowed.
    """
    if part_size is not None:
        check_integer("part_size", part_size, least=1, most=MAX_PART_SIZE)
    if store is not None:
        check_choice("store", store, STORES)


def embed_shards(
    embedder: Embedder,
    source: Source,
    out: str | os.PathLike[str],
    *,
    part_size: int | None = None,
    store: str | None = None,
    shard: tuple[int, int] = (0, 1),
    strict: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> ShardResult:
    """Embed all rows of `source` into the folder `out`, see `osnet.inference.feature_folder`.

    Part k holds the rows k * part_size to (k + 1) * part_size - 1. Parts that are there already are kept. The features
    of a part depend on its own rows only, so that they are bitwise the same however often a run was killed, and however
    many shards there are, on the same kind of machine.

    Args:
        embedder: what to embed with.
        source: the images. Each process, and each repetition, must be given the same.
        out: a new or empty folder, or one that was begun with the same settings; a path, or the address of a folder
            in an object store (``s3://bucket/features``).
        part_size: rows of a part, 1 to 25,000; None for that of the folder, 10,000 where it is new.
        store: ``float32`` or ``float16``; None for that of the folder, ``float32`` where it is new.
        shard: (i, n): make the parts k with k modulo n = i only.
        strict: the first image that cannot be read ends the run.
        progress: called with (rows done, None) after each batch.
        on_failure: called with the message of each unreadable image as it is met.

    Raises:
        ImageError: no rows; with `strict`, the first unreadable image; a part of 100 rows or more without a readable
            image.
        DataError: `out` holds features that were made differently, or of other inputs; an input is damaged.
        OptionError, DiskError: wrong settings; `out` cannot be written.
        StoreError: an object store does not answer, or refuses.
    """
    run = begin_run(embedder, out, part_size, store)
    number, count = shard
    all_parts = computed = there = written = failed = done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="osnet-writer") as writer:  # the next part is computed meanwhile
        writing: Future[None] | None = None
        for place, rows in enumerate(source.parts(run.part_size)):
            all_parts += 1
            if place % count != number:
                continue
            digest = _digest(rows)
            part = _there(run, place, digest)
            if part:
                there += 1
            else:
                features, part = _computed(
                    embedder, run, source.video, rows, place, digest, strict, on_failure, done, progress
                )
                if writing:
                    writing.result()
                writing = writer.submit(_write, run, place, rows, features, part)
                computed += 1
            written, failed, done = written + part.features, failed + len(part.failures), done + len(rows)
            if progress:
                progress(done, None)
        if writing:
            writing.result()
    if not all_parts:
        raise ImageError("the inputs name no images; expected one at least")
    finish(run.folder, run.manifest, all_parts)
    return ShardResult(all_parts, computed, there, written, failed, source.ignored, tuple(source.examples))


@dataclass(frozen=True)
class Run:
    """Where parts are written, and how: folder, what their features are made with, rows of a part, ``float32`` or
    ``float16``, and the manifest at the beginning."""

    folder: Location
    made_with: dict[str, str]
    part_size: int
    store: str
    manifest: Manifest


def begin_run(embedder: Embedder, out: str | os.PathLike[str], part_size: int | None, store: str | None) -> Run:
    """Make or check the folder `out`; arguments and errors as for `embed_shards`."""
    check_settings(part_size, store)
    folder = location(out)
    known = read_manifest(folder)
    if part_size is None:
        part_size = known.part_size if known else PART_SIZE
    if store is None:
        store = known.store if known else STORES[0]
    made_with = _made_with(embedder)
    return Run(folder, made_with, part_size, store, begin(folder, Manifest(made_with, part_size, store)))


def make_part(embedder: Embedder, run: Run, place: int, rows: pa.Table, *, strict: bool) -> tuple[Part, bool]:
    """Write part `place`, which has `rows`, unless it is there; what it holds, and whether it was computed.

    Raises:
        As `embed_shards`; DataError also if `embedder` is not made as that of `run`.
    """
    check_same(signature_part(run.made_with), signature_part(_made_with(embedder)), str(run.folder))
    digest = _digest(rows)
    part = _there(run, place, digest)
    if part:
        return part, False
    features, part = _computed(embedder, run, None, rows, place, digest, strict, None, 0, None)
    _write(run, place, rows, features, part)
    return part, True


def _made_with(embedder: Embedder) -> dict[str, str]:
    return {key: text_of_name(value) for key, value in describe(embedder).items()}


def _there(run: Run, place: int, digest: str) -> Part | None:
    """The part if it is there, checked against the run and the digest of its rows."""
    path = run.folder / part_name(place)
    if not path.exists():
        return None
    part = read_part(path)
    check_same(signature_part(part.made_with), signature_part(run.made_with), str(path))
    if part.inputs != digest:
        raise DataError(f"{path}: was made from other inputs, which have changed since; use another folder")
    return part


def _computed(
    embedder: Embedder,
    run: Run,
    video: Video | None,
    rows: pa.Table,
    place: int,
    digest: str,
    strict: bool,
    on_failure: Callable[[str], None] | None,
    done: int,
    progress: Callable[[int, int | None], None] | None,
) -> tuple[NDArray[np.float32], Part]:
    first = place * run.part_size
    features, failures = features_of(embedder, video, rows, first, strict, on_failure, done, progress)
    part = Part(digest, len(rows) - len(failures), failures, run.made_with)
    if not part.features and len(rows) >= _TOO_MANY:
        raise ImageError(
            f"none of the {len(rows)} images of {part_name(place)} could be read, and it was not written; the first: "
            f"{failures[0].reason}"
        )
    return features, part


def _write(run: Run, place: int, rows: pa.Table, features: NDArray[np.float32], part: Part) -> None:
    good = np.ones(len(rows), bool)
    good[[one.row - place * run.part_size for one in part.failures]] = False
    write_part(run.folder / part_name(place), _with_features(rows, features, good, run.store), part)


class _Picture(NamedTuple):
    """A file, a member of a tar file, or the frame `offset` of a video, and rows with boxes in it."""

    name: str
    tar: str | None
    offset: int
    size: int
    rows: list[int]
    boxes: list[list[float] | None]


def features_of(
    embedder: Embedder,
    video: Video | None,
    rows: pa.Table,
    first: int,
    strict: bool,
    on_failure: Callable[[str], None] | None,
    done: int,
    progress: Callable[[int, int | None], None] | None,
) -> tuple[NDArray[np.float32], tuple[Failure, ...]]:
    """Embed `rows`, a table of a `Source`.

    Args:
        embedder: what to embed with.
        video: of the source.
        rows: with its columns.
        first: number of the first row among all.
        strict, on_failure, progress: as `embed_shards`.
        done: rows before, for `progress`.

    Returns:
        Features, float32 (N, 512), and the failures; the features of failed rows mean nothing.
    """
    files = rows[FILE].to_pylist()
    features = np.zeros((len(rows), FEATURE_DIM), np.float32)
    failures: list[Failure] = []
    under_way: deque[int] = deque()

    def prepared(picture: _Picture, frame: NDArray[np.uint8] | ImageError | None) -> list[Any]:
        height, width = embedder.size
        if isinstance(frame, ImageError):
            return [frame] * len(picture.rows)
        if frame is not None:
            name = f"{picture.name}, frame {picture.offset}"
            return cut_boxes(Image.fromarray(frame), picture.boxes, name=name, height=height, width=width)
        try:
            content = content_of(picture.name, picture.tar, picture.offset, picture.size)
            return prepare_boxes(picture.name, picture.boxes, height=height, width=width, content=content)
        except ImageError as error:
            return [error] * len(picture.rows)

    def all_prepared(group: list[tuple[_Picture, NDArray[np.uint8] | ImageError | None]]) -> list[Any]:
        return [crop for picture, frame in group for crop in prepared(picture, frame)]

    def crops() -> Iterator[NDArray[np.uint8]]:
        pictures = _pictures(rows)
        if video is None:
            groups, ahead = list(_groups(pictures)), _GROUPS_AHEAD
            work: Iterator[Any] = ([(picture, None) for picture in group] for group in groups)
        else:
            groups, ahead = [[picture] for picture in pictures], max(1, min(_FRAMES_AHEAD, _PIXELS // video.pixels))
            work = ([(picture, _frame(video, picture.offset))] for picture in pictures)
        workers = None
        if any(is_address(one.tar or one.name) for one in pictures):
            workers = ahead = _REMOTE_READERS
        for group, done_ones in zip(groups, prefetch(all_prepared, work, ahead=ahead, workers=workers, together=1)):
            for row, crop in zip((row for picture in group for row in picture.rows), done_ones):
                if not isinstance(crop, ImageError):
                    under_way.append(row)
                    yield crop
                    continue
                if strict:
                    raise crop
                failures.append(Failure(first + row, files[row], text_of_name(str(crop))))
                if on_failure:
                    on_failure(str(crop))

    finished = 0
    for batch in embedder.stream(crops()):
        features[[under_way.popleft() for _ in range(len(batch))]] = batch
        finished += len(batch)
        if progress:
            progress(done + finished + len(failures), None)
    return features, tuple(sorted(failures, key=lambda one: one.row))


def _frame(video: Video, number: int) -> NDArray[np.uint8] | ImageError:
    try:
        return video.frame(number)
    except ImageError as error:
        return error


def _pictures(rows: pa.Table) -> list[_Picture]:
    """`rows` by image, in the order in which the images first come; one with many boxes comes several times."""
    names, tars, offsets, sizes = (rows[name].to_pylist() for name in (FILE, TAR, OFFSET, SIZE))
    boxes = zip(*(rows[name].to_pylist() for name in BOX)) if BOX[0] in rows.column_names else [(None,) * 4] * len(rows)
    open_ones: dict[tuple[str, int | None], _Picture] = {}
    found: list[_Picture] = []
    for row, box in enumerate(boxes):
        key = (names[row], offsets[row])
        picture = open_ones.get(key)
        if picture is None or len(picture.rows) == _BOXES_AT_ONCE:
            tar = None if tars[row] is None else name_of_text(tars[row])
            picture = _Picture(name_of_text(names[row]), tar, offsets[row] or 0, sizes[row] or 0, [], [])
            open_ones[key] = picture
            found.append(picture)
        whole = all(value is None for value in box)
        picture.rows.append(row)
        picture.boxes.append(None if whole else [float("nan") if value is None else float(value) for value in box])
    return found


def _groups(pictures: list[_Picture]) -> Iterator[list[_Picture]]:
    """`pictures` in groups of so many rows as a thread decodes at once."""
    group: list[_Picture] = []
    for picture in pictures:
        group.append(picture)
        if sum(len(one.rows) for one in group) >= _ROWS_TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _with_features(rows: pa.Table, features: NDArray[np.float32], good: NDArray[np.bool_], store: str) -> pa.Table:
    """The rows that are `good`: ``file``, ``feature``, and their further columns."""
    import pyarrow as pa

    values = pa.array(features[good].astype(store).ravel())
    column = pa.FixedSizeListArray.from_arrays(values, FEATURE_DIM)
    kept = rows.filter(pa.array(good))
    shown = [name for name in kept.column_names if name != FILE and not name.startswith(HIDDEN)]
    return pa.table({FILE: kept[FILE], FEATURE: column, **{name: kept[name] for name in shown}})


def _digest(rows: pa.Table) -> str:
    """SHA-256 of all cells of `rows` and of their columns' names and types."""
    import pyarrow as pa

    digest = hashlib.sha256()
    for field, column in zip(rows.schema, rows.columns):
        if pa.types.is_temporal(field.type):  # as a Python object it may lose its nanoseconds
            column = column.cast(pa.int32() if field.type.bit_width == 32 else pa.int64())
        digest.update(json.dumps([field.name, str(field.type), column.to_pylist()], default=repr).encode())
    return digest.hexdigest()

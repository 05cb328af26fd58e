"""Features that were computed before, by the content of the image: a second evaluation computes only what changed.

One SQLite file for each checkpoint, way of computing and version of this package, in ``.features`` of the checkpoint
cache. The key is the SHA-256 of the image file's bytes, which are read each time: names, sizes and dates can lie. What
cannot be read or written costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet._version import __version__
from osnet.errors import ImageError
from osnet.files import open_regular
from osnet.inference.images import prepare
from osnet.inference.prefetch import prefetch
from osnet.variants import FEATURE_DIM, INPUT_HEIGHT, INPUT_WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osnet.inference.embedder import Embedder

Progress = Callable[[int, int], None]

FOLDER = ".features"
"""In the cache; the inventory of checkpoints leaves out names that start with a dot."""

_ROW_BYTES = 4 * FEATURE_DIM
_ASKED_AT_ONCE = 500
_WAIT = 30.0


def content_digest(path: Path) -> bytes:
    """SHA-256 of the file's bytes.

    Raises:
        ImageError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ImageError(f"{path}: cannot be read ({reason}); replace it or leave it out") from None
    return digest.digest()


def embed_cached(
    embedder: Embedder, paths: Sequence[Path], cache: Path | None, progress: Progress | None = None
) -> tuple[NDArray[np.float32], int, dict[Path, str]]:
    """Features of image files, looked up where they are known and kept where they are not.

    Args:
        embedder: gives the features, as they come (``normalize=False``).
        paths: image files (N).
        cache: see `FeatureCache`.
        progress: called with (done, all), files of equal content counted once.

    Returns:
        float32 (N, 512), NaN for a file that cannot be read; the number of files that were computed; and for each file
        that cannot be read the message.
    """
    features = np.full((len(paths), FEATURE_DIM), np.nan, np.float32)
    places: dict[bytes, list[int]] = {}
    bad: dict[Path, str] = {}
    digests = list(prefetch(_or_error(content_digest), paths))
    for place, digest in enumerate(digests):
        if isinstance(digest, ImageError):
            bad[paths[place]] = str(digest)
        else:
            places.setdefault(digest, []).append(place)
    under_way: deque[bytes] = deque()

    def crop(digest: bytes) -> NDArray[np.uint8]:
        path = paths[places[digest][0]]
        pixels = prepare(path, height=embedder.size[0], width=embedder.size[1])
        if content_digest(path) != digest:
            raise ImageError(f"{path}: changed while it was read; start again when nobody writes to it")
        return pixels

    def crops(wanted: Sequence[bytes]) -> Iterator[NDArray[np.uint8]]:
        for digest, pixels in zip(wanted, prefetch(_or_error(crop), wanted)):
            if isinstance(pixels, ImageError):
                bad.update({paths[place]: str(pixels) for place in places[digest]})
            else:
                under_way.append(digest)
                yield pixels

    with FeatureCache(cache, embedder) as known:
        todo = dict(places)
        for digest, feature in known.find(places):
            features[todo.pop(digest)] = feature
        done = len(places) - len(todo)
        if progress:
            progress(done, len(places))
        for part in embedder.stream(crops(list(todo))):
            fresh = [under_way.popleft() for _ in range(len(part))]
            known.keep(fresh, part)
            for digest, feature in zip(fresh, part):
                features[places[digest]] = feature
            done += len(part)
            if progress:
                progress(done, len(places))
    return features, len(todo), bad


def _or_error(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`work`, which returns an `ImageError` where it raised one."""

    def attempt(item: Any) -> Any:
        try:
            return work(item)
        except ImageError as error:
            return error

    return attempt


class FeatureCache:
    """Features by content digest, float32 (512,) and not normalised; to be used in ``with``.

    Args:
        cache: folder of the checkpoint cache; None for a cache that knows nothing and keeps nothing, as it also is for
            weights that have no SHA-256.
        embedder: whose features these are.
    """

    def __init__(self, cache: Path | None, embedder: Embedder) -> None:
        digest = embedder.source.sha256
        self._connection: sqlite3.Connection | None = None
        self._writable = True
        if cache is None or not digest:
            return
        height, width = embedder.size
        size = () if (height, width) == (INPUT_HEIGHT, INPUT_WIDTH) else (f"{height}x{width}",)
        words = (digest, embedder.backend, embedder.precision, *size, *(("flip",) if embedder.flip else ()))
        self.path = cache / FOLDER / f"{'-'.join(words)}-{__version__}.sqlite"
        try:
            self._connection = self._opened()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _opened(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._prepared(sqlite3.connect(self.path, timeout=_WAIT))
        except (sqlite3.OperationalError, OSError):
            if not self.path.is_file() or os.access(self.path, os.W_OK):
                raise
            self._writable = False
            return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        except sqlite3.DatabaseError:  # damaged: it holds nothing that cannot be computed again
            self.path.unlink()
            return self._prepared(sqlite3.connect(self.path, timeout=_WAIT))

    @staticmethod
    def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            with connection:
                connection.execute("PRAGMA synchronous=OFF")  # after a power cut the checksums tell
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS features "
                    "(digest BLOB PRIMARY KEY, crc INTEGER NOT NULL, feature BLOB NOT NULL) WITHOUT ROWID"
                )
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def find(self, digests: Iterable[bytes]) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
        """Digest and feature of those of `digests` that are known; a row that was damaged counts as unknown."""
        wanted = list(dict.fromkeys(digests))
        try:
            for start in range(0, len(wanted), _ASKED_AT_ONCE):
                for digest, crc, feature in self._rows(wanted[start : start + _ASKED_AT_ONCE]):
                    if len(feature) == _ROW_BYTES and zlib.crc32(feature, zlib.crc32(digest)) == crc:
                        yield digest, np.frombuffer(feature, "<f4").astype(np.float32)
        except sqlite3.Error as error:
            self._give_up(error)

    def _rows(self, digests: Sequence[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        if self._connection is not None:
            marks = ",".join("?" * len(digests))
            yield from self._connection.execute(
                f"SELECT digest, crc, feature FROM features WHERE digest IN ({marks})",  # noqa: S608 - marks only
                digests,
            )

    def keep(self, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Remember `features` (N, 512) of `digests`; a run that is interrupted later loses nothing of them."""
        if self._connection is None or not self._writable:
            return
        rows = []
        for digest, feature in zip(digests, features):
            content = feature.astype("<f4").tobytes()
            rows.append((digest, zlib.crc32(content, zlib.crc32(digest)), content))
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        warnings.warn(f"features are not cached: {self.path}: {error}", stacklevel=4)
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

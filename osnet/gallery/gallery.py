"""The class that applications keep people with: enrol them, search them, remove them."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_bool, check_integer, check_number
from osnet.errors import GalleryError, OptionError
from osnet.gallery.entries import check_signature, check_vectors, content_id, make_entries
from osnet.gallery.file_store import TIMEOUT, FileStore
from osnet.gallery.filters import check_text, make_filter
from osnet.gallery.milvus import MilvusStore
from osnet.gallery.milvus_address import is_address
from osnet.gallery.pictures import GalleryModel, Model, are_features, listed, reference_of
from osnet.gallery.store import About, Entry, Match, Receipt, Result, Row, Stats, Store, first_of_each
from osnet.gallery.thumbnails import check_thumbnails, make_thumbnail
from osnet.inference.embedder import Embedder, Signature, normalise

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

Floats = npt.NDArray[np.float32]
MAX_LIMIT = 10_000
RERANKED = 100
"""Matches that are re-ranked."""


class Gallery:
    """People and their features, kept in a file or on a Milvus server.

    Any number of threads may use one gallery, and any number of processes may open the same file: searches see every
    change of the others, and a change waits while another process writes. Every change is on the disk when the call
    returns, or not made at all. `osnet.gallery.milvus.MilvusStore` says what is different on a server.

    Args:
        where: an existing gallery, which `Gallery.create` makes: the path of a file, or an address such as
            ``http://host:19530/people``; see `osnet.gallery.milvus_address.Address`.
        model: needed to add and search images: a model reference or an `Embedder`; None for the one that the gallery
            was made with. It must have the SHA-256 of the gallery's checkpoint. Features need no model.
        timeout: seconds that a change waits while another process writes, or in which a server must answer.
        token: of a server: ``user:password`` or an API key; None takes that of the environment variable
            ``OSNET_MILVUS_TOKEN``.
        **options: keywords of `Embedder` that do not change features (``backend``, ``device``, ``batch_size``,
            ``offline``, ...).

    Attributes:
        where: as it was given.
        signature: what its features are made with.
        about: that and the size of its thumbnails.

    Raises:
        GalleryError: no such gallery, damaged, or written by a newer version.
        DataError: `model` is not the one that the gallery was made with.

    >>> import osnet
    >>> gallery = osnet.Gallery.create("people.gallery", "own.ckpt")
    >>> ids = gallery.add(["shop/ann/a_cam1.jpg", "shop/bob/a_cam1.jpg"], identity=["ann", "bob"], camera="1")
    >>> found = gallery.search("shop/ann/a_cam1.jpg", threshold=0.7)[0]
    >>> found.identity, found.unknown
    ('ann', False)
    >>> len(gallery.remove(identity="ann").ids)
    1
    >>> gallery.close()
    """

    def __init__(
        self,
        where: str | os.PathLike[str],
        model: GalleryModel | None = None,
        *,
        timeout: float = TIMEOUT,
        token: str | None = None,
        **options: Any,
    ) -> None:
        store: Store
        if is_address(where):
            store = MilvusStore(str(where), token=token, timeout=timeout)
        else:
            store = FileStore(_local(where, token), timeout=timeout)
        self._begin(store, model, options)

    def _begin(self, store: Store, model: GalleryModel | None, options: dict[str, Any]) -> None:
        self._store = store
        self.where, self.about, self.signature = store.where, store.about, store.about.signature
        try:
            self._model = Model(self.where, self.about, model, options)
        except BaseException:
            store.close()
            raise

    @classmethod
    def create(
        cls,
        where: str | os.PathLike[str],
        model: GalleryModel = "osnet",
        *,
        thumbnails: tuple[int, int] | None = None,
        timeout: float = TIMEOUT,
        token: str | None = None,
        **options: Any,
    ) -> Gallery:
        """Make a new, empty gallery and open it.

        Args:
            where: path of a file that does not exist, or address of a Milvus server with the name of a collection
                that does not exist.
            model: that makes its features, for good; see `GalleryModel`. A `Signature` makes a gallery that takes
                features only.
            thumbnails: height and width of a small picture that is kept of each entry; None keeps none.
            timeout, token: as for `Gallery`.
            **options: keywords of `Embedder` (``precision``, ``size``, ``flip``, ``backend``, ...).

        Raises:
            ExistsError: something is at `where`.
            DiskError: it cannot be written.
        """
        size = None if thumbnails is None else check_thumbnails(thumbnails)
        path = None if is_address(where) else _local(where, token)
        embedder = None
        if not isinstance(model, (Signature, Embedder)):
            embedder = Embedder(model, **options)
        elif options:
            raise OptionError(f"{next(iter(options))}: not used: the model is {type(model).__name__}; set it there")
        else:
            embedder = model if isinstance(model, Embedder) else None
        signature = model if isinstance(model, Signature) else embedder.signature  # type: ignore[union-attr]
        about = About(signature, None if embedder is None else reference_of(embedder), size, clock.time())
        store: Store
        if path is None:
            store = MilvusStore.create(str(where), about, token=token, timeout=timeout)
        else:
            store = FileStore.create(path, about, timeout=timeout)
        self = cls.__new__(cls)
        self._begin(store, embedder, {})
        return self

    def add(
        self,
        items: Any,
        *,
        identity: Any = None,
        camera: Any = None,
        time: Any = None,
        source: Any = None,
        thumbnail: Any = None,
        box: Any = None,
        attributes: Any = None,
        features: Any = None,
        signature: Signature | None = None,
    ) -> list[str]:
        """Add pictures, or features, of people: all or none.

        What is there already, with the same picture or feature and the same that is told of it, is not added again.

        Args:
            items: one or many images (paths, PIL images, uint8 arrays), or features float32 (N, 512) or (512,).
            identity: name or number of the person, 1 to 1000 characters. This and the following are one value for
                all, or a list with one for each; None is not known.
            camera: name or number.
            time: when the picture was taken: seconds since 1970, a datetime with its zone, or ISO 8601 text.
            source: where it came from; None takes an image's path.
            thumbnail: with features: the picture to keep a thumbnail of, as an image or the bytes of a file; a list
                with one for each. Of images the thumbnails are made here. A gallery without thumbnails ignores it.
            box: x1, y1, x2, y2 of the crop in the source.
            attributes: free ones: a dict of texts, numbers and bools.
            features: of images, where they were computed already, float32 (N, 512); their ids stay those of the images,
                and `thumbnail` may be given.
            signature: what features were made with, where it is known: it is compared with the gallery's.

        Returns:
            The ids, one for each, also of those that were there already.

        Raises:
            DataError: features of another signature or width, NaN, or not normalised.
            ImageError: an image or thumbnail that cannot be used.
            OptionError: something told of them that makes no sense.
        """
        told = {"identity": identity, "camera": camera, "time": time, "box": box, "attributes": attributes}
        if signature is not None:
            check_signature(signature, self.signature, "these features")
        if are_features(items):
            vectors = check_vectors(items, self.signature)
            contents: Sequence[bytes] = [vector.tobytes() for vector in vectors]
            pictures = [None] * len(vectors) if thumbnail is None else listed(thumbnail)
            if len(pictures) != len(vectors):
                raise OptionError(f"thumbnail: expected one for each of {len(vectors)} features, got {len(pictures)}")
        else:
            if thumbnail is not None and features is None:
                raise OptionError("thumbnail: is for features; of images the gallery makes them itself")
            pictures = listed(items)
            if source is None:
                source = [one if isinstance(one, (str, os.PathLike)) else None for one in pictures]
            if features is None:
                vectors, contents = self._model.embed(pictures)
            else:
                vectors, contents = check_vectors(features, self.signature), self._model.contents(pictures)
                pictures = pictures if thumbnail is None else listed(thumbnail)
            if not len(vectors) == len(contents) == len(pictures):
                raise OptionError(
                    f"features: expected one for each of {len(contents)} images, as thumbnails, got {len(vectors)}"
                )
        entries = make_entries(contents, source=source, added=clock.time(), **told)
        self._add(entries, vectors, pictures)
        return [entry.id for entry in entries]

    def _add(self, entries: Sequence[Entry], vectors: Floats, pictures: Sequence[Any]) -> int:
        size = self.about.thumbnails
        color = self._model.color
        if size is None:
            small: list[bytes | None] = [None] * len(entries)
        else:
            small = [None if one is None else make_thumbnail(one, size, color=color) for one in pictures]
        return self._store.add([Row(*parts) for parts in zip(entries, vectors, small)])

    def search(
        self,
        query: Any,
        *,
        limit: int = 10,
        threshold: float | None = None,
        camera: Any = None,
        since: Any = None,
        until: Any = None,
        identity: Any = None,
        where: Any = None,
        group: bool = False,
        rerank: bool = False,
        signature: Signature | None = None,
    ) -> list[Result]:
        """Find the most similar entries of one or many people.

        Args:
            query: images or features, as for `add`.
            limit: matches for each, 1 to 10,000.
            threshold: least cosine similarity, -1 to 1, at which the best match is taken for the same person; see
                `threshold`. None decides nothing: `Result.unknown` is None.
            camera, identity: only entries of one, or of any of several.
            since, until: only entries whose time is known and at least `since`, less than `until`.
            where: only entries with these attributes: a dict of values, or of lists of which any may be met.
            group: only the best match of each identity.
            rerank: order the first 100 matches by k-reciprocal re-ranking (`osnet.rerank`); similarities stay the
                plain ones.
            signature: of features, as for `add`.

        Returns:
            One `Result` for each query.

        Raises:
            DataError, ImageError: as for `add`.
            OptionError: a setting or condition that makes no sense.
        """
        check_integer("limit", limit, least=1, most=MAX_LIMIT)
        if threshold is not None:
            threshold = check_number("threshold", threshold, least=-1, most=1)
        filter = make_filter(identity=identity, camera=camera, since=since, until=until, where=where)
        if signature is not None:
            check_signature(signature, self.signature, "these features")
        if are_features(query):
            vectors = normalise(check_vectors(query, self.signature, "query"))
        else:
            vectors = normalise(self._model.embed(listed(query))[0])
        if rerank:
            found = self._store.search(vectors, limit=RERANKED, filter=filter)
            ordered = [self._reranked(vector, matches) for vector, matches in zip(vectors, found)]
            found = [first_of_each(matches) if group else matches for matches in ordered]
        else:
            found = self._store.search(vectors, limit=limit, filter=filter, group=group)
        return [Result(tuple(matches[:limit]), threshold) for matches in found]

    def _reranked(self, vector: Floats, matches: list[Match]) -> list[Match]:
        from osnet.evaluation.rerank import K1, K2, LAMBDA, reranked

        if not matches:
            return matches
        features = normalise(self._store.features([match.entry.id for match in matches]))
        kept = np.flatnonzero(np.isfinite(features).all(axis=1))
        if not kept.size:
            return []
        distances = reranked(vector[None], features[kept], K1, K2, LAMBDA, "cosine")[0]
        order = np.argsort(distances, kind="stable")
        return [
            Match(matches[place].entry, matches[place].similarity, float(distance))
            for place, distance in zip(kept[order].tolist(), distances[order].tolist())
        ]

    def threshold(
        self, calibration: str | os.PathLike[str], fpr: float | None = None, *, far: float | None = None
    ) -> float:
        """The threshold for an error rate, from a file of ``osnet eval --calibrate``.

        Args:
            calibration: the file.
            fpr: false positive rate of one pair: of 1 / fpr pairs of different people, one counts as one person.
            far: false alarm rate of a search: of 1 / far searches for people who are not enrolled, at most one finds
                somebody. The threshold rises with the number of entries: ask for it again when the gallery has grown.

        Raises:
            DataError: not such a file, of another checkpoint or settings, or without this rate; or it has too few pairs
                for `far` and this number of entries.
            OptionError: both or neither of `fpr` and `far`, or one out of range.
        """
        from osnet.evaluation.calibration import read_calibration_for

        if (fpr is None) == (far is None):
            raise OptionError("threshold: expected one of far (of searches) and fpr (of pairs)")
        found = read_calibration_for(calibration, self.signature)
        return found.threshold(fpr) if fpr is not None else found.for_search(far, len(self)).threshold  # type: ignore[arg-type]

    def remove(
        self,
        *,
        ids: Any = None,
        identity: Any = None,
        camera: Any = None,
        since: Any = None,
        until: Any = None,
        older_than: Any = None,
        where: Any = None,
        everything: bool = False,
        compact: bool = True,
    ) -> Receipt:
        """Remove the entries that meet all conditions, with their features and thumbnails.

        Args:
            ids: one or several; an empty list removes nothing.
            identity, camera, where: as for `search`; one or several.
            since, until: as for `search`.
            older_than: age: seconds, a timedelta, or text such as ``90d``; counted from an entry's time, or from when
                it was added where its time is not known.
            everything: remove all entries; must be said, and excludes the others.
            compact: write the file anew, so that no byte of them is left in it: 0.6 s for 50,000 entries. False leaves
                that to `compact`, for many removals one after the other.

        Returns:
            What was removed; nothing where no entry meets the conditions.

        Raises:
            OptionError: no condition, or one that makes no sense.
        """
        filter = make_filter(
            ids=ids, identity=identity, camera=camera, since=since, until=until, older_than=older_than, where=where
        )
        if filter.is_empty != bool(everything):
            raise OptionError(
                "remove: expected conditions (ids, identity, camera, since, until, older_than, where), or "
                "everything=True alone"
            )
        return self._store.remove(filter, compact=check_bool("compact", compact))

    def rename(self, id: str, identity: str | int | None) -> str | None:
        """Make an entry one of another person, or of nobody.

        The new entry is written before the old one is removed: who is interrupted finds both, and not neither.

        Args:
            id: of the entry.
            identity: of the person; None for nobody.

        Returns:
            The entry's new id, since ids are made from all that is known of an entry; None where it is not there.

        Raises:
            OptionError: `identity` makes no sense.
        """
        who = None if identity is None else check_text("identity", identity)
        entry = next(iter(self.list(ids=[id])), None)
        if entry is None or entry.identity == who:
            return None if entry is None else id
        feature = self.features([id])[0]
        named = replace(entry, identity=who)
        named = replace(named, id=content_id(feature.tobytes(), named))
        self._store.add([Row(named, feature, self.thumbnail(id))])
        self.remove(ids=[id], compact=entry.identity is not None)
        return named.id

    def compact(self) -> bool:
        """Write the file anew, without a trace of what was removed.

        Returns:
            Whether that is done; False while another process reads an older state.
        """
        return self._store.compact()

    def list(
        self,
        *,
        ids: Any = None,
        identity: Any = None,
        camera: Any = None,
        since: Any = None,
        until: Any = None,
        where: Any = None,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Yield the entries that meet all conditions, in the order in which they were added."""
        if limit is not None:
            check_integer("limit", limit, least=1)
        filter = make_filter(ids=ids, identity=identity, camera=camera, since=since, until=until, where=where)
        return self._store.entries(filter, limit=limit)

    def features(self, ids: Sequence[str]) -> Floats:
        """Features of entries, float32 (N, 512), as they were added.

        Raises:
            GalleryError: an id that is not there.
        """
        found = self._store.features(list(ids))
        missing = np.flatnonzero(np.isnan(found).any(axis=1))
        if missing.size:
            raise GalleryError(f"{self.where}: has no entry {ids[int(missing[0])]}; list shows those that there are")
        return found

    def thumbnail(self, id: str) -> bytes | None:
        """Thumbnail of an entry as the bytes of a JPEG file; None where there is none."""
        return self._store.thumbnail(id)

    def stats(self) -> Stats:
        """Numbers of entries, identities, cameras and thumbnails, and what the gallery is made with."""
        return self._store.stats()

    def check(self) -> Sequence[str]:
        """Read everything and compare checksums: a line for each damaged entry, none for a sound gallery."""
        return self._store.check()

    def close(self) -> None:
        """Close the gallery; a second call does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._store.count()

    def __repr__(self) -> str:
        return f"Gallery({os.fspath(self.where)!r}, {self.signature.model}, {self.signature.precision})"

    @property
    def embedder(self) -> Embedder:
        """What images are embedded with; it is loaded when it is first used.

        Raises:
            OptionError: the gallery does not know its model; give it as ``model=``.
            DataError: the model is not the one that the gallery was made with.
        """
        return self._model.embedder


def _local(where: Any, token: str | None) -> str:
    if not isinstance(where, (str, os.PathLike)) or not os.fspath(where):
        raise OptionError(f"where: expected the path of a gallery or an address, got {where!r:.80}")
    if token is not None:
        raise OptionError(f"token: is for a server; {os.fspath(where)!r:.80} is the path of a file")
    return os.fspath(where)

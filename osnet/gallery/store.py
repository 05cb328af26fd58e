"""What a gallery is made of, and what a store of one does: `Entry`, `Match`, `Result`, `Receipt`, `Stats`, `Store`.

`osnet.gallery.gallery.Gallery` checks what users give, embeds images and makes entries; a store keeps them. There is
one file for each store: `osnet/gallery/file_store.py` keeps a gallery in an SQLite file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Union

from osnet.errors import GalleryError
from osnet.gallery.filters import Filter
from osnet.inference.embedder import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value = Union[str, int, float, bool]
"""What an attribute may be."""

FORMAT = 1
"""Version of what a store writes; a store refuses a gallery with a larger one."""


def check_format(where: str, found: int) -> None:
    """Check that the gallery `where`, of the format `found`, can be read.

    Raises:
        GalleryError: a newer version wrote it.
    """
    if found > FORMAT:
        raise GalleryError(
            f"{where}: a gallery of format {found}, written by a newer osnet; this one reads format {FORMAT}: upgrade "
            "it (pip install --upgrade osnet)"
        )


@dataclass(frozen=True)
class Entry:
    """One picture of one person.

    Attributes:
        id: 32 hexadecimal digits, made from the content (see `osnet.gallery.entries.content_id`): the same picture with
            the same identity, camera, time, source, box and attributes has the same id in every gallery.
        identity: name or number of the person; None where it is not known.
        camera: name; None where it is not known.
        time: when the picture was taken, in seconds since 1970 (UTC); None where it is not known.
        source: where the picture came from, such as a path; None where it is not kept.
        box: x1, y1, x2, y2 in pixels of the source; None for all of it.
        attributes: free ones, such as ``{"site": "north"}``.
        added: when it was added, in seconds since 1970 (UTC).
    """

    id: str
    identity: str | None = None
    camera: str | None = None
    time: float | None = None
    source: str | None = None
    box: tuple[float, float, float, float] | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    added: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "box": None if self.box is None else list(self.box), "attributes": dict(self.attributes)}


@dataclass(frozen=True)
class Match:
    """An entry that a search found.

    Attributes:
        entry: without its feature and thumbnail.
        similarity: cosine similarity to the query, exact, -1 to 1.
        distance: re-ranked distance, smaller is nearer; None without re-ranking.
    """

    entry: Entry
    similarity: float
    distance: float | None = None


def first_of_each(matches: Sequence[Match]) -> list[Match]:
    """The first match of each identity; where it is not known they all count."""
    firsts: dict[str | int, Match] = {}
    for place, match in enumerate(matches):
        firsts.setdefault(match.entry.identity if match.entry.identity is not None else place, match)
    return list(firsts.values())


@dataclass(frozen=True)
class Result:
    """What a search found for one query.

    Attributes:
        matches: best first. All of them, also those below the threshold.
        threshold: the least similarity at which two pictures count as one person; None where none was given.
    """

    matches: tuple[Match, ...]
    threshold: float | None = None

    @property
    def unknown(self) -> bool | None:
        """Whether the best match is below the threshold, or there is none; None without a threshold."""
        if self.threshold is None:
            return None
        return not self.matches or self.matches[0].similarity < self.threshold

    @property
    def identity(self) -> str | None:
        """Identity of the best match; None where it is unknown, and always without a threshold."""
        return self.matches[0].entry.identity if self.unknown is False else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        matches = [
            {"similarity": match.similarity, "distance": match.distance, **match.entry.to_dict()}
            for match in self.matches
        ]
        return {
            "identity": self.identity, "unknown": self.unknown, "threshold": self.threshold, "matches": matches,
        }  # fmt: skip


@dataclass(frozen=True)
class Receipt:
    """What was removed.

    Attributes:
        where: the gallery.
        time: of the removal, in seconds since 1970 (UTC).
        ids: of the entries that were removed.
        identities: of those entries, each once, sorted.
        thumbnails: number of thumbnails that went with them.
        remaining: entries that are left.
        erased: whether no byte of these and of earlier ones is left in the gallery's files. False where that was not
            asked for, while another process reads an older state of the gallery, or where the disk has no room for it;
            `compact` and the next removal do it later.
    """

    where: str
    time: float
    ids: tuple[str, ...]
    identities: tuple[str, ...]
    thumbnails: int
    remaining: int
    erased: bool

    @classmethod
    def of(
        cls, where: str, rows: Sequence[tuple[int, str, str | None]], *, thumbnails: int, remaining: int, erased: bool
    ) -> Receipt:
        """Of the removal, just now, of these rows: number, id and identity of each."""
        identities = tuple(sorted({who for _, _, who in rows if who is not None}))
        return cls(where, time.time(), tuple(id for _, id, _ in rows), identities, thumbnails, remaining, erased)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "where": self.where, "time": self.time, "removed": len(self.ids), "ids": list(self.ids),
            "identities": list(self.identities), "thumbnails": self.thumbnails, "remaining": self.remaining,
            "erased": self.erased,
        }  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a gallery is made with; it is written when the gallery is made, and never changes.

    Attributes:
        signature: of its features.
        model: reference with which the model can be loaded again; None for a network that was in memory only.
        thumbnails: height and width of the thumbnails; None where none are kept.
        created: in seconds since 1970 (UTC).
    """

    signature: Signature
    model: str | None
    thumbnails: tuple[int, int] | None
    created: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "signature": self.signature.to_dict()}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> About:
        """What `to_dict` wrote, also where there is more beside it."""
        size = told["thumbnails"]
        signature = Signature.from_dict(told["signature"])
        return cls(signature, told["model"], None if size is None else (size[0], size[1]), told["created"])


@dataclass(frozen=True)
class Stats:
    """Numbers of a gallery.

    Attributes:
        where: the gallery.
        about: what it is made with.
        entries: number of them.
        identities: number of different ones.
        unidentified: entries whose identity is not known.
        cameras: entries of each camera.
        thumbnails: number of them.
        first, last: earliest and latest time of the entries; None where no time is known.
        bytes: size in storage; None where the store cannot tell.
    """

    where: str
    about: About
    entries: int
    identities: int
    unidentified: int
    cameras: Mapping[str, int]
    thumbnails: int
    first: float | None
    last: float | None
    bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        about = {
            **self.about.signature.to_dict(),
            "reference": self.about.model,
            "thumbnail_size": None if self.about.thumbnails is None else list(self.about.thumbnails),
            "created": self.about.created,
        }
        plain = {name: value for name, value in vars(self).items() if name != "about"}
        return {**plain, "cameras": dict(self.cameras), "with": about}


class Row(NamedTuple):
    """An entry with all that belongs to it: feature float32 (512,), of the length that the signature says; thumbnail as
    a JPEG file, or None."""

    entry: Entry
    feature: NDArray[np.float32]
    thumbnail: bytes | None = None


class Store(Protocol):
    """Keeps the entries of one gallery. Any number of threads may call one store.

    Every change is there after the call, also if the process is killed right after it, or not at all.

    Raises (all methods):
        GalleryError: what is stored is damaged, or was written by a newer version.
        LockError: another process has been writing for too long.
        DiskError: the disk is full or refuses to write.
    """

    where: str
    about: About

    def add(self, rows: Sequence[Row]) -> int:
        """Add `rows`, all or none. Those whose id is there already change nothing.

        Returns:
            Number of rows that are new.
        """
        ...

    def search(
        self, queries: NDArray[np.float32], *, limit: int, filter: Filter, group: bool = False
    ) -> list[list[Match]]:
        """Find the most similar entries of each query.

        Args:
            queries: float32 (Q, 512) of length 1.
            limit: matches for each query, at most.
            filter: which entries are searched.
            group: only the best match of each identity; entries whose identity is not known all count.

        Returns:
            For each query its matches, most similar first; equally similar ones in the order in which they were added.
            The similarities are exact.
        """
        ...

    def features(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Features of these entries, float32 (N, 512) as they were added; NaN in rows of ids that are not there."""
        ...

    def thumbnail(self, id: str) -> bytes | None:
        """The thumbnail of an entry as a JPEG file; None where it has none, or is not there."""
        ...

    def entries(self, filter: Filter, *, limit: int | None = None) -> Iterator[Entry]:
        """Entries in the order in which they were added."""
        ...

    def rows(self, filter: Filter) -> Iterator[Row]:
        """Entries with all that belongs to them, in the same order, in bounded memory."""
        ...

    def remove(self, filter: Filter, *, compact: bool = True) -> Receipt:
        """Remove the entries that `filter` describes, with all that belongs to them, and `compact` the gallery."""
        ...

    def compact(self) -> bool:
        """Write the storage anew, without a trace of what was removed.

        Returns:
            Whether that is done; False while another process reads an older state.
        """
        ...

    def count(self) -> int:
        """Number of entries, without reading them."""
        ...

    def stats(self) -> Stats:
        """Numbers of the gallery."""
        ...

    def check(self) -> list[str]:
        """Read everything and compare checksums.

        Returns:
            A line for each damaged entry; empty for a sound gallery.
        """
        ...

    def close(self) -> None:
        """Let go of the gallery; a second call does nothing."""
        ...

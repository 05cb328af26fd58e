"""What the server answers and what it is told in JSON: the schemas of its OpenAPI."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Optional, Union

from pydantic import BaseModel, ConfigDict, Field

from osnet.escaping import text_of_name
from osnet.evaluation.calibration import Calibration
from osnet.evaluation.verification import reliability
from osnet.gallery.store import Entry, Receipt, Result

Attributes = dict[str, Union[bool, int, float, str]]
Numbers = list[float]


class Problem(BaseModel):
    """Why a request was not done, in one line."""

    detail: str


class EntryModel(BaseModel):
    """One picture of one person. Times are in seconds since 1970 (UTC); what is not known is null."""

    id: str = Field(description="32 hexadecimal digits.")
    identity: Optional[str] = Field(description="Name or number of the person.")
    camera: Optional[str]
    time: Optional[float] = Field(description="When the picture was taken.")
    source: Optional[str] = Field(description="Name of the file that it came from, without folders.")
    box: Optional[Numbers] = Field(description="x1, y1, x2, y2 in pixels of the source.")
    attributes: Attributes
    added: float = Field(description="When it was enrolled.")


class MatchModel(BaseModel):
    """An entry that a search found."""

    entry: EntryModel
    similarity: float = Field(description="Cosine similarity to the query, -1 to 1.")
    distance: Optional[float] = Field(description="Re-ranked distance; null without re-ranking.")


class Answer(BaseModel):
    """What a search found, most similar first."""

    matches: list[MatchModel]
    threshold: Optional[float]
    unknown: Optional[bool] = Field(description="Whether no match reaches the threshold; null without a threshold.")
    identity: Optional[str] = Field(description="Person of the best match, where it reaches the threshold.")


class Feature(BaseModel):
    """A feature, and what made it."""

    feature: Numbers = Field(description="512 numbers.")
    signature: dict[str, str] = Field(description="Features of the same signature may be compared.")


class FeatureQuery(BaseModel):
    """A search for a feature that was computed elsewhere with the gallery's model."""

    model_config = ConfigDict(extra="forbid")

    feature: list[float] = Field(min_length=512, max_length=512)


class Enrolled(BaseModel):
    """The entry that was made, or was there already."""

    id: str
    new: bool = Field(description="Whether it was not there before.")


class Renamed(BaseModel):
    """The entry with the new name."""

    id: str = Field(description="The entry's id from now on.")


class Entries(BaseModel):
    """Entries in the order in which they were enrolled."""

    entries: list[EntryModel]
    more: bool = Field(description="Whether there are further ones.")


class Person(BaseModel):
    """A person of the gallery."""

    identity: str
    entries: int
    cameras: list[str]
    last: Optional[float] = Field(description="Latest time of the entries, where one is known.")
    cover: str = Field(description="Id of the newest entry.")


class People(BaseModel):
    """The persons of the gallery, by name."""

    people: list[Person]
    more: bool


class Removed(BaseModel):
    """What was removed."""

    ids: list[str]
    identities: list[str]
    thumbnails: int
    remaining: int = Field(description="Entries that are left.")
    erased: bool = Field(description="Whether no byte of them is left in the gallery's files already.")


class Point(BaseModel):
    """A threshold and what it does, measured on labelled data."""

    fpr: float = Field(
        description="At most this fraction of the pairs of different people is accepted, and at most n times as many "
        "of the searches of n entries for people who are not enrolled find somebody."
    )
    tpr: float = Field(description="Fraction of the pairs of one person that are accepted.")
    threshold: float
    warning: Optional[str] = Field(description="That few pairs are behind it; null where there are enough.")


class CalibrationModel(BaseModel):
    """Thresholds of this model, by increasing similarity; those that no pair measured are left out."""

    data: list[str]
    genuine_pairs: int
    impostor_pairs: int
    points: list[Point]


class About(BaseModel):
    """The gallery, its model, and what the server allows."""

    name: str
    entries: int
    identities: int
    unidentified: int
    cameras: dict[str, int]
    first: Optional[float]
    last: Optional[float]
    thumbnail: Optional[list[int]] = Field(description="Height and width; null where none are kept.")
    signature: dict[str, str]
    calibration: Optional[CalibrationModel]
    read_only: bool
    max_bytes: int
    max_pixels: int


class Drawn(BaseModel):
    """Drawn pictures to search for."""

    samples: list[str] = Field(description="What each of them shows.")
    enrolled: bool = Field(description="Whether drawn people are in the gallery.")


class EnrolledDrawn(BaseModel):
    """The entries of drawn people."""

    ids: list[str]


class Status(BaseModel):
    """``ok`` or ``ready``."""

    status: str


def entry_dict(entry: Entry) -> dict[str, Any]:
    """An `EntryModel` as plain values."""
    source = None if entry.source is None else text_of_name(_file_name(entry.source))
    return {**entry.to_dict(), "source": source}


def _file_name(source: str) -> str:
    """The last part of a path: the folders of the server are nobody's business."""
    return PureWindowsPath(PurePosixPath(source).name).name


def answer_dict(result: Result) -> dict[str, Any]:
    """An `Answer` as plain values."""
    matches = [
        {"entry": entry_dict(match.entry), "similarity": match.similarity, "distance": match.distance}
        for match in result.matches
    ]
    return {
        "matches": matches, "threshold": result.threshold, "unknown": result.unknown, "identity": result.identity,
    }  # fmt: skip


def removed_dict(receipt: Receipt) -> dict[str, Any]:
    """A `Removed` as plain values."""
    return {
        "ids": list(receipt.ids), "identities": list(receipt.identities), "thumbnails": receipt.thumbnails,
        "remaining": receipt.remaining, "erased": receipt.erased,
    }  # fmt: skip


def calibration_dict(calibration: Calibration) -> dict[str, Any]:
    """A `CalibrationModel` as plain values."""
    points = [
        {"fpr": point.fpr, "tpr": point.tpr, "threshold": point.threshold, "warning": point.warning}
        for point in sorted({*calibration.thresholds, *calibration.curve}, key=lambda one: (one.threshold, -one.fpr))
        if reliability(point.fpr, point.impostor_pairs) != "unreliable"
    ]
    return {
        "data": list(calibration.data), "genuine_pairs": calibration.genuine_pairs,
        "impostor_pairs": calibration.impostor_pairs, "points": points,
    }  # fmt: skip

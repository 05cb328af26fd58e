"""What users tell of the pictures that they add → checked entries with their ids."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from osnet.checks import check_number
from osnet.errors import DataError, OptionError
from osnet.gallery.filters import MAX_TEXT, check_text, seconds, value_text
from osnet.gallery.store import Entry
from osnet.inference.embedder import Signature
from osnet.variants import FEATURE_DIM

Floats = npt.NDArray[np.float32]

MAX_SOURCE = 4096
MAX_ATTRIBUTES = 64
LENGTH_TOLERANCE = 1e-2
"""How far the length of a normalised feature may be from 1; float16 keeps it to 1e-3."""


def make_entries(
    contents: Sequence[bytes],
    *,
    identity: Any = None,
    camera: Any = None,
    time: Any = None,
    source: Any = None,
    box: Any = None,
    attributes: Any = None,
    added: float,
) -> list[Entry]:
    """One entry for each of the `contents` (bytes of its picture or feature).

    Each keyword is one value for all, or a list, tuple or array with one for each; None, also inside a list, is not
    known. `box` is (4,) or (N, 4).

    Raises:
        OptionError: a value that makes no sense, or a list of another length.
    """
    count = len(contents)
    boxes: Any = box
    if box is not None and len(box) == 4 and not any(hasattr(one, "__len__") or one is None for one in box):
        boxes = [box] * count
    columns = zip(
        contents,
        _column("identity", identity, count),
        _column("camera", camera, count),
        _column("time", time, count),
        _column("source", source, count),
        _column("box", boxes, count),
        _column("attributes", attributes, count),
    )
    entries = []
    for number, (content, who, where, when, origin, corners, free) in enumerate(columns):
        try:
            entry = Entry(
                id="",
                identity=None if who is None else check_text("identity", who),
                camera=None if where is None else check_text("camera", where),
                time=None if when is None else seconds("time", when),
                source=None if origin is None else _source(origin),
                box=None if corners is None else _box(corners),
                attributes={} if free is None else _attributes(free),
                added=added,
            )
        except OptionError as error:
            raise OptionError(f"row {number} of {count}: {error}" if count > 1 else str(error)) from None
        entries.append(Entry(**{**vars(entry), "id": content_id(content, entry)}))
    return entries


def content_id(content: bytes, entry: Entry) -> str:
    """32 hexadecimal digits: SHA-256, cut short, of the bytes of a picture or feature and of what is told of it."""
    told = [entry.identity, entry.camera, entry.time, entry.source, entry.box, sorted(entry.attributes.items())]
    digest = hashlib.sha256(json.dumps(told).encode() + b"\0")
    digest.update(content)
    return digest.hexdigest()[:32]


def check_vectors(features: Any, signature: Signature, what: str = "features") -> Floats:
    """Check features that come from outside against the signature of a gallery.

    Returns:
        float32 (N, 512), contiguous; (1, 512) for one feature (512,).

    Raises:
        DataError: another width, NaN or infinity, all zero, or not of length 1 where the signature says normalised.
    """
    try:
        array = np.asarray(features)
    except ValueError:
        raise DataError(f"{what}: of mixed widths; expected one array (N, {FEATURE_DIM})") from None
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != FEATURE_DIM or array.dtype.kind != "f":
        raise DataError(f"{what}: expected floats (N, {FEATURE_DIM}), got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(array, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    for wrong, problem in ((~np.isfinite(lengths), "holds NaN or infinity"), (lengths == 0, "is all zero")):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{what}: row {row} of {len(vectors)} {problem}; check the picture behind it")
    off = np.abs(lengths - 1) > LENGTH_TOLERANCE
    if signature.normalized and off.any():
        row = int(np.argmax(off))
        raise DataError(
            f"{what}: row {row} has the length {lengths[row]:.4g}, but this gallery keeps normalised features, of "
            "length 1; embed with normalize=True"
        )
    return vectors


def check_signature(found: Signature, expected: Signature, what: str) -> None:
    """Check that features of `found` belong into a gallery of `expected`; the version of osnet may differ.

    Raises:
        DataError: they were made differently; the message names each difference.
    """
    ours, theirs = expected.to_dict(), found.to_dict()
    different = [name for name in ours if name != "osnet_version" and ours[name] != theirs[name]]
    if different:
        shown = "; ".join(f"{name} {theirs[name]:.20}, the gallery has {ours[name]:.20}" for name in different)
        raise DataError(
            f"{what}: made differently from the features of the gallery ({shown}); embed the pictures with the "
            "gallery's model and settings, or make another gallery"
        )


def _column(name: str, given: Any, count: int) -> Sequence[Any]:
    if isinstance(given, (list, tuple, np.ndarray)):
        if len(given) != count:
            raise OptionError(f"{name}: expected one for each of {count} pictures, got {len(given)}")
        return list(given)
    return [given] * count


def _source(value: Any) -> str:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not 0 < len(text) <= MAX_SOURCE or "\0" in text:
        raise OptionError(f"source: expected a path or text of at most {MAX_SOURCE} characters, got {value!r:.80}")
    return text


def _box(value: Any) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (check_number("box", float(one)) for one in value)
    except (TypeError, ValueError):
        raise OptionError(f"box: expected 4 finite numbers x1, y1, x2, y2, got {value!r:.80}") from None
    return x1, y1, x2, y2


def _attributes(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > MAX_ATTRIBUTES:
        raise OptionError(
            f"attributes: expected at most {MAX_ATTRIBUTES} names and values, such as {{'site': 'north'}}, "
            f"got {value!r:.80}"
        )
    return {
        check_text("attribute", name): json.loads(value_text(f"attribute {name!s:.{MAX_TEXT}}", one))
        for name, one in value.items()
    }

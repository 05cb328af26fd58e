"""Thresholds of one checkpoint, measured on labelled data, in a small JSON file."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from osnet._version import __version__
from osnet.checks import check_integer, check_number
from osnet.errors import DataError
from osnet.evaluation.verification import FALSE_POSITIVE_RATES, OperatingPoint, Verification, reliability
from osnet.files import atomic_write
from osnet.inference.embedder import Signature

FORMAT = "osnet-calibration-1"


@dataclass(frozen=True)
class Calibration:
    """Thresholds, and how they were measured.

    Attributes:
        checkpoint_sha256: of the weights whose features were compared, 64 hexadecimal digits in lower case.
        data: names of the data sets.
        metric, protocol: as `verify_pairs` has them. Thresholds are similarities of this metric.
        flip: whether features were averaged with those of the mirrored image.
        pool, backend, precision: as `osnet.evaluate` has them; None for no pooling, or where it is not known.
        osnet_version: of the package that measured.
        genuine_pairs, impostor_pairs: pairs behind the figures.
        eer, eer_threshold: equal error rate, and the threshold there.
        thresholds: one for each requested false positive rate.
        curve: ten for each factor of ten, from a rate of 0.5 down to one false accept; empty in older files.
    """

    checkpoint_sha256: str
    data: tuple[str, ...]
    metric: str
    protocol: str
    flip: bool
    pool: str | None
    backend: str | None
    precision: str | None
    osnet_version: str
    genuine_pairs: int
    impostor_pairs: int
    eer: float
    eer_threshold: float
    thresholds: tuple[OperatingPoint, ...]
    curve: tuple[OperatingPoint, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint_sha256, str) or not re.fullmatch("[0-9a-f]{64}", self.checkpoint_sha256):
            raise DataError(
                f"checkpoint_sha256 must be 64 lower-case hexadecimal digits, got {self.checkpoint_sha256!r}"
            )

    def threshold(self, fpr: float) -> float:
        """Return the least similarity at which two images count as one person, at a false positive rate of `fpr`.

        Raises:
            DataError: there is no threshold for this rate; the message lists those there are.
        """
        for point in self.thresholds:
            if abs(point.fpr - fpr) <= 1e-9 * fpr:
                return point.threshold
        known = ", ".join(f"{point.fpr:g}" for point in self.thresholds)
        raise DataError(f"no threshold for a false positive rate of {fpr:g}. There are: {known}.")

    def for_search(self, far: float, entries: int) -> OperatingPoint:
        """Find the threshold at which at most a fraction `far` of the searches for unenrolled people finds somebody.

        A search compares a query with all entries, so it errs at most `entries` times as often as one pair (Boole's
        inequality, also where entries resemble each other): the false positive rate of a pair is `far` / `entries`, or
        the next lower one that is stored.

        Args:
            far: false alarm rate of a search, above 0 and below 1.
            entries: number of entries that a search compares.

        Returns:
            The point of that rate, with the fraction of the pairs of one person that are still accepted, and a warning
            if few pairs are behind it.

        Raises:
            OptionError: `far` or `entries` out of range.
            DataError: not one false accept is to be expected at this rate, so no threshold was measured for it; or no
                threshold gives it.
        """
        check_number("false alarm rate", far, above=0, below=1)
        rate = far / max(check_integer("entries", entries, least=0), 1)
        points = [
            point
            for point in (*self.curve, *self.thresholds)
            if point.fpr <= rate * (1 + 1e-9) and reliability(point.fpr, point.impostor_pairs) != "unreliable"
        ]
        if points:
            found = max(points, key=lambda point: point.fpr)
            if self.metric == "cosine" and found.threshold > 1:
                raise DataError(
                    f"more than one in {1 / rate:,.0f} pairs of different people have a similarity of 1, so no "
                    f"threshold gives a false alarm rate of {far:g}; look for images that are twice in "
                    f"{', '.join(self.data)}"
                )
            return found
        what = f"a false alarm rate of {far:g} with {entries:,} entries needs the threshold of one in {1 / rate:,.0f}"
        if rate * self.impostor_pairs >= 1:
            raise DataError(f"{what} pairs, which this file does not have; make it again with `osnet eval --calibrate`")
        least = math.ceil(1000 * entries / self.impostor_pairs - 1e-9) / 1000
        raise DataError(
            f"{what} pairs, but this calibration has {self.impostor_pairs:,} pairs of different people; calibrate on "
            f"more images{f', or choose a rate of at least {least:g}' if least < 1 else ''}"
        )


def calibrate(
    verification: Verification,
    *,
    checkpoint_sha256: str,
    data: Sequence[str],
    flip: bool = False,
    pool: str | None = None,
    backend: str | None = None,
    precision: str | None = None,
    fprs: Sequence[float] = FALSE_POSITIVE_RATES,
) -> Calibration:
    """Take the thresholds of `verification` at the rates `fprs`.

    Args:
        verification: of `verify_pairs`.
        checkpoint_sha256, data, flip, pool, backend, precision: how the features were made, see `Calibration`.
        fprs: false positive rates of `Calibration.thresholds`, 0 to 1.

    Returns:
        A `Calibration`, for `write_calibration`.

    Raises:
        DataError: `checkpoint_sha256` is not 64 lower-case hexadecimal digits.
        OptionError: a rate is not between 0 and 1.
    """
    return Calibration(
        checkpoint_sha256=checkpoint_sha256,
        data=tuple(data),
        metric=verification.metric,
        protocol=verification.protocol,
        flip=flip,
        pool=pool,
        backend=backend,
        precision=precision,
        osnet_version=__version__,
        genuine_pairs=verification.genuine_pairs,
        impostor_pairs=verification.impostor_pairs,
        eer=verification.eer,
        eer_threshold=verification.eer_threshold,
        thresholds=tuple(verification.at(fpr) for fpr in fprs),
        curve=tuple(verification.at(fpr) for fpr in _curve_rates(verification.impostor_pairs)),
    )


def _curve_rates(pairs: int) -> list[float]:
    """0.5, 0.4, 0.32, 0.25 and so on, and one of `pairs`."""
    steps = (10 ** (-step / 10) for step in range(3, 200))
    return [*itertools.takewhile(lambda rate: rate > 1 / pairs, steps), 1 / pairs]


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write `calibration` to `path` as JSON, whole or not at all.

    Raises:
        DiskError: the folder is missing or not writable, or the disk is full.
    """
    text = json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2, allow_nan=False)
    atomic_write(path, (text + "\n").encode())


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a file that `write_calibration` wrote.

    Raises:
        DataError: no such file, or not of this format: broken JSON, keys missing or unknown, values of a wrong type.
    """
    name = repr(os.fspath(path))
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read calibration {name}: {error.strerror}; make one with `osnet eval --calibrate`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not valid JSON ({error}); make it again with `osnet eval --calibrate`") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{name} is not a calibration file: expected a JSON object with format {FORMAT!r}")
    content.pop("format")
    _check(content, Calibration, name)
    for key in ("thresholds", "curve"):
        for point in content.setdefault(key, []):
            _check(point, OperatingPoint, f"{name}, {key}")
        content[key] = tuple(OperatingPoint(**point) for point in content[key])
    return Calibration(**{**content, "data": tuple(content["data"])})


def threshold_for(path: str | os.PathLike[str], signature: Signature, fpr: float) -> float:
    """Read the threshold for features of `signature` from a calibration file.

    Args:
        path: file that `write_calibration` wrote.
        signature: of the features that are to be compared.
        fpr: false positive rate, one of those in the file.

    Returns:
        The least cosine similarity at which two images count as one person.

    Raises:
        DataError: as `read_calibration_for`, or there is no threshold for this rate.
    """
    return read_calibration_for(path, signature).threshold(fpr)


def read_calibration_for(path: str | os.PathLike[str], signature: Signature) -> Calibration:
    """Read a calibration file whose thresholds are for features of `signature`.

    Raises:
        DataError: not a calibration file; it was measured with another checkpoint, precision, metric or flip setting,
            or on pooled tracklets.
    """
    name = repr(os.fspath(path))
    found = read_calibration(path)
    problems = [
        f"{what} {theirs} (features: {ours})"
        for what, theirs, ours in (
            ("checkpoint", found.checkpoint_sha256[:12], signature.sha256[:12]),
            ("precision", found.precision or signature.precision, signature.precision),
            ("flip", found.flip, signature.flip),
            ("metric", found.metric, "cosine"),
            ("pool", found.pool, None),
        )
        if theirs != ours
    ]
    if problems:
        raise DataError(
            f"calibration {name} is not for these features; it was measured with {', '.join(problems)}; "
            "measure a threshold for them with `osnet eval --calibrate`"
        )
    return found


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str | None": (str, type(None)),
    "tuple[str, ...]": (list,),
    "tuple[OperatingPoint, ...]": (list,),
}


def _check(content: Any, record: type, where: str) -> None:
    """Keys and types of `content` against the fields of `record`."""
    expected = {field.name: str(field.type) for field in fields(record)}
    needed = {field.name for field in fields(record) if field.default is MISSING}
    if not isinstance(content, dict) or not needed <= content.keys() <= expected.keys():
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{where}: expected the keys {', '.join(expected)}; got {found}")
    for key, value in content.items():
        kind = expected[key]
        kinds = _KINDS[kind]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DataError(f"{where}: {key} must be {kind}, got {value!r}")
        if key == "data" and not all(isinstance(item, str) for item in content["data"]):
            raise DataError(f"{where}: data must be a list of strings, got {value!r}")

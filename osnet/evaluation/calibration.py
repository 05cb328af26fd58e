"""Thresholds of one checkpoint, measured on labelled data, in a small JSON file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from osnet._version import __version__
from osnet.errors import DataError
from osnet.evaluation.verification import FALSE_POSITIVE_RATES, OperatingPoint, Verification
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
        fprs: false positive rates, 0 to 1.

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
    )


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
    for point in content["thresholds"]:
        _check(point, OperatingPoint, f"{name}, thresholds")
    points = tuple(OperatingPoint(**point) for point in content.pop("thresholds"))
    return Calibration(**{**content, "data": tuple(content["data"]), "thresholds": points})


def threshold_for(path: str | os.PathLike[str], signature: Signature, fpr: float) -> float:
    """Read the threshold for features of `signature` from a calibration file.

    Args:
        path: file that `write_calibration` wrote.
        signature: of the features that are to be compared.
        fpr: false positive rate, one of those in the file.

    Returns:
        The least cosine similarity at which two images count as one person.

    Raises:
        DataError: not a calibration file; it was measured with another checkpoint, precision, metric or flip setting,
            or on pooled tracklets; or it has no threshold for this rate.
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
    return found.threshold(fpr)


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
    if not isinstance(content, dict) or content.keys() != expected.keys():
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{where}: expected the keys {', '.join(expected)}; got {found}")
    for key, kind in expected.items():
        value, kinds = content[key], _KINDS[kind]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DataError(f"{where}: {key} must be {kind}, got {value!r}")
        if key == "data" and not all(isinstance(item, str) for item in content["data"]):
            raise DataError(f"{where}: data must be a list of strings, got {value!r}")

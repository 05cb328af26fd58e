"""Find what is wrong with a data set, before it is evaluated or trained on.

`examine` reads the data set, checks its labels and its files, and reports findings: one line each, with a count, an
example and what to do. The quick part opens no image; the full part decodes every image and compares contents.
Evaluation and training apply the same checks: a data set without errors here is accepted there, without the images
that are reported here as left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from osnet.checks import check_choice
from osnet.data import check_files, check_labels
from osnet.data.findings import Finding
from osnet.data.load import check_training_records, load_records, load_training_records, trainable
from osnet.data.records import DataSet
from osnet.errors import DataError

USES = ("evaluate", "train")


@dataclass(frozen=True)
class Report:
    """The result of `examine`.

    Attributes:
        data: folder or table that was examined.
        layout, protocol: its layout and its usual evaluation protocol; None if it could not be read.
        counts: as `DataSet.counts`.
        findings: errors first.
        quick: whether images were not opened.
    """

    data: str
    layout: str | None
    protocol: str | None
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    quick: bool

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make evaluation or training meaningless."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be warnings."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings], "ok": self.ok}


def examine(
    data: str | os.PathLike[str] | DataSet,
    *,
    dataset: str = "auto",
    quick: bool = False,
    use: str = "evaluate",
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Check whether a data set can be evaluated or trained on.

    Args:
        data: folder or table, or a `DataSet`.
        dataset, seed: as in `load_records`.
        quick: skip the checks that open images.
        use: ``evaluate`` or ``train``: the purpose to check for.
        progress: show a progress bar on stderr while images are read.

    Returns:
        A `Report`. A data set that cannot be read is an error in it, not an exception.

    Raises:
        OptionError: unknown layout or use.
    """
    check_choice("use", use, USES)
    if not isinstance(data, DataSet):
        try:
            data = load_training_records(data, dataset) if use == "train" else load_records(data, dataset, seed=seed)
        except DataError as error:
            finding = Finding("error", "layout", str(error))
            return Report(str(data), None, None, {}, (finding,), quick)
    findings = sorted(_findings(data, quick, use, progress), key=lambda finding: finding.severity != "error")
    return Report(str(data.root), data.name, data.protocol, data.counts(), tuple(findings), quick)


def _findings(data: DataSet, quick: bool, use: str, progress: bool) -> Iterator[Finding]:
    sizes, bad = check_files.sizes(data)
    shapes: dict[Path, tuple[int, int]] = {}
    if not quick:
        shapes, unreadable = check_files.decode_all(list(sizes), progress)
        bad.update(unreadable)
    yield from check_files.unusable(data, bad)
    left = data.without(bad)
    about_labels = _about_labels(left, use)
    if use == "train":  # which accepts every data set that can be trained on
        try:
            check_training_records(trainable(left), str(data.root))
        except DataError as error:
            yield Finding("error", "nothing-to-train-on", str(error))
        about_labels = (replace(finding, severity="warning") for finding in about_labels)
    yield from about_labels
    yield from check_files.not_used(data)
    yield from check_files.shapes(shapes)
    if not quick:
        yield from check_files.duplicates(left.records, sizes, data.protocol, progress)


def _about_labels(data: DataSet, use: str) -> Iterator[Finding]:
    if use == "evaluate":
        yield from check_labels.splits(data)
    yield from check_labels.overlap(data)
    yield from check_labels.cameras(data)
    yield from check_labels.matches(data)
    yield from check_labels.balance(data)
    yield from check_files.paths(data)

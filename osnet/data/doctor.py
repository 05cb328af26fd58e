"""What is wrong with a data set, said before any hour is spent on it.

`examine` lists the data set, looks at its labels and at its files, and reports findings: one line each, with a count,
an example and what to do. The quick part opens no image; the full part decodes every one and compares contents.
Evaluation and training apply the same checks: what has no error here is accepted there, without the images that are
named here as left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from osnet.data import check_files, check_labels
from osnet.data.findings import Finding
from osnet.data.load import check_training_records, load_records, load_training_records, trainable
from osnet.data.records import DataSet
from osnet.errors import DataError, OptionError

USES = ("evaluate", "train")


@dataclass(frozen=True)
class Report:
    """What `examine` found.

    Attributes:
        data: folder or table that was looked at.
        layout, protocol: how it was read and is usually evaluated; None where it could not be read.
        counts: as `DataSet.counts`.
        findings: errors first.
        quick: whether images were left unopened.
    """

    data: str
    layout: str | None
    protocol: str | None
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    quick: bool

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make the use asked about meaningless."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """No errors; there may be warnings."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
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
    """Look for what would make the use of a data set meaningless (errors) or doubtful (warnings).

    Args:
        data: folder or table, or a data set that is listed already.
        dataset, seed: as `load_records` has them.
        quick: leave out what opens images.
        use: ``evaluate`` or ``train``: what the splits must be good for.
        progress: a bar on stderr while images are read.

    Raises:
        OptionError: unknown layout or use. A data set that cannot be listed is a finding, not an exception.
    """
    if use not in USES:
        raise OptionError(f"unknown use {use!r}. Known: {', '.join(USES)}.")
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
    if use == "train":  # which accepts all that has something to learn from
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

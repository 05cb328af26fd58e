"""The page of an evaluation on sequences: figures for each gap, and the mistakes with their pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osnet._version import __version__
from osnet.escaping import text_of_name
from osnet.evaluation.evaluate import last_part
from osnet.evaluation.reassociation import FALSE_POSITIVE_RATES
from osnet.files import atomic_write
from osnet.report.pictures import Pictures
from osnet.report.report import FILE, picture_uri, prepare_folder

if TYPE_CHECKING:
    from osnet.data.records import Record
    from osnet.evaluation.films import FilmEvaluation
    from osnet.evaluation.reassociation import Reassociation

FEW = "* Measured on too few pairs of different people to be reliable."
_TEMPLATE = Path(__file__).with_name("reassociation.html.jinja")

HEADS = ("gap", "Rank-1", "MRR", "queries", "candidates", "left", "AUC", "EER")


def figures(evaluation: FilmEvaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The table of the figures: heads, and a row of texts for each gap; fractions in percent."""
    heads = (*HEADS, *(f"similarity at FPR {rate:g}" for rate in FALSE_POSITIVE_RATES))
    return heads, [_row(gap) for gap in evaluation.gaps]


def _row(gap: Reassociation) -> tuple[str, ...]:
    plain = (gap.label, f"{100 * gap.rank1:.1f}", f"{100 * gap.mrr:.1f}", f"{gap.queries:,}", f"{gap.candidates:.1f}")
    if gap.pairs is None or gap.auc is None:
        return (*plain, f"{gap.left:,}", "-", "-", *("-" for _ in FALSE_POSITIVE_RATES))
    points = [gap.pairs.at(rate) for rate in FALSE_POSITIVE_RATES]
    shown = [f"{point.threshold:.3f} (TPR {100 * point.tpr:.1f}){'*' * bool(point.warning)}" for point in points]
    return (*plain, f"{gap.left:,}", f"{100 * gap.auc:.2f}", f"{100 * gap.pairs.eer:.1f}", *shown)


def write_page(evaluation: FilmEvaluation, folder: str | os.PathLike[str], *, mistakes: int = 24) -> Path:
    """Write ``report.html`` into `folder`.

    Args:
        evaluation: of `osnet.evaluation.films.evaluate_films`.
        folder: is made where it is missing.
        mistakes: number of mistakes that are shown for each gap, the largest first.

    Returns:
        The path of the page.

    Raises:
        DependencyError, DiskError: as `osnet.report.report.prepare_folder`.
    """
    import jinja2

    root = prepare_folder(folder)
    with Pictures(may_be_missing=True) as pictures:
        shown = [_gap(evaluation, gap, mistakes, pictures) for gap in evaluation.gaps]
    warnings = (
        [f"{len(evaluation.left_out)} boxes were left out: {evaluation.left_out[0]}"] if evaluation.left_out else []
    )
    if pictures.missing:
        warnings.append(f"{pictures.missing} pictures cannot be shown, such as the first: {pictures.reason}")
    heads, rows = figures(evaluation)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    html = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        version=__version__,
        model=last_part(evaluation.model),
        data=last_part(evaluation.data),
        about=about(evaluation),
        warnings=warnings,
        heads=heads,
        rows=rows,
        few=FEW if any(cell.endswith("*") for row in rows for cell in row) else "",
        gaps=shown,
    )
    atomic_write(root / FILE, text_of_name(html).encode())
    return root / FILE


def about(evaluation: FilmEvaluation) -> str:
    """How the figures were measured, one sentence."""
    signature = evaluation.signature
    return (
        f"{len(evaluation.sequences)} sequences, {len(evaluation.records):,} boxes, queries from frames that "
        f"{evaluation.stride} divides, {evaluation.metric} similarity, images of {signature.height}x{signature.width}, "
        f"{signature.precision} by {evaluation.backend}."
    )


def _gap(evaluation: FilmEvaluation, gap: Reassociation, count: int, pictures: Pictures) -> dict[str, Any]:
    shown = []
    for (query, right, first), (with_right, with_first) in zip(gap.wrong[:count].tolist(), gap.similarities.tolist()):
        rows = ((query, "query", ""), (right, "match", f"{with_right:.3f}"), (first, "non-match", f"{with_first:.3f}"))
        shown.append([_tile(evaluation, evaluation.records[row], kind, text, pictures) for row, kind, text in rows])
    return {"label": gap.label, "count": len(gap.wrong), "mistakes": shown}


def _tile(evaluation: FilmEvaluation, record: Record, kind: str, text: str, pictures: Pictures) -> dict[str, Any]:
    lines = [f"id {record.person}", f"{evaluation.sequences[record.camera or 0]}, frame {record.frame}", text]
    picture = pictures.of(record)
    return {"kind": kind, "picture": picture_uri(picture) if picture else "", "lines": [line for line in lines if line]}

"""Charts of the report: CMC and average precision, ROC, similarities, as matplotlib figures without global state."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from osnet.evaluation.ranking import Ranking
    from osnet.evaluation.verification import OperatingPoint, Verification

INK, SOFT, GRID = "#1c2733", "#66727f", "#e3e8ee"
BLUE, GREEN, RED = "#2563c9", "#18875a", "#cf3b3b"
_MOST_POINTS = 2000


def figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of empty panels, row by row, drawn by Agg. Sizes are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made, [_plain(axes) for axes in made.subplots(rows, columns, squeeze=False).flat]


def _plain(axes: Any) -> Any:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(x, color=SOFT, fontsize=9.5)
    axes.set_ylabel(y, color=SOFT, fontsize=9.5)


def png(made: Figure, dpi: int = 144) -> bytes:
    """Return `made` as a PNG file."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def cmc(ranking: Ranking) -> Figure:
    """Draw CMC up to the rank that was computed, and the histogram of average precision."""
    made, (left, right) = figure(10, 3.7, 2)
    ranks = np.arange(1, len(ranking.cmc) + 1)
    left.plot(ranks, 100 * ranking.cmc, color=BLUE, linewidth=2, drawstyle="steps-post")
    lowest = 100 * ranking.cmc[0]
    shown = [k for k in (1, 5, 10, 20, 50) if k <= len(ranking.cmc)]
    for k in shown:
        value = 100 * ranking.cmc[k - 1]
        left.plot([k], [value], "o", color=BLUE, markersize=5, clip_on=False)
        x, side = (-2, "right") if k == len(ranking.cmc) else (3, "left")
        left.annotate(
            f"{value:.1f}", (k, value), textcoords="offset points", xytext=(x, -14), ha=side, fontsize=9, color=INK
        )
    left.set_ylim(max(0, lowest - max(5, 0.35 * (100 - lowest))), 100.5)
    left.set_xscale("log")
    left.set_xticks(shown, [str(k) for k in shown])
    left.minorticks_off()
    left.set_xlim(0.9, 1.15 * len(ranking.cmc))
    _name(left, "CMC: a match among the first k", "rank k", "% of queries")
    precision = 100 * ranking.average_precision[ranking.matches > 0]
    right.hist(precision, bins=np.linspace(0, 100, 26).tolist(), color=BLUE, alpha=0.85)
    right.axvline(100 * ranking.mAP, color=INK, linewidth=1.4, linestyle="--")
    at_left = ranking.mAP > 0.5
    right.annotate(
        f"mAP {100 * ranking.mAP:.1f}",
        (100 * ranking.mAP, 0.94),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if at_left else 6, 0),
        textcoords="offset points",
        ha="right" if at_left else "left",
        fontsize=9.5,
        color=INK,
    )
    right.set_xlim(0, 100)
    _name(right, "Average precision of each query", "average precision, %", "queries")
    return made


def roc(verification: Verification, point: OperatingPoint) -> Figure:
    """Draw true over false positive rate (on a logarithmic axis), with the chosen threshold and the EER."""
    made, (axes,) = figure(5.4, 4)
    false, true = verification.fpr, verification.tpr
    least = 1 / verification.impostor_pairs
    shown = np.unique(np.geomspace(1, len(false), _MOST_POINTS).astype(np.int64)) - 1
    shown = np.union1d(shown, np.linspace(0, len(false) - 1, _MOST_POINTS).astype(np.int64))
    x, y = np.maximum(false[shown], least / 2), 100 * true[shown]
    axes.plot(x, y, color=BLUE, linewidth=2, drawstyle="steps-post", zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(least / 2, 1)
    axes.set_ylim(max(0, float(y[0]) - 5) if y[0] > 50 else 0, 101)
    axes.plot([verification.eer], [100 * (1 - verification.eer)], "s", color=SOFT, markersize=6, zorder=4)
    axes.annotate(
        f"EER {100 * verification.eer:.2f} %", (verification.eer, 100 * (1 - verification.eer)), xytext=(8, -12),
        textcoords="offset points", fontsize=9, color=SOFT,
    )  # fmt: skip
    at = max(point.measured_fpr, least / 2)
    axes.plot([at], [100 * point.tpr], "o", color=RED, markersize=8, zorder=5, clip_on=False)
    axes.axvline(at, color=RED, linewidth=1, linestyle=":", zorder=2)
    axes.annotate(
        f"similarity ≥ {point.threshold:.3f}\n{100 * point.tpr:.1f} % accepted", (at, 100 * point.tpr),
        xytext=(10, -34), textcoords="offset points", fontsize=9, color=RED,
    )  # fmt: skip
    _name(axes, "ROC: are two images one person?", "false positive rate", "true positive rate, %")
    return made


def similarities(verification: Verification, point: OperatingPoint) -> Figure:
    """Draw the similarities of same-person and of different-person pairs, with the chosen threshold."""
    made, (axes,) = figure(5.4, 4)
    borders, genuine, impostor = verification.histogram(int(np.clip(np.sqrt(verification.genuine_pairs), 24, 80)))
    for counts, colour, label in (
        (impostor, RED, f"different people ({verification.impostor_pairs:,} pairs)"),
        (genuine, GREEN, f"same person ({verification.genuine_pairs:,} pairs)"),
    ):
        percent = 100 * counts / max(1, counts.sum())
        axes.stairs(percent, borders, fill=True, color=colour, alpha=0.3)
        axes.stairs(percent, borders, color=colour, linewidth=1.5, label=label)
    axes.axvline(point.threshold, color=INK, linewidth=1.4, linestyle="--")
    axes.annotate(
        f"threshold {point.threshold:.3f}", (point.threshold, 0.74), xycoords=("data", "axes fraction"), rotation=90,
        xytext=(-4, 0), textcoords="offset points", ha="right", va="top", fontsize=9, color=INK,
    )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.margins(y=0.28)
    axes.legend(frameon=False, fontsize=9, loc="upper left", labelcolor=INK)
    low, high = axes.get_ylim()
    axes.set_ylim(low, 1.22 * high)
    kind = "cosine similarity" if verification.metric == "cosine" else "minus squared distance"
    _name(axes, "Similarity of pairs", kind, "% of pairs of its kind")
    return made

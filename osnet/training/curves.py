"""The training curves of a run as a picture."""

from __future__ import annotations

from typing import Any

from osnet.errors import DependencyError
from osnet.files import atomic_file
from osnet.training.run import CURVES, METRICS, Run

_PANELS = (
    ("loss", "loss", "step"),
    ("accuracy", "identity accuracy", "step"),
    ("learning_rate", "learning rate", "step"),
    ("mAP", "mAP and Rank-1, held out", "evaluation"),
)


def draw_curves(run: Run) -> None:
    """Publish ``curves.png``: loss, identity accuracy, learning rate and mAP over the optimizer steps.

    Raises:
        DependencyError: matplotlib is missing.
        DiskError: the folder cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            f'matplotlib cannot be imported ({error}), so there is no {CURVES}; pip install "osnet[eval]"; the '
            f"figures are in {METRICS}"
        ) from error
    lines = run.metrics()
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, title, kind) in zip(figure.subplots(2, 2).flat, _PANELS):
        _draw(axes, [line for line in lines if line.get("kind") == kind], key)
        axes.set_title(title)
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
    with atomic_file(run.root / CURVES) as private:
        figure.savefig(private, format="png", dpi=100)


def _draw(axes: Any, lines: list[dict[str, Any]], key: str) -> None:
    steps = [line["step"] for line in lines]
    marker = "o" if key == "mAP" else None
    axes.plot(steps, [line[key] for line in lines], marker=marker, label=key)
    if key == "mAP":
        axes.plot(steps, [line["rank1"] for line in lines], marker=marker, label="Rank-1")
        axes.set_ylim(0, 1)
        axes.legend()

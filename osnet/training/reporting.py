"""What a run reports: progress bar, ``metrics.jsonl`` and TensorBoard while it runs, ``curves.png`` at its end."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections import deque
from typing import Any

from osnet.errors import DependencyError
from osnet.escaping import printable
from osnet.files import atomic_file
from osnet.progress import Progress, write_line
from osnet.training.config import TrainConfig
from osnet.training.run import CURVES, METRICS, Run

_SPEED_STEPS = 20
_PANELS = (
    ("loss", "loss", "step"),
    ("accuracy", "identity accuracy", "step"),
    ("learning_rate", "learning rate", "step"),
    ("mAP", "mAP and Rank-1, held out", "evaluation"),
)


class Reporter:
    """Reports the steps and evaluations of one process; of several, only the first one reports.

    Args:
        run: whose metrics are written.
        config: of the run.
        total: optimizer steps of the whole run.
        done: of them, before this process began.
        speaks: whether this is the first process.

    Raises:
        DependencyError: ``tensorboard`` is set, and no package can write its files.
    """

    def __init__(self, run: Run, config: TrainConfig, *, total: int, done: int, speaks: bool) -> None:
        self._run, self._every, self._speaks = run, config.log_every, speaks
        self._done, self._total = done, total
        self._progress = Progress("training", "steps", show=None if speaks else False)
        self._board = summary_writer()(str(run.root / "tensorboard")) if config.tensorboard and speaks else None
        self._marks: deque[tuple[float, int]] = deque(maxlen=_SPEED_STEPS + 1)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """One line on stderr."""
        if self._speaks:
            write_line(printable(text))

    def compiling(self) -> None:
        """The next step takes long."""
        self._progress(self._done, self._total, "compiling the step, up to a minute")

    def epoch(self) -> None:
        """An epoch begins: what came between the steps does not count as training."""
        self._marks.clear()

    def step(
        self, number: int, epoch: int, *, images: int, loss: float, accuracy: float, norm: float, rate: float
    ) -> None:
        """An optimizer step is done: the run's `number`-th, on `images` images."""
        if not self._speaks:
            return
        self._marks.append((time.monotonic(), images + (self._marks[-1][1] if self._marks else 0)))
        (first, before), (last, now) = self._marks[0], self._marks[-1]
        speed = (now - before) / (last - first) if last > first else 0.0  # 0 at the first step, which may be compiled
        self._done = number
        shown = f"{speed:.1f} images/s" if speed else "compiled"
        note = f"loss {loss:.3f}, accuracy {accuracy:.2f}, rate {rate:.1e}, {shown}"
        self._progress(number, self._total, note)
        if number % self._every and number > 1:
            return
        scalars = {"loss": loss, "accuracy": accuracy, "gradient_norm": norm, "learning_rate": rate}
        if speed:
            scalars["images_per_second"] = round(speed, 2)
        self._write({"kind": "step", "step": number, "epoch": epoch, **scalars}, scalars)

    def evaluation(self, kind: str, step: int, epoch: int, ranking: Any, held_out: str) -> None:
        """The network was measured after `epoch` epochs; `kind` as in `osnet.training.cost`."""
        scalars = {"mAP": ranking.mAP, "rank1": ranking.rank1, "mINP": ranking.mINP}
        how = {"valid_queries": ranking.valid_queries, "protocol": ranking.protocol, "held_out": held_out}
        self._write({"kind": kind, "step": step, "epoch": epoch, **scalars, **how}, scalars)
        when = f"epoch {epoch}" if epoch else "before"
        self.say(f"{when}, {held_out}: mAP {ranking.mAP:.4f}, Rank-1 {ranking.rank1:.4f}")

    def _write(self, line: dict[str, Any], scalars: dict[str, float]) -> None:
        self._run.log(line)
        if self._board is not None:
            for name, value in scalars.items():
                self._board.add_scalar(name, value, line["step"])


def summary_writer() -> Any:
    """Return the class that writes TensorBoard's files.

    Raises:
        DependencyError: neither tensorboardX nor torch is installed.
    """
    for package, home in (("tensorboardX", "tensorboardX"), ("torch", "torch.utils.tensorboard")):
        if importlib.util.find_spec(package) is not None:
            return importlib.import_module(home).SummaryWriter
    raise DependencyError("tensorboard needs the package tensorboardX, not installed: pip install 'osnet[tensorboard]'")


def draw_curves(run: Run) -> None:
    """Write ``curves.png``: loss, identity accuracy, learning rate and mAP over the optimizer steps.

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
        shown = [line for line in lines if line.get("kind") == kind]
        steps = [line["step"] for line in shown]
        axes.plot(steps, [line[key] for line in shown], marker="o" if key == "mAP" else None, label=key)
        if key == "mAP":
            axes.plot(steps, [line["rank1"] for line in shown], marker="o", label="Rank-1")
            axes.set_ylim(0, 1)
            axes.legend()
        axes.set_title(title)
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
    with atomic_file(run.root / CURVES) as private:
        figure.savefig(private, format="png", dpi=100)

"""The training loop of one process: epochs, saves, evaluations, from the last save (or the start) to the end."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import mindspore

from osnet.checkpoint.weights import Weights
from osnet.data.records import Record
from osnet.errors import DependencyError, TrainingError, WeightsError
from osnet.image_files import unused
from osnet.models.load import NewClassifierWarning, create_model, network_from_weights, weights_of
from osnet.models.network import OSNet
from osnet.training.config import TrainConfig
from osnet.training.cost import HELD_OUT, OTHER, costs, measure, warn_if_blind, warn_if_fallen, warn_if_few
from osnet.training.dataset import TrainingImages, evaluation_protocol
from osnet.training.interrupt import Interrupt
from osnet.training.optimizer import learning_rate
from osnet.training.pipeline import Samples, batches, epoch_order
from osnet.training.ranks import Ranks, join_ranks
from osnet.training.reporting import Reporter, draw_curves
from osnet.training.run import Run
from osnet.training.state import Progress, mixed, read_state, restore, save_state
from osnet.training.step import Stepper, graph_mode
from osnet.variants import VARIANTS

__all__ = ["Loop", "join_ranks"]


class Loop:
    """One process of a run.

    Args:
        run: its folder.
        config: of the run.
        images: what it trains on and is measured by.
        ranks: the processes that train together.
        base: weights to start from, None for a fresh network; only needed at the start, or with ``start_fraction``.
    """

    def __init__(
        self, run: Run, config: TrainConfig, images: TrainingImages, ranks: Ranks, base: Weights | None
    ) -> None:
        self._run, self._config, self._images, self._ranks = run, config, images, ranks
        self._steps_per_epoch = len(self._order(0)) // config.accumulation
        self._saved: Weights | None = None
        self._progress = Progress()
        if run.last.is_file():
            self._saved, self._progress = read_state(run.last)
        self._saved_step = self._progress.step
        self._start: Weights | None = None
        if config.start_fraction and base is not None:
            self._start = base if config.keep_classifier else base.without_classifier()
        classes = images.classes if config.cross_entropy else 0
        self._network = _network(config, classes, self._saved or base, resumed=self._saved is not None)
        self._network.input_size = (config.height, config.width)
        ranks.take_first(list(self._network.get_parameters()))
        self._stepper: Any = None
        self._interrupt = Interrupt()

    def run(self) -> Run:
        """Train to the end, or until Ctrl-C, an error or `TrainConfig.patience`; errors as `osnet.train`."""
        config = self._config
        with ExitStack() as stack:
            stack.enter_context(graph_mode(config.compiled))
            if self._ranks.size == 1:  # msrun ends its processes itself
                stack.enter_context(self._interrupt.deferred())
            if self._ranks.rank == 0:
                stack.enter_context(self._run.locked())
                self._run.forget_after(self._progress.step)
            total, done = config.epochs * self._steps_per_epoch, self._progress.step
            self._reporter = stack.enter_context(
                Reporter(self._run, config, total=total, done=done, speaks=self._ranks.rank == 0)
            )
            for message in self._images.left_out:
                self._reporter.say(f"left out: {message}")
            if self._images.not_used:
                self._reporter.say(unused(self._images.not_used))
            if self._progress.step == 0 and config.model not in VARIANTS:
                self._ranks.first_alone(self._measure_start)
            while self._progress.epoch < config.epochs and not 0 < config.patience <= self._progress.bad:
                self._epoch(self._progress.epoch)
            if self._ranks.rank == 0:
                self._finish()
        return self._run

    def _order(self, epoch: int) -> Any:
        return epoch_order(self._images.labels, self._config, epoch=epoch, ranks=self._ranks.size)

    def _epoch(self, epoch: int) -> None:
        config, passes = self._config, self._progress.passes
        if self._stepper is None or (epoch == config.frozen_epochs and passes == 0):
            self._begin_stage(frozen=epoch < config.frozen_epochs)
        order = self._order(epoch)
        samples = Samples(self._images, config, order, epoch=epoch, rank=self._ranks.rank, first=passes)
        self._reporter.epoch()
        for group in _grouped(batches(samples, config), config.accumulation):
            rate = learning_rate(config, self._progress.step, self._steps_per_epoch)
            loss, accuracy, norm = self._stepper(group, rate)
            self._check_finite(loss, norm, rate)
            passes += config.accumulation
            step = self._progress.step + 1
            self._progress = dataclasses.replace(self._progress, step=step, passes=passes)
            images = config.batch_size * config.accumulation * self._ranks.size
            self._reporter.step(step, epoch, images=images, loss=loss, accuracy=accuracy, norm=norm, rate=rate)
            stop = self._interrupt.wanted
            if passes < len(order) and (stop or (config.save_every > 0 and step % config.save_every == 0)):
                self._save()
                if stop:
                    self._stop()
        if self._measures_after(epoch):  # which may fail, and must not cost the epoch
            self._save()
        self._progress = dataclasses.replace(self._progress, epoch=epoch + 1, passes=0)
        better = self._evaluate(epoch)
        stop = self._interrupt.wanted
        self._save(best=better)
        if stop and self._progress.epoch < config.epochs:
            self._stop()

    def _stop(self) -> None:
        self._reporter.say(f"saved; osnet train --resume {self._run.root} goes on from here")
        raise KeyboardInterrupt

    def _begin_stage(self, *, frozen: bool) -> None:
        self._stepper = Stepper(self._network, self._config, self._ranks, frozen_base=frozen)
        if self._config.compiled:
            self._reporter.compiling()
        first = self._progress.step in (0, self._config.frozen_epochs * self._steps_per_epoch)
        if self._saved is not None and not first:  # at the first step of a stage the optimizer has no state yet
            restore(self._network, self._stepper.optimizer.state(), self._saved)
        self._saved = None

    def _check_finite(self, loss: float, norm: float, rate: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {self._progress.step + 1}: the loss is {loss} and the gradient's norm {norm} at learning rate "
                f"{rate:g}; try a lower learning_rate, more warmup_epochs or a clip_norm; the checkpoint of step "
                f"{self._saved_step or 'none (nothing was saved yet)'} is kept in {str(self._run.root)!r}"
            )

    def _measures_after(self, epoch: int) -> bool:
        last, every = epoch + 1 == self._config.epochs, self._config.eval_every
        return bool(self._images.query) and (last or (every > 0 and (epoch + 1) % every == 0))

    def _measure_start(self) -> None:
        """Measure the starting weights, and warn of what the run may cost."""
        if any(line.get("step") == 0 for line in self._run.metrics()):
            return
        warn_if_few(self._config, self._images)
        before = self._measure_held_out(0) if self._images.query else None
        self._measure_other(0, self._result())
        warn_if_blind(self._config, self._images, before)

    def _result(self) -> Weights:
        """The weights that the run gives now."""
        trained = weights_of(self._network)
        if self._start is None or not self._progress.step:
            return trained
        return mixed(self._start, trained, self._config.start_fraction)

    def _measure_held_out(self, epoch: int) -> float:
        images = self._images
        return self._measure(
            HELD_OUT, epoch, self._result(), images.query, images.gallery, images.protocol, images.held_out
        )

    def _measure_other(self, epoch: int, weights: Weights) -> None:
        other = self._images.other
        if other is not None:
            query, gallery = other.split("query"), other.split("gallery")
            protocol = evaluation_protocol(query, gallery, other)
            self._measure(OTHER, epoch, weights, query, gallery, protocol, "other people")

    def _measure(
        self,
        kind: str,
        epoch: int,
        weights: Weights,
        query: tuple[Record, ...],
        gallery: tuple[Record, ...],
        protocol: str,
        held_out: str,
    ) -> float:
        """Measure and report; the mAP."""
        ranking = measure(weights.without_classifier(), query, gallery, protocol=protocol)
        self._reporter.evaluation(kind, self._progress.step, epoch, ranking, held_out)
        return ranking.mAP

    def _evaluate(self, epoch: int) -> bool:
        """Measure, if it is time to; whether the result is the best so far, or the last where nothing is held out."""
        if not self._measures_after(epoch):
            return not self._images.query and epoch + 1 == self._config.epochs
        before = best = self._progress
        mAP = self._ranks.first_alone(lambda: self._measure_held_out(epoch + 1))  # noqa: N806 - the field's name
        if mAP is not None:
            best = dataclasses.replace(before, best=max(before.best, mAP))
        better = self._ranks.any(best.best > before.best)
        self._progress = dataclasses.replace(
            best,
            best_epoch=epoch + 1 if better else before.best_epoch,
            bad=0 if better else before.bad + 1,
        )
        return better

    def _save(self, *, best: bool = False) -> None:
        if not self._ranks.agree(list(self._network.get_parameters())):
            raise TrainingError(
                f"step {self._progress.step}: the devices no longer have the same parameters; resume from the last save"
            )
        if self._ranks.rank == 0:
            rate = learning_rate(self._config, self._progress.step - 1, self._steps_per_epoch)
            state = (self._stepper.optimizer.state(), self._progress, rate)
            if best:
                save_state(self._run.best, self._result(), *state)
            save_state(self._run.last, weights_of(self._network), *state)
        self._saved_step = self._progress.step

    def _finish(self) -> None:
        measured = {line.get("kind") for line in self._run.metrics() if line.get("epoch", 0) > 0}
        if self._images.other is not None and OTHER not in measured:
            weights, progress = read_state(self._run.result)
            self._measure_other(progress.epoch, weights)
        found = costs(self._run)
        for cost in found:
            self._reporter.say(str(cost))
        warn_if_fallen(found)
        try:
            draw_curves(self._run)
        except DependencyError as error:
            warnings.warn(str(error), stacklevel=2)
        except Exception as error:  # noqa: BLE001 - matplotlib raises what it likes, and the run is whole without it
            warnings.warn(
                f"no curves.png: {type(error).__name__}: {error}; the figures are in metrics.jsonl", stacklevel=2
            )


def _network(config: TrainConfig, classes: int, weights: Weights | None, *, resumed: bool) -> OSNet:
    """The network to be trained; what is fresh in it depends on the seed alone."""
    mindspore.set_seed(config.seed)
    if weights is None:
        return create_model(config.model, classes)
    if not config.keep_classifier and not resumed:
        weights = weights.without_classifier()
    elif weights.num_classes != classes:
        raise WeightsError(
            f"keep_classifier: expected a classifier for {classes} identities, got {weights.num_classes or 'none'} in "
            f"{weights.source}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NewClassifierWarning)
        return network_from_weights(weights, classes)


def _grouped(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []

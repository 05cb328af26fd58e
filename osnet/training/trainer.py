"""`train`: from a configuration to a run folder, and on from wherever a run stopped."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from osnet.checkpoint.weights import Weights
from osnet.errors import DataError, DependencyError, OptionError, TrainingError, WeightsError
from osnet.image_files import unused
from osnet.inference.images import prepare
from osnet.models.load import (
    NewClassifierWarning,
    create_model,
    network_from_weights,
    read_weights,
    require_mindspore,
    weights_of,
)
from osnet.training.config import TrainConfig
from osnet.training.cost import HELD_OUT, OTHER, costs, warn_if_blind, warn_if_fallen
from osnet.training.dataset import TrainingImages, evaluation_protocol, find_images
from osnet.training.interrupt import Interrupt
from osnet.training.optimizer import learning_rate
from osnet.training.pipeline import Augmentation, epoch_order
from osnet.training.reporting import Reporter, draw_curves, summary_writer
from osnet.training.run import Run
from osnet.variants import VARIANTS

logger = logging.getLogger("osnet")


def train(config: TrainConfig, out: str | os.PathLike[str]) -> Run:
    """Train a network as `config` says, into the new folder `out`.

    A kill at any moment loses at most the work since the last save; `resume` goes on from there with the same samples
    in the same order. Started by ``msrun``, all its processes train together and rank 0 writes.

    Raises:
        OptionError, DataError, WeightsError, DependencyError: what cannot work, before the first step.
        TrainingError: the loss is no longer finite; the last good checkpoint is kept.
        DiskError: the folder cannot be written or the disk is full; the last good checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after the step at hand was done and saved.
    """
    require_mindspore()
    Run.refuse_taken(out)
    images = find_images(config)
    base = _base_weights(config)
    _check_base(config, base)
    from osnet.training.ranks import join_ranks

    ranks = join_ranks()
    epoch_order(images.labels, config, epoch=0, ranks=ranks.size)  # says now what cannot be filled
    if config.tensorboard:
        summary_writer()
    origin = {
        "data": Path(config.data).name,
        "layout": images.name,
        "images": len(images.paths),
        "identities": images.classes,
        "fingerprint": images.fingerprint,
        "held_out": images.held_out,
        "left_out": len(images.left_out),
        "base": _base_name(config, base),
        "base_sha256": base.sha256 if base else None,
        "ranks": ranks.size,
    }
    if ranks.rank == 0:
        Run.create(out, config, origin)
    ranks.any(False)  # the others wait for the folder
    return _Training(Run.open(out), config, images, ranks, base).run()


def resume(out: str | os.PathLike[str]) -> Run:
    """Go on with the run in `out` from its last save; a finished run is left as it is.

    Raises:
        OptionError: no run there.
        DataError: the data set is not the one that the run began with, or another number of devices.
        and those of `train`.
    """
    require_mindspore()
    run = Run.open(out)
    config, origin = run.config, run.origin
    images = find_images(config)
    if images.fingerprint != origin["fingerprint"]:
        raise DataError(
            f"{config.data!r} is not the data set that {str(out)!r} began with: its files or identities changed; "
            "bring it back, or start a new run from last.ckpt"
        )
    from osnet.training.ranks import join_ranks

    ranks = join_ranks()
    if ranks.size != origin["ranks"]:
        raise DataError(f"{str(out)!r} was trained by {origin['ranks']} process(es), now there are {ranks.size}")
    if config.tensorboard:
        summary_writer()
    base = None if run.last.is_file() and not config.start_fraction else _base_weights(config)
    if base is not None and base.sha256 != origin["base_sha256"]:
        raise DataError(
            f"{config.model!r} is not the file that {str(out)!r} began with: SHA-256 expected "
            f"{origin['base_sha256']}, got {base.sha256}; bring it back, or start a new run"
        )
    return _Training(run, config, images, ranks, base).run()


def _base_weights(config: TrainConfig) -> Weights | None:
    """The weights to start from; None for a fresh network."""
    base = None if config.model in VARIANTS else read_weights(config.model)
    found = base.variant.name if base else config.model
    if config.network and found != config.network:
        raise WeightsError(f"network: expected {config.network}, got {found} from {config.model!r}; name another model")
    return base


def _check_base(config: TrainConfig, base: Weights | None) -> None:
    """Refuse a base that the settings do not fit."""
    if base is None and config.start_fraction:
        raise OptionError(f"start_fraction: expected weights to start from, got the fresh network {config.model!r}")
    if base is not None and base.folded and not config.freeze_norm:
        raise WeightsError(
            f"{config.model}: batch norm was folded into the convolutions, and a training step would ruin it: set "
            "freeze_norm to true (--set freeze_norm=true), or start from a file that is not folded"
        )


def _base_name(config: TrainConfig, base: Weights | None) -> str:
    return Path(config.model).name if base is not None else f"{config.model}, fresh weights"


class _Training:
    """One process of a run, from its last save (or the start) to the end."""

    def __init__(self, run: Run, config: TrainConfig, images: TrainingImages, ranks: Any, base: Weights | None) -> None:
        from osnet.training.state import Progress, read_state

        self._run, self._config, self._images, self._ranks = run, config, images, ranks
        self._steps_per_epoch = self._order(0).shape[0] // config.accumulation
        self._saved: Weights | None = None
        self._progress = Progress()
        if run.last.is_file():
            self._saved, self._progress = read_state(run.last)
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
        from osnet.training.step import graph_mode

        with ExitStack() as stack:
            stack.enter_context(graph_mode(self._config.compiled))
            if self._ranks.size == 1:  # msrun ends its processes itself
                stack.enter_context(self._interrupt.deferred())
            if self._ranks.rank == 0:
                stack.enter_context(self._run.locked())
                self._run.forget_after(self._progress.step)
            self._reporter = stack.enter_context(
                Reporter(
                    self._run,
                    self._config,
                    total=self._config.epochs * self._steps_per_epoch,
                    done=self._progress.step,
                    speaks=self._ranks.rank == 0,
                )
            )
            for message in self._images.left_out:
                self._reporter.say(f"left out: {message}")
            if self._images.not_used:
                self._reporter.say(unused(self._images.not_used))
            if self._progress.step == 0 and self._config.model not in VARIANTS:
                self._measure_start()
            while self._progress.epoch < self._config.epochs and not self._enough():
                self._epoch(self._progress.epoch)
            self._finish()
        return self._run

    def _enough(self) -> bool:
        return bool(self._config.patience) and self._progress.bad >= self._config.patience

    def _order(self, epoch: int) -> Any:
        return epoch_order(self._images.labels, self._config, epoch=epoch, ranks=self._ranks.size)

    def _epoch(self, epoch: int) -> None:
        config, before = self._config, self._progress
        frozen = epoch < config.frozen_epochs
        if self._stepper is None or (epoch == config.frozen_epochs and before.passes == 0):
            self._begin_stage(frozen)
        order = self._order(epoch)
        self._reporter.epoch()
        passes = before.passes
        for batches in _grouped(self._batches(epoch, order, passes), config.accumulation):
            self._interrupt.arm()
            rate = learning_rate(config, self._progress.step, self._steps_per_epoch)
            loss, accuracy, norm = self._stepper(batches, rate)
            self._check_finite(loss, norm, rate)
            passes += config.accumulation
            self._progress = dataclasses.replace(self._progress, step=self._progress.step + 1, passes=passes)
            images = config.batch_size * config.accumulation * self._ranks.size
            self._reporter.step(
                self._progress.step, epoch, images=images, loss=loss, accuracy=accuracy, norm=norm, rate=rate
            )
            stop = self._interrupt.wanted
            due = config.save_every > 0 and self._progress.step % config.save_every == 0
            if passes < order.shape[0] and (due or stop):
                self._save(rate)
                if stop:
                    self._stop()
        if self._measures_after(epoch):  # which may fail, and must not cost the epoch
            self._save(learning_rate(config, self._progress.step - 1, self._steps_per_epoch))
        self._progress = dataclasses.replace(self._progress, epoch=epoch + 1, passes=0)
        better = self._evaluate(epoch)
        stop = self._interrupt.wanted
        self._save(learning_rate(config, self._progress.step - 1, self._steps_per_epoch), best=better)
        if stop and self._progress.epoch < config.epochs:
            self._stop()

    def _stop(self) -> None:
        self._reporter.say(f"saved; osnet train --resume {self._run.root} goes on from here")
        raise KeyboardInterrupt

    def _begin_stage(self, frozen: bool) -> None:
        from osnet.training.state import restore
        from osnet.training.step import Stepper

        self._stepper = Stepper(self._network, self._config, self._ranks, frozen_base=frozen)
        if self._config.compiled:
            self._reporter.compiling()
        # A stage that begins here has an optimizer without a past.
        first = self._progress.step in (0, self._config.frozen_epochs * self._steps_per_epoch)
        if self._saved is not None and not first:
            restore(self._network, self._stepper.optimizer.state(), self._saved)
        self._saved = None

    def _batches(self, epoch: int, order: Any, first: int) -> Iterator[Any]:
        from osnet.training.pipeline import Samples, batches

        config = self._config
        samples = Samples(
            self._images.paths,
            self._images.labels,
            order,
            load=partial(prepare, height=config.height, width=config.width),
            augmentation=Augmentation(config.flip, config.crop_padding, config.color_jitter, config.erasing),
            seed=config.seed,
            epoch=epoch,
            rank=self._ranks.rank,
            first=first,
        )
        if not len(samples):
            return iter(())
        return batches(samples, workers=config.workers, started=self._interrupt.arm)

    def _check_finite(self, loss: float, norm: float, rate: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        kept = f"the checkpoint of step {self._saved_step()} is kept in {str(self._run.root)!r}"
        raise TrainingError(
            f"step {self._progress.step + 1}: the loss is {loss} and the gradient's norm {norm} at learning rate "
            f"{rate:g}; try a lower learning_rate, more warmup_epochs or a clip_norm; {kept}"
        )

    def _saved_step(self) -> str:
        from osnet.training.state import read_state

        return str(read_state(self._run.last)[1].step) if self._run.last.is_file() else "none (nothing was saved yet)"

    def _measures_after(self, epoch: int) -> bool:
        config = self._config
        last = epoch + 1 == config.epochs
        due = last or (config.eval_every > 0 and (epoch + 1) % config.eval_every == 0)
        return due and bool(self._images.query)

    def _measure_start(self) -> None:
        """Measure the starting weights, and warn when that cannot be compared with anything."""
        if self._ranks.rank != 0 or any(line.get("step") == 0 for line in self._run.metrics()):
            return
        before = self._measure_held_out(0) if self._images.query else None
        self._measure_other(0)
        warn_if_blind(self._config, self._images, before)

    def _result(self) -> Weights:
        """The weights that the run gives now."""
        from osnet.training.state import mixed

        trained = weights_of(self._network)
        if self._start is None or not self._progress.step:
            return trained
        return mixed(self._start, trained, self._config.start_fraction)

    def _measure_held_out(self, epoch: int) -> float:
        images = self._images
        ranking = self._measured(self._result(), images.query, images.gallery, images.protocol)
        self._reporter.evaluation(HELD_OUT, self._progress.step, epoch, ranking, images.held_out)
        return float(ranking.mAP)

    def _measure_other(self, epoch: int, weights: Weights | None = None) -> None:
        other = self._images.other
        if other is None:
            return
        query, gallery = other.split("query"), other.split("gallery")
        protocol = evaluation_protocol(query, gallery, other)
        ranking = self._measured(weights or self._result(), query, gallery, protocol)
        self._reporter.evaluation(OTHER, self._progress.step, epoch, ranking, "other people")

    def _measured(self, weights: Weights, query: Any, gallery: Any, protocol: str) -> Any:
        from osnet.training.cost import measure

        return measure(weights.without_classifier(), query, gallery, protocol=protocol)

    def _evaluate(self, epoch: int) -> bool:
        """Measure, if it is time to; whether the result is the best so far, or the last where nothing is held out."""
        if not self._measures_after(epoch):
            return not self._images.query and epoch + 1 == self._config.epochs
        best, bad = self._progress.best, self._progress.bad
        if self._ranks.rank == 0:
            best = max(best, self._measure_held_out(epoch + 1))
        better = bool(self._ranks.any(best > self._progress.best))
        self._progress = dataclasses.replace(
            self._progress,
            best=best,
            best_epoch=epoch + 1 if better else self._progress.best_epoch,
            bad=0 if better else bad + 1,
        )
        return better

    def _save(self, rate: float, *, best: bool = False) -> None:
        from osnet.training.state import save_state

        if not self._ranks.agree(list(self._network.get_parameters())):
            raise TrainingError(
                f"step {self._progress.step}: the devices no longer have the same parameters; resume from the last save"
            )
        if self._ranks.rank != 0:
            return
        state = (self._stepper.optimizer.state(), self._progress, rate)
        if best:
            save_state(self._run.best, self._result(), *state)
        save_state(self._run.last, weights_of(self._network), *state)

    def _finish(self) -> None:
        if self._ranks.rank != 0:
            return
        from osnet.training.state import read_state

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


def _network(config: TrainConfig, classes: int, weights: Weights | None, *, resumed: bool) -> Any:
    """The network to be trained; what is fresh in it depends on the seed alone."""
    import mindspore

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

"""`train` and `resume`: everything is checked before the first step, then `osnet.training.loop` runs."""

from __future__ import annotations

import os
from pathlib import Path

from osnet.checkpoint.weights import Weights
from osnet.errors import DataError, OptionError, WeightsError
from osnet.models.load import read_weights, require_mindspore
from osnet.training.config import TrainConfig
from osnet.training.dataset import find_images
from osnet.training.pipeline import epoch_order
from osnet.training.reporting import summary_writer
from osnet.training.run import Run
from osnet.variants import VARIANTS


def train(config: TrainConfig, out: str | os.PathLike[str]) -> Run:
    """Train a network as `config` says, into the new folder `out`.

    A kill at any moment loses at most the work since the last save; `resume` continues from there with the same samples
    in the same order. Started by ``msrun``, all its processes train together and rank 0 writes.

    Args:
        config: data, model, losses, schedule and the rest.
        out: folder of the run; must be new or empty.

    Returns:
        The finished `Run`: paths of its checkpoints, and its metrics.

    Raises:
        OptionError, DataError, WeightsError, DependencyError: the run cannot work; raised before the first step.
        TrainingError: the loss is no longer finite; the last good checkpoint is kept.
        DiskError: the folder cannot be written or the disk is full; the last good checkpoint is kept.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the current step was done and saved.
    """
    require_mindspore()
    Run.refuse_taken(out)
    images = find_images(config)
    base = _base_weights(config)
    _check_base(config, base)
    from osnet.training.loop import Loop, join_ranks

    ranks = join_ranks()
    epoch_order(images.labels, config, epoch=0, ranks=ranks.size)  # an error now if no batch can be filled
    if config.tensorboard:
        summary_writer()
    origin = {
        "data": Path(config.data).name,
        "layout": images.name,
        "images": len(images.train),
        "identities": images.classes,
        "fingerprint": images.fingerprint,
        "held_out": images.held_out,
        "left_out": len(images.left_out),
        "base": Path(config.model).name if base else f"{config.model}, fresh weights",
        "base_sha256": base.sha256 if base else None,
        "ranks": ranks.size,
    }
    if ranks.rank == 0:
        Run.create(out, config, origin)
    ranks.any(False)  # the others wait for the folder
    return Loop(Run.open(out), config, images, ranks, base).run()


def resume(out: str | os.PathLike[str]) -> Run:
    """Continue the run in `out` from its last save; a finished run is left as it is.

    Args:
        out: folder of the run.

    Returns:
        The run.

    Args:
        out: folder of a run.

    Returns:
        The finished `Run`.

    Raises:
        OptionError: there is no run in `out`.
        DataError: the data set, the base checkpoint or the number of processes is not the one that the run began with.
        Errors of `train`.
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
    from osnet.training.loop import Loop, join_ranks

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
    return Loop(run, config, images, ranks, base).run()


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

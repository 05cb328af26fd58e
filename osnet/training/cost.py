"""The cost of fine-tuning: mAP before and after, on held-out people and on those of another data set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osnet.checkpoint.weights import Weights
from osnet.data.records import Record, cameras, persons
from osnet.evaluation.ranking import Ranking, rank
from osnet.inference.embedder import Embedder
from osnet.inference.prefetch import prefetch
from osnet.training.config import TrainConfig
from osnet.training.dataset import TrainingImages
from osnet.training.pipeline import crop
from osnet.training.run import Run

HELD_OUT, OTHER = "evaluation", "other_evaluation"
"""Kinds of lines in ``metrics.jsonl``; those before the run have the epoch 0."""

_BATCH = 32
_SATURATED = 0.99
_NOISE = 0.001
_FEW, _HIGH_RATE = 100, 1e-3  # 42 people lost most at the default 3e-3, 256 gained
_FEW_PEOPLE = "take the settings of few-people.yaml (docs/fine-tune.md, few people)"
_KEEP_MORE = f"to keep more, set start_fraction to 0.5, train fewer epochs, or {_FEW_PEOPLE}"


class CostWarning(UserWarning):
    """Fine-tuning made features worse, or nothing can tell whether it did."""


@dataclass(frozen=True)
class Cost:
    """mAP of some people before and after a run.

    Attributes:
        people: ``held-out people`` or ``people of <other data set>``.
        before, after: mAP of the starting weights and of the result.
        epoch: after which the result was measured.
    """

    people: str
    before: float
    after: float
    epoch: int

    def __str__(self) -> str:
        return f"{self.people}: mAP {self.before:.4f} before, {self.after:.4f} after epoch {self.epoch}"


def costs(run: Run) -> list[Cost]:
    """What the finished `run` cost, as far as it was measured."""
    found = []
    for kind, people in ((HELD_OUT, "held-out people"), (OTHER, f"people of {Path(run.config.other_data).name}")):
        lines = [line for line in run.metrics() if line.get("kind") == kind]
        before = [line for line in lines if line["epoch"] == 0]
        after = [line for line in lines if line["epoch"] > 0]
        if before and after:
            best = max(after, key=lambda line: float(line["mAP"]))
            found.append(Cost(people, before[0]["mAP"], best["mAP"], best["epoch"]))
    return found


def warn_if_few(config: TrainConfig, images: TrainingImages) -> None:
    """Warn when the people are few and the learning rate is one for hundreds: the result is then worse on others."""
    if images.classes < _FEW and config.learning_rate >= _HIGH_RATE:
        warnings.warn(
            f"learning_rate {config.learning_rate:g} is for hundreds of people, and {images.classes} are few: features "
            f"of other people may become worse; {_FEW_PEOPLE}",
            CostWarning,
            stacklevel=3,
        )


def warn_if_blind(config: TrainConfig, images: TrainingImages, before: float | None) -> None:
    """Warn when the figures of this run will not show what it costs.

    Args:
        before: mAP of the starting weights on the held-out people, if there are any.
    """
    if config.other_data:
        return
    if not images.query:
        reason = "no people are held out: set val_identities, or"
    elif before is not None and before > _SATURATED:
        reason = f"the held-out people are too easy (mAP {before:.3f} before training): set"
    else:
        return
    warnings.warn(
        f"nothing will show what this run costs, since {reason} other_data to a data set of other people and cameras",
        CostWarning,
        stacklevel=3,
    )


def warn_if_fallen(found: list[Cost]) -> None:
    """Warn about each figure that is lower after the run than before."""
    for cost in found:
        if cost.before - cost.after > _NOISE:
            warnings.warn(f"features became worse for {cost}; {_KEEP_MORE}", CostWarning, stacklevel=3)


def measure(weights: Weights, query: Sequence[Record], gallery: Sequence[Record], *, protocol: str) -> Ranking:
    """mAP and CMC by cosine distance, in fp32, of images at the input size of `weights`.

    Raises:
        ImageError: a file that cannot be read as an image.
        DependencyError: OpenVINO is missing.
        Errors of `osnet.rank`.
    """
    embedder = Embedder(weights, precision="fp32", batch_size=_BATCH)
    crops = prefetch(lambda record: crop(record, embedder.size), (*query, *gallery))
    features = np.concatenate(list(embedder.stream(crops)))
    return rank(
        features[: len(query)],
        features[len(query) :],
        query_ids=persons(query),
        gallery_ids=persons(gallery),
        query_cameras=cameras(query),
        gallery_cameras=cameras(gallery),
        protocol=protocol,
    )

"""The configuration of a training run: one frozen record from YAML and flags, checked before anything starts."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from osnet.checks import check_bool, check_choice, check_integer, check_number
from osnet.errors import OptionError
from osnet.files import atomic_write, open_regular
from osnet.variants import check_size
from osnet.yaml_files import MAX_BYTES, decode, kind, read_yaml

SAMPLERS = ("random", "pk")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "multistep")


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of one training run. Sizes are in pixels, epochs are counted from 0.

    Attributes:
        data: folder or table of the data set (`osnet.data.load.load_records`).
        dataset: its layout, or ``auto``.
        model: where to start: a model reference, or the name of a network for fresh weights.
        network: if given, the network that `model` must be; a checkpoint of another one is refused.
        keep_classifier: keep the checkpoint's classifier; only for the same identities that it was trained on.
        height, width: input size, multiples of 16.
        epochs: passes over the sampler's order.
        batch_size: images on each device for one forward pass.
        accumulation: forward passes whose gradients are averaged for one optimizer step.
        sampler: ``random``, or ``pk``: each batch holds ``batch_size / images_per_identity`` identities.
        images_per_identity: K of ``pk``.
        cross_entropy, triplet, circle, supervised_contrastive: weights of the losses; 0 leaves one out. Without cross
            entropy the network has no classifier.
        label_smoothing: fraction of the target spread over all identities, from 0 to below 1.
        triplet_margin: margin of the batch-hard triplet loss; None is the soft margin, ln(1 + exp(d)).
        circle_margin, circle_scale: m and gamma of the circle loss.
        contrastive_temperature: of the supervised contrastive loss.
        optimizer: ``adam`` (weight decay added to the gradient), ``adamw`` (decoupled) or ``sgd`` (Nesterov momentum).
        learning_rate, weight_decay, beta1, beta2, epsilon, momentum: of the optimizer. Only weights of convolutions
            and dense layers decay.
        clip_norm: largest global norm of the gradient; 0 never clips.
        schedule: ``constant``, ``cosine`` or ``multistep``, after the warm-up.
        warmup_epochs: epochs of linear warm-up, from a hundredth of the learning rate.
        milestones, decay: ``multistep`` multiplies the learning rate by `decay` at each of these epochs.
        final_fraction: fraction of the learning rate that ``cosine`` ends at.
        frozen_epochs: first epochs that train the classifier alone, the base frozen in inference mode (the two-stage
            recipe of the OSNet papers). The optimizer state is reset when the base is unfrozen.
        frozen_learning_rate: constant learning rate of those epochs.
        freeze_norm: batch norm keeps its statistics; its gain and shift are trained. Needed to train from weights
            whose batch norm is folded. Use a much lower learning rate with it, such as 3.5e-5.
        start_fraction: fraction of the starting weights in the result, from 0 to below 1. What is evaluated and saved
            as ``best.ckpt`` is ``start_fraction * start + (1 - start_fraction) * trained`` (weight-space ensembling,
            Wortsman et al., CVPR 2022), which keeps more of the accuracy of the start. Training itself is unchanged.
        flip: probability of a mirror image.
        crop_padding: zero pixels around the image before a crop of its size is cut; 0 for none.
        color_jitter: largest relative change of brightness, contrast and saturation, 0 to below 1.
        erasing: probability of random erasing (Zhong et al., AAAI 2020).
        eval_every: epochs between evaluations; 0 evaluates only after the last epoch.
        val_identities: number of training identities held out for evaluation; 0 evaluates on the data set's query and
            gallery.
        other_data: another data set. Its query and gallery are evaluated before and after the run, to show how accuracy
            changes on people and cameras outside the training data. Never used to choose a checkpoint.
        patience: number of evaluations without a better mAP before the run stops; 0 never stops early.
        save_every: optimizer steps between saves within an epoch; 0 saves at the end of each epoch.
        log_every: optimizer steps between lines of ``metrics.jsonl``.
        seed: random seed of the weights, the samples and their augmentation.
        workers: threads that read and augment images.
        tensorboard: also write TensorBoard event files.
        compiled: compile the step, which takes tens of seconds; steps that are not compiled are slower.
    """

    data: str = ""
    dataset: str = "auto"
    model: str = "osnet"
    network: str = ""
    keep_classifier: bool = False
    height: int = 256
    width: int = 128
    epochs: int = 60
    batch_size: int = 64
    accumulation: int = 1
    sampler: str = "pk"
    images_per_identity: int = 4
    cross_entropy: float = 1.0
    triplet: float = 0.0
    circle: float = 0.0
    supervised_contrastive: float = 1.0
    label_smoothing: float = 0.1
    triplet_margin: Union[float, None] = 0.3
    circle_margin: float = 0.25
    circle_scale: float = 64.0
    contrastive_temperature: float = 0.1
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.9
    clip_norm: float = 10.0
    schedule: str = "cosine"
    warmup_epochs: float = 0.2
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    final_fraction: float = 0.01
    frozen_epochs: int = 0
    frozen_learning_rate: float = 1e-3
    freeze_norm: bool = False
    start_fraction: float = 0.0
    flip: float = 0.5
    crop_padding: int = 10
    color_jitter: float = 0.0
    erasing: float = 0.0
    eval_every: int = 1
    val_identities: int = 0
    other_data: str = ""
    patience: int = 0
    save_every: int = 0
    log_every: int = 10
    seed: int = 0
    workers: int = 2
    tensorboard: bool = False
    compiled: bool = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name), field.default))
        _check(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build a configuration from keys and values. Keys of version 0.1 that were renamed give a DeprecationWarning.

        Raises:
            OptionError: an unknown key (the message lists all), or a value of the wrong type or out of range.
        """
        values = _renamed(values)
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [str(key) for key in values if key not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise OptionError(f"unknown key(s) {', '.join(unknown):.200}{hint}. Known: {', '.join(known)}")
        return cls(**values)

    def replace(self, **changes: Any) -> TrainConfig:
        """Copy the configuration with `changes`; errors as `from_mapping`."""
        return type(self).from_mapping({**dataclasses.asdict(self), **_renamed(changes)})

    def to_yaml(self) -> str:
        """Every key as YAML; `read_config` reads it back."""
        import yaml

        values = {**dataclasses.asdict(self), "milestones": list(self.milestones)}
        return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_yaml` to `path`."""
        atomic_write(path, self.to_yaml().encode())


_init = TrainConfig.__init__


@functools.wraps(_init)
def _init_with_old_names(self: TrainConfig, *values: Any, **named: Any) -> None:
    _init(self, *values, **_renamed(named))


TrainConfig.__init__ = _init_with_old_names  # type: ignore[method-assign]


def read_config(path: str | os.PathLike[str], **changes: Any) -> TrainConfig:
    """Read the configuration from the YAML file `path`; `changes` replace its values.

    Raises:
        OptionError: no such file, not YAML, not a mapping, or refused by `TrainConfig.from_mapping`.
    """
    name = os.fspath(path)
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"cannot read the configuration {name!r}: {reason}; expected a YAML file") from error
    values = read_yaml(decode(data, name, error=OptionError), name, error=OptionError)
    if not isinstance(values, dict):
        raise OptionError(f"{name!r}: expected 'key: value' lines, got {kind(values)}")
    try:
        return TrainConfig.from_mapping({**_renamed(values), **_renamed(changes)})
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None


_CHOICES = {"sampler": SAMPLERS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
_LARGEST = 2**31 - 1
_NOT_NEGATIVE = (
    "frozen_epochs", "crop_padding", "eval_every", "val_identities", "patience", "save_every", "seed", "weight_decay",
    "clip_norm", "warmup_epochs", "cross_entropy", "triplet", "circle", "supervised_contrastive",
)  # fmt: skip
_POSITIVE = ("learning_rate", "frozen_learning_rate", "epsilon", "circle_scale", "contrastive_temperature")
_BELOW_ONE = ("start_fraction", "label_smoothing", "color_jitter", "beta1", "beta2", "momentum")
_BOUNDS: dict[str, dict[str, float]] = {
    **{name: {"least": 1} for name in ("epochs", "batch_size", "accumulation", "log_every", "workers")},
    **{name: {"least": 0} for name in _NOT_NEGATIVE},
    **{name: {"above": 0} for name in _POSITIVE},
    **{name: {"least": 0, "below": 1} for name in _BELOW_ONE},
    **{name: {"least": 0, "most": 1} for name in ("flip", "erasing", "final_fraction")},
}
_OLD_NAMES = {
    "contrastive": "supervised_contrastive", "start_share": "start_fraction", "final_share": "final_fraction",
}  # fmt: skip


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` under the names of this version."""
    found = dict(values)
    if found.pop("precision", "fp32") != "fp32":
        raise OptionError(
            f"precision: expected fp32 (training is always in fp32), got {values['precision']!r:.80}; remove the key"
        )
    for old, new in _OLD_NAMES.items():
        if old in found:
            warnings.warn(f"the key {old} is now called {new}", DeprecationWarning, stacklevel=3)
            if new in found:
                raise OptionError(f"{new}: expected one value, got two, one under the old name {old}; remove {old}")
            found[new] = found.pop(old)
    return found


def _checked(name: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`; YAML reads 1e-3 as text."""
    bounds: dict[str, Any] = _BOUNDS.get(name, {})
    if name == "milestones":
        if not isinstance(value, (list, tuple)):
            raise OptionError(f"milestones: expected a list of epochs, got {value!r:.80}")
        return tuple(check_integer("milestones", epoch, least=0, most=_LARGEST) for epoch in value)
    if name == "triplet_margin" and (value is None or value == "soft"):
        return None
    if name in _CHOICES:
        return check_choice(name, value, _CHOICES[name])
    if isinstance(default, bool):
        return check_bool(name, value)
    if isinstance(default, str):
        if not isinstance(value, (str, os.PathLike)):
            raise OptionError(f"{name}: expected text, got {value!r:.80}")
        return os.fspath(value)
    if isinstance(default, int):
        return check_integer(name, value, **{"most": _LARGEST, **bounds})
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    return check_number(name, value, **bounds)


def _check(c: TrainConfig) -> None:
    """Refuse values that do not fit each other."""
    check_size((c.height, c.width), "input")
    if c.batch_size < 2:
        raise OptionError("batch_size: expected at least 2, since batch norm needs several images, got 1")
    of_pairs = c.triplet + c.circle + c.supervised_contrastive
    if not c.cross_entropy + of_pairs > 0:
        raise OptionError(
            "no loss: expected a weight above 0 for cross_entropy, triplet, circle or supervised_contrastive, got "
            "0 for all"
        )
    if c.keep_classifier and not c.cross_entropy:
        raise OptionError("keep_classifier needs a classifier: expected a cross_entropy weight above 0, got 0")
    if c.sampler == "pk" and (c.images_per_identity < 2 or c.batch_size % c.images_per_identity):
        raise OptionError(
            "images_per_identity: expected at least 2 and a divisor of batch_size "
            f"({c.batch_size}), got {c.images_per_identity}"
        )
    if c.sampler == "pk" and c.batch_size < 2 * c.images_per_identity:
        raise OptionError(
            f"batch_size: expected at least two identities of images_per_identity ({c.images_per_identity}) images, "
            f"got {c.batch_size}"
        )
    if c.sampler == "random" and of_pairs > 0:
        raise OptionError(
            "triplet, circle and supervised_contrastive need several images of an identity in a batch: set sampler "
            "to pk"
        )
    if c.frozen_epochs and not c.cross_entropy:
        raise OptionError("frozen_epochs trains the classifier alone: expected a cross_entropy weight above 0, got 0")
    if c.frozen_epochs >= c.epochs:
        raise OptionError(f"frozen_epochs: expected fewer than epochs ({c.epochs}), got {c.frozen_epochs}")
    if c.warmup_epochs + c.frozen_epochs > c.epochs:
        raise OptionError(f"warmup_epochs and frozen_epochs together are more than epochs ({c.epochs})")

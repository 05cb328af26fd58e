"""Everything that decides a training run, as one frozen record: from YAML and flags, checked before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from osnet.checks import check_integer
from osnet.errors import OptionError
from osnet.files import atomic_write, open_regular
from osnet.yaml_files import MAX_BYTES, decode, kind, read_yaml

SAMPLERS = ("random", "pk")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "multistep")
PRECISIONS = ("fp32", "mixed")
STRIDE = 16


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Sizes in pixels, rates for one optimizer step, epochs counted from 0.

    Attributes:
        data: folder or table of the data set (`osnet.data.load.load_records`).
        dataset: its layout, or ``auto``.
        model: where to start: a model reference, or the name of a network for fresh weights.
        network: if given, the network that `model` must be; a checkpoint of another is refused.
        keep_classifier: start with the checkpoint's classifier: only for the very identities it was trained on.
        height, width: input size, multiples of 16.
        epochs: passes over the sampler's order.
        batch_size: images on each device for one forward pass.
        accumulation: forward passes whose gradients are averaged for one optimizer step.
        sampler: ``random``, or ``pk``: each batch holds ``batch_size / images_per_identity`` identities.
        images_per_identity: K of ``pk``.
        cross_entropy, triplet, circle, contrastive: weights of the losses; 0 leaves one out. Without cross entropy the
            network has no classifier.
        label_smoothing: share of the target spread over all identities, 0 to below 1.
        triplet_margin: margin of the batch-hard triplet loss; None is the soft margin, ln(1 + exp(d)).
        circle_margin, circle_scale: m and gamma of the circle loss.
        contrastive_temperature: of the supervised contrastive loss.
        optimizer: ``adam`` (decay added to the gradient), ``adamw`` (decoupled) or ``sgd`` (Nesterov momentum).
        learning_rate, weight_decay, beta1, beta2, epsilon, momentum: of the optimizer. Only weights of convolutions
            and dense layers decay.
        clip_norm: largest global norm of the gradient; 0 never clips.
        schedule: ``constant``, ``cosine`` or ``multistep``, after the warm-up.
        warmup_epochs: epochs in which the rate rises in a line from a hundredth.
        milestones, decay: ``multistep`` multiplies the rate by `decay` at each of these epochs.
        final_share: share of the rate that ``cosine`` ends at.
        frozen_epochs: first epochs that train the classifier alone, the base frozen in inference mode (the two-stage
            recipe of the OSNet papers). The optimizer starts afresh when the base is released.
        frozen_learning_rate: constant rate of those epochs.
        freeze_norm: batch norm keeps its statistics, while its gain and shift learn: needed to train from weights
            whose batch norm is folded. Use about a tenth of the usual learning rate with it.
        start_share: share of the starting weights in the result, 0 to below 1: what is evaluated and saved as
            ``best.ckpt`` is ``start_share * start + (1 - start_share) * trained`` (weight-space ensembling, Wortsman
            et al., CVPR 2022), which keeps more of what the start knew. Training itself goes on unchanged.
        flip: probability of a mirror image.
        crop_padding: zero pixels around the image before a crop of its size is cut; 0 for none.
        color_jitter: largest relative change of brightness, contrast and saturation, 0 to below 1.
        erasing: probability of random erasing (Zhong et al., AAAI 2020).
        eval_every: epochs between evaluations; 0 for none but the last.
        val_identities: training identities held out for evaluation; 0 evaluates on the data set's query and gallery.
        other_data: another data set, whose query and gallery are measured before and after the run, to see what it
            costs on people and cameras that it does not learn from. Never used to choose a checkpoint.
        patience: evaluations without a better mAP before the run stops; 0 never stops early.
        save_every: optimizer steps between saves within an epoch; 0 saves at the end of each epoch.
        log_every: optimizer steps between lines of ``metrics.jsonl``.
        seed: of the weights, the samples and their augmentation.
        precision: ``fp32``, or ``mixed`` (float16 with loss scaling; Ascend only).
        workers: threads that read and augment images.
        tensorboard: also write TensorBoard event files.
        compiled: compile the step, which takes tens of seconds; uncompiled steps start at once and are slower.
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
    triplet: float = 1.0
    circle: float = 0.0
    contrastive: float = 0.0
    label_smoothing: float = 0.1
    triplet_margin: Union[float, None] = 0.3
    circle_margin: float = 0.25
    circle_scale: float = 64.0
    contrastive_temperature: float = 0.1
    optimizer: str = "adam"
    learning_rate: float = 3.5e-4
    weight_decay: float = 5e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.9
    clip_norm: float = 0.0
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    final_share: float = 0.01
    frozen_epochs: int = 0
    frozen_learning_rate: float = 1e-3
    freeze_norm: bool = False
    start_share: float = 0.0
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
    precision: str = "fp32"
    workers: int = 2
    tensorboard: bool = False
    compiled: bool = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, getattr(self, field.name), field.default))
        _check(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainConfig:
        """A configuration from keys and values.

        Raises:
            OptionError: an unknown key (the message lists all), or a value that does not fit.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [str(key) for key in values if key not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise OptionError(f"unknown key(s) {', '.join(unknown):.200}{hint}. Known: {', '.join(known)}")
        return cls(**values)

    def replace(self, **changes: Any) -> TrainConfig:
        """The same run with `changes`; errors as `from_mapping`."""
        return type(self).from_mapping({**dataclasses.asdict(self), **changes})

    def to_yaml(self) -> str:
        """Every key, for `read_config`."""
        import yaml

        values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
        text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        return text

    def save(self, path: str | os.PathLike[str]) -> None:
        """Publish `to_yaml` at `path`."""
        atomic_write(path, self.to_yaml().encode())


def read_config(path: str | os.PathLike[str], **changes: Any) -> TrainConfig:
    """The configuration in the YAML file `path`, with `changes` on top.

    Raises:
        OptionError: no such file, not YAML, no mapping, or what `TrainConfig.from_mapping` refuses.
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
        return TrainConfig.from_mapping({**values, **changes})
    except OptionError as error:
        raise OptionError(f"{os.fspath(path)}: {error}") from None


def _typed(name: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`; YAML writes 1e-3 as text."""
    if name == "milestones":
        if not isinstance(value, (list, tuple)) or not all(type(v) is int and abs(v) < 2**31 for v in value):
            raise OptionError(f"milestones: expected a list of epochs, got {value!r:.80}")
        return tuple(value)
    if name == "triplet_margin" and (value is None or value == "soft"):
        return None
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise OptionError(f"{name}: expected true or false, got {value!r:.80}")
        return value
    if isinstance(default, str):
        if not isinstance(value, (str, os.PathLike)):
            raise OptionError(f"{name}: expected text, got {value!r:.80}")
        return os.fspath(value)
    if isinstance(default, int):
        return check_integer(name, value, most=2**31 - 1)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise OptionError(f"{name}: expected a number, got {value!r:.80}")
    return number


_CHOICES = {"sampler": SAMPLERS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS}
_FROM_ONE = ("epochs", "batch_size", "accumulation", "log_every", "workers")
_FROM_ZERO = (
    "frozen_epochs", "crop_padding", "eval_every", "val_identities", "patience", "save_every", "seed",
    "cross_entropy", "triplet", "circle", "contrastive", "weight_decay", "clip_norm", "warmup_epochs",
)  # fmt: skip
_ABOVE_ZERO = ("learning_rate", "frozen_learning_rate", "epsilon", "circle_scale", "contrastive_temperature")
_SHARES = ("flip", "erasing", "final_share")
_BELOW_ONE = ("start_share", "label_smoothing", "color_jitter", "beta1", "beta2", "momentum")


def _check(c: TrainConfig) -> None:
    for name, known in _CHOICES.items():
        if getattr(c, name) not in known:
            raise OptionError(f"{name}: expected one of {', '.join(known)}, got {getattr(c, name)!r}")
    ranges = (
        (_FROM_ONE, "1 or more", lambda v: v >= 1),
        (_FROM_ZERO, "0 or more", lambda v: v >= 0),
        (_ABOVE_ZERO, "a number above 0", lambda v: v > 0),
        (_SHARES, "0 to 1", lambda v: 0 <= v <= 1),
        (_BELOW_ONE, "0 to below 1", lambda v: 0 <= v < 1),
        (("height", "width"), f"a multiple of {STRIDE} from 32 on", lambda v: v >= 32 and v % STRIDE == 0),
    )
    for names, expected, fits in ranges:
        for name in names:
            if not fits(getattr(c, name)):
                raise OptionError(f"{name}: expected {expected}, got {getattr(c, name)!r}")
    if c.batch_size < 2:
        raise OptionError("batch_size: expected 2 or more, since batch norm learns from several images, got 1")
    of_pairs = c.triplet + c.circle + c.contrastive
    if not c.cross_entropy + of_pairs > 0:
        raise OptionError(
            "no loss: expected a weight above 0 for cross_entropy, triplet, circle or contrastive, got 0 for all"
        )
    if c.keep_classifier and not c.cross_entropy:
        raise OptionError("keep_classifier wants cross_entropy, whose weight is 0: without it there is no classifier")
    if c.sampler == "pk" and (c.images_per_identity < 2 or c.batch_size % c.images_per_identity):
        raise OptionError(
            "images_per_identity: expected 2 or more and a divisor of batch_size "
            f"({c.batch_size}), got {c.images_per_identity}"
        )
    if c.sampler == "pk" and c.batch_size < 2 * c.images_per_identity:
        raise OptionError(
            f"batch_size: expected at least two identities of images_per_identity ({c.images_per_identity}) images, "
            f"got {c.batch_size}"
        )
    if c.sampler == "random" and of_pairs > 0:
        raise OptionError(
            "triplet, circle and contrastive want several images of an identity in a batch: set sampler to pk"
        )
    if c.frozen_epochs and not c.cross_entropy:
        raise OptionError("frozen_epochs trains the classifier alone, which only cross_entropy does; its weight is 0")
    if c.frozen_epochs >= c.epochs:
        raise OptionError(f"frozen_epochs: expected fewer than epochs ({c.epochs}), got {c.frozen_epochs}")
    if c.warmup_epochs + c.frozen_epochs > c.epochs:
        raise OptionError(f"warmup_epochs and frozen_epochs together are more than epochs ({c.epochs})")

"""The weights of one OSNet: which of the nine it is, whether parameters are missing, and what else a file held."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osnet.checkpoint.formats import check_content, format_of
from osnet.checkpoint.mindspore import read_ckpt
from osnet.checkpoint.safetensors import read_safetensors
from osnet.checkpoint.torch import find_state_dict, read_torch
from osnet.errors import CheckpointError, OptionError, WeightsError
from osnet.files import MAX_BYTES, PathLike, read_whole
from osnet.variants import (
    INPUT_HEIGHT,
    INPUT_WIDTH,
    VARIANTS,
    Parameter,
    Variant,
    check_size,
    from_torchreid,
    parameters,
    to_torchreid,
)

Float32 = NDArray[np.float32]

INPUT_SIZE = "input_size"
"""Name of the array (2,), height and width in pixels, with which a file records the size of its training."""

DEFAULT_INPUT_SIZE = (INPUT_HEIGHT, INPUT_WIDTH)

_SHOWN = 5
_FOLDED_TOLERANCE = 1e-4  # a folded variance may be 1 - NORM_EPSILON


@dataclass(frozen=True, eq=False)
class Weights:
    """All parameters of one network.

    Attributes:
        variant: which OSNet.
        num_classes: outputs of the classifier; 0 when there is none.
        arrays: MindSpore name to read-only, C-contiguous, aligned float32 array: exactly
            ``osnet.variants.parameters(variant, num_classes)``, in that order.
        extras: what else the file held, under the file's names: optimizer state, counters, learning rates, epoch.
        sha256: lower-case hexadecimal digest of the file's bytes, if these came from a file.
        source: file name or description, for messages.
        notes: what was changed on the way, such as a prefix removed or a cast from float16, for the user to read.
        input_size: height and width in pixels that the network was trained at: what the file or the card says, else
            (256, 128), the size of all published checkpoints.
    """

    variant: Variant
    num_classes: int
    arrays: Mapping[str, Float32] = field(repr=False)
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sha256: str | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    input_size: tuple[int, int] = DEFAULT_INPUT_SIZE

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.flags.writeable = False
        for name in ("arrays", "extras"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:
        values = (self.variant, self.num_classes, dict(self.arrays), dict(self.extras))
        return type(self), (*values, self.sha256, self.source, self.notes, self.input_size)

    @property
    def network(self) -> str:
        """Name of the network, such as ``osnet_x0_25``."""
        return self.variant.name

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, Any],
        *,
        source: str = "",
        sha256: str | None = None,
        allow_nonfinite: bool = False,
        extras: Mapping[str, Any] | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> Weights:
        """Find the network whose weights `arrays` are.

        Args:
            arrays: name to array, in MindSpore's or torchreid's naming. A prefix that all names of the network share,
                as a wrapper leaves it (``module.``, ``net._backbone.``), is removed, and `notes` says so.
                float16, float32 and float64 are accepted; the result is float32. Optimizer state, counters and
                ``num_batches_tracked`` may be among them.
            source: file name or description, for messages.
            sha256: digest of the file that `arrays` came from.
            allow_nonfinite: accept NaN and infinity.
            extras: further entries of the file, to be kept with those of `arrays`.
            input_size: see `Weights`; None to take it from the array ``input_size``.

        Raises:
            WeightsError: not the weights of an OSNet, or not all of them. One message lists every kind of fault:
                missing, unexpected and misshapen names, and the variant that came closest.
        """
        where = f"{source}: " if source else ""
        prefix = _common_prefix(arrays, where)
        named = _in_mindspore_names(arrays, prefix, where)
        variant, num_classes = _closest(named)
        expected = _expected(variant, num_classes)
        left = {name: value for key, (name, value) in named.items() if key not in expected and _is_extra(key, expected)}
        _check_names(named, left, expected, variant, num_classes, where)
        said = left.pop(INPUT_SIZE, None)
        if input_size is None:
            input_size = DEFAULT_INPUT_SIZE if said is None else _read_size(said, where)
        taken, notes = _as_float32(named, expected, allow_nonfinite, where)
        if prefix:
            notes = (f"the prefix {prefix!a} was removed from the names", *notes)
        return cls(
            variant=variant,
            num_classes=num_classes,
            arrays=taken,
            extras={**left, **(extras or {})},
            sha256=sha256,
            source=source,
            notes=notes,
            input_size=input_size,
        )

    @property
    def folded(self) -> bool:
        """Whether batch norm was folded into the convolutions, as exporting to ONNX does.

        All statistics of the backbone are then 0 and 1, while its gains or shifts are not those of a fresh network.
        Inference is right; a training step would normalise with the statistics of its batch and ruin the features.
        """
        backbone = {name: array for name, array in self.arrays.items() if not name.startswith(("fc.", "classifier."))}
        fresh = {"moving_mean": 0.0, "moving_variance": 1.0, "gamma": 1.0, "beta": 0.0}

        def as_fresh(word: str) -> bool:
            arrays = [array for name, array in backbone.items() if name.endswith(f".{word}")]
            return all(np.allclose(array, fresh[word], rtol=0, atol=_FOLDED_TOLERANCE) for array in arrays)

        return as_fresh("moving_mean") and as_fresh("moving_variance") and not (as_fresh("gamma") and as_fresh("beta"))

    def without_classifier(self) -> Weights:
        """The same network as a feature extractor: ``num_classes`` 0."""
        names = _expected(self.variant, 0)
        return replace(self, num_classes=0, arrays={name: self.arrays[name] for name in names})

    def published_order(self) -> dict[str, Float32]:
        """`arrays` in the order of the published checkpoints: first what is trained, then the moving statistics."""
        known = parameters(self.variant, self.num_classes)
        ordered = [p for p in known if p.trainable] + [p for p in known if not p.trainable]
        return {parameter.name: self.arrays[parameter.name] for parameter in ordered}

    def torchreid_arrays(self) -> dict[str, Float32]:
        """`arrays` under torchreid's names, in torchreid's order."""
        return {to_torchreid(name): array for name, array in self.arrays.items()}


def _read_size(value: Any, where: str) -> tuple[int, int]:
    sides = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
    try:
        return check_size(sides)
    except OptionError as error:
        raise WeightsError(f"{where}{INPUT_SIZE}: {error}") from error


_Named = dict[str, tuple[str, Any]]
"""MindSpore name to (name in the file, value)."""


def _common_prefix(arrays: Mapping[str, Any], where: str) -> str:
    """The prefix, dot included, after which most names are those of a network."""
    known = _all_names()
    fitting: Counter[str] = Counter()
    for name in arrays:
        if not isinstance(name, str):
            raise WeightsError(f"{where}expected names that are text, got {name!r:.80}")
        parts = name.rsplit(".", _MOST_PARTS)
        for start in range(len(parts)):
            rest = ".".join(parts[start:])
            if from_torchreid(rest) in known:
                fitting[name[: len(name) - len(rest)]] += 1
    most = max(fitting.values(), default=0)
    chosen = [prefix for prefix, count in fitting.items() if count == most]
    if "" in chosen or not chosen:
        return ""
    if len(chosen) > 1 and most > 1:
        raise WeightsError(f"{where}two networks, {chosen[0]!a:.80} and {chosen[1]!a:.80}; save one of them alone")
    return chosen[0]


@lru_cache(maxsize=1)
def _all_names() -> frozenset[str]:
    return frozenset(name for variant in VARIANTS.values() for name in _expected(variant, 1))


_MOST_PARTS = 8
"""Number of dots, counted from the end of a name, at which a prefix may end."""


def _in_mindspore_names(arrays: Mapping[str, Any], prefix: str, where: str) -> _Named:
    """Rename `arrays` without `prefix`, which may also follow an optimizer's word: ``moment1.net.conv1...``."""
    named: _Named = {}
    for original, value in arrays.items():
        word, dot, rest = original.partition(".")
        if original.startswith(prefix):
            name = from_torchreid(original[len(prefix) :])
        elif rest.startswith(prefix):
            name = f"{word}{dot}{rest[len(prefix) :]}"
        else:
            name = original
        if name in named:
            raise WeightsError(f"{where}{named[name][0]!r} and {original!r} are both the parameter {name!r}")
        named[name] = (original, value)
    return named


@lru_cache(maxsize=64)
def _expected(variant: Variant, num_classes: int) -> Mapping[str, Parameter]:
    return MappingProxyType({parameter.name: parameter for parameter in parameters(variant, num_classes)})


def _closest(named: _Named) -> tuple[Variant, int]:
    """The variant that shares most names and shapes with `named`, and the classifier's width."""
    shapes = {name: getattr(value, "shape", ()) for name, (_, value) in named.items()}
    num_classes = 0
    if "classifier.weight" in shapes or "classifier.bias" in shapes:
        shape = shapes.get("classifier.weight") or shapes.get("classifier.bias")
        num_classes = (shape[0] if shape else 0) or 1  # a classifier without a size is then listed as misshapen

    def likeness(variant: Variant) -> tuple[int, int]:
        expected = _expected(variant, num_classes)
        return sum(shapes.get(p.name) == p.shape for p in expected.values()), len(shapes.keys() & expected.keys())

    return max(VARIANTS.values(), key=likeness), num_classes


def _is_extra(name: str, expected: Mapping[str, Parameter]) -> bool:
    """Whether it is optimizer state or a counter; the network's own names all hold a dot."""
    _, _, rest = name.partition(".")
    if not rest or name.endswith(".num_batches_tracked"):
        return True
    return rest in expected or rest in ("classifier.weight", "classifier.bias")  # moment1.conv1.conv.weight


def _check_names(
    named: _Named,
    left: Mapping[str, Any],
    expected: Mapping[str, Parameter],
    variant: Variant,
    num_classes: int,
    where: str,
) -> None:
    missing = [name for name in expected if name not in named]
    unexpected = [original for name, (original, _) in named.items() if name not in expected and original not in left]
    misshapen = []
    for name, parameter in expected.items():
        if name in named:
            value = named[name][1]
            if not isinstance(value, np.ndarray):
                misshapen.append(f"{named[name][0]} (expected an array, got {type(value).__name__})")
            elif value.shape != parameter.shape:
                misshapen.append(f"{named[name][0]} (expected {parameter.shape}, got {value.shape})")
            elif value.dtype.kind != "f":
                misshapen.append(f"{named[name][0]} (expected floats, got {value.dtype})")
    if not (missing or unexpected or misshapen):
        return
    total, found = len(expected), len(expected) - len(missing)
    if len(unexpected) >= found:
        names = _few([original for original, _ in named.values()])
        raise WeightsError(
            f"{where}not the weights of an OSNet: of {len(named):,} arrays ({names}) {found} have a name of "
            f"{variant.name}, the nearest, which has {total}; give a checkpoint of an OSNet"
        )
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {total} parameters missing ({_few(missing)})")
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected ({_few(unexpected)})")
    if misshapen:
        faults.append(f"{len(misshapen)} of the wrong shape or type ({_few(misshapen)})")
    classes = f" with {num_classes} classes" if num_classes else ""
    raise WeightsError(
        f"{where}not whole as {variant.name}{classes}, the nearest network: {'; '.join(faults)}; "
        "fetch the file again, or give one of this network"
    )


def read_weights_file(path: PathLike, *, allow_nonfinite: bool = False, max_bytes: int = MAX_BYTES) -> Weights:
    """The weights in the file at `path`: ``.ckpt``, ``.pth``, ``.pth.tar``, ``.pt`` or ``.safetensors``.

    Raises:
        WeightsError: a suffix or content of another kind, or not the whole weights of an OSNet.
        CheckpointError: no readable regular file, one larger than `max_bytes`, or a damaged one.
    """
    format_of(os.fspath(path))
    return weights_from_bytes(read_whole(path, max_bytes=max_bytes), os.fspath(path), allow_nonfinite=allow_nonfinite)


def weights_from_bytes(data: bytes, name: str, *, sha256: str | None = None, allow_nonfinite: bool = False) -> Weights:
    """The weights in `data`, the bytes of a file called `name`, whose suffix says the format.

    Args:
        sha256: digest of `data` where it is known already; else it is computed.

    Raises:
        WeightsError, CheckpointError: as `read_weights_file`. The message starts with `name`.
    """
    kind = format_of(name)
    check_content(data, name, kind)
    extras: Mapping[str, Any] = {}
    try:
        if kind == "mindspore":
            arrays: Mapping[str, Any] = read_ckpt(data)
        elif kind == "torch":
            arrays, extras = find_state_dict(read_torch(data), len(data))
        else:
            arrays = read_safetensors(data)
    except CheckpointError as error:
        raise type(error)(f"{name}: {error}") from error
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return Weights.from_arrays(arrays, source=name, sha256=digest, allow_nonfinite=allow_nonfinite, extras=extras)


def _few(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(name if name.isprintable() and len(name) < 200 else ascii(name[:200]) for name in names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown


def _as_float32(
    named: _Named, expected: Mapping[str, Parameter], allow_nonfinite: bool, where: str
) -> tuple[dict[str, Float32], tuple[str, ...]]:
    taken: dict[str, Float32] = {}
    casts: dict[str, list[bool]] = {}
    bad: list[str] = []
    for name, parameter in expected.items():
        original, given = named[name]
        with np.errstate(over="ignore"):
            # An array that is not aligned in the file is copied, because code in C may not accept it.
            array = np.require(given, np.float32, ["C_CONTIGUOUS", "ALIGNED"])
        if given.dtype.newbyteorder("=") != np.float32:
            exact = given.dtype.itemsize < 4 or np.array_equal(array, given, equal_nan=True)
            casts.setdefault(str(given.dtype), []).append(exact)
        if not np.isfinite(array).all():
            if not allow_nonfinite:
                bad.append(original)
        elif parameter.kind == "var" and (array < 0).any():
            raise WeightsError(f"{where}{original} is a variance and holds negative values; the file is damaged")
        taken[name] = array.copy() if array is given and array.flags.writeable else array
    if bad:
        raise WeightsError(
            f"{where}NaN or infinity in {len(bad)} of {len(expected)} parameters ({_few(bad)}); "
            "training diverged or the file is damaged; only "
            "osnet.checkpoint.weights.read_weights_file(path, allow_nonfinite=True) reads it all the same"
        )
    notes = tuple(
        f"{len(exact)} arrays cast from {dtype} to float32, "
        + ("exactly" if all(exact) else f"{exact.count(False)} of them rounded")
        for dtype, exact in casts.items()
    )
    return taken, notes

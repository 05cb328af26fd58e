"""How fast a network is on this machine, with every backend and precision that is there, and how exact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet.checks import check_integer, check_number
from osnet.errors import DependencyError, OptionError
from osnet.inference.backends import BACKENDS
from osnet.inference.backends.onnxruntime import PROVIDERS
from osnet.inference.embedder import Embedder
from osnet.models.artefact import Artefact, import_onnxruntime
from osnet.models.load import ModelLike, read_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOXES = (1, 5, 20)
EXACT = 0.9999
"""Least cosine to fp32 of a way of computing that is called exact."""

_CROPS = 64
_FRAME = (1080, 1920)
_SLOW = 10  # what is so many times slower than the fastest is measured in every third round only
_PAUSE = 0.05  # for threads of the contender before to come to rest: ONNX Runtime's spin for a while


@dataclass(frozen=True)
class Measurement:
    """One way of computing.

    Attributes:
        backend, precision, device: as `Embedder` has them.
        images_per_second: of a long stream of decoded crops; the median of the rounds.
        crop_ms: (median, 95th percentile) of one decoded crop alone.
        boxes_ms: number of boxes to (median, 95th percentile) of one call for a video frame of 1920x1080 with so many
            boxes: cut, resize, network.
        mean_cosine, least_cosine: of the features to those of OpenVINO (ONNX Runtime, MindSpore) in fp32.
    """

    backend: str
    precision: str
    device: str
    images_per_second: float
    crop_ms: tuple[float, float]
    boxes_ms: dict[int, tuple[float, float]]
    mean_cosine: float
    least_cosine: float


@dataclass(frozen=True)
class Benchmark:
    """What `benchmark` measured.

    Attributes:
        network: such as ``osnet_x1_0``.
        size: height and width of the crops.
        measurements: fastest first, by images a second.
        left_out: ways of computing that are not here, with the reason.
    """

    network: str
    size: tuple[int, int]
    measurements: tuple[Measurement, ...]
    left_out: tuple[str, ...]

    @property
    def best(self) -> Measurement:
        """The fastest."""
        return self.measurements[0]

    @property
    def best_exact(self) -> Measurement:
        """The fastest whose features are those of fp32."""
        return next((one for one in self.measurements if one.least_cosine >= EXACT), self.measurements[0])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "best": asdict(self.best), "best_exact": asdict(self.best_exact)}


def benchmark(
    model: ModelLike = "osnet",
    *,
    rounds: int = 9,
    seconds: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
    **fetch: Any,
) -> Benchmark:
    """Measure `model` with every backend and precision of this machine, in turns, so that noise meets all of them.

    Args:
        model: any model reference, or an exported network (``.onnx``, ``.xml``, ``.mindir``).
        rounds: measurements of each figure.
        seconds: that one round of a stream should take.
        progress: called with (done, all).
        **fetch: keywords of `osnet.fetch`.

    Raises:
        OptionError, and the errors of `Embedder`.
    """
    check_integer("rounds", rounds, least=1)
    check_number("seconds", seconds, above=0)
    source: Any = read_model(model, **fetch)
    embedders, left_out = _embedders(model if isinstance(source, Artefact) else source)
    if not embedders:
        raise DependencyError(f"nothing here can run {source.source}: {'; '.join(left_out)}")
    crops = _pictures(_CROPS, source.input_size)
    frame = _pictures(1, _FRAME)[0]
    stages = len(embedders) * (rounds + 1)
    features, counts = [], []
    for place, embedder in enumerate(embedders):
        embedder.warm_up()
        list(embedder.stream(iter(crops[:9])))
        start = time.perf_counter()
        features.append(np.concatenate(list(embedder.stream(iter(crops)))))
        counts.append(max(1, round(_CROPS * seconds / (time.perf_counter() - start))))
        if progress:
            progress(place + 1, stages)
    streams: list[list[float]] = [[] for _ in embedders]
    calls: list[dict[int, list[float]]] = [{count: [] for count in (0, *BOXES)} for _ in embedders]
    for turn in range(rounds):
        for place, (embedder, count) in enumerate(zip(embedders, counts)):
            if turn % 3 and _SLOW * count < max(counts):
                continue
            time.sleep(_PAUSE)
            long = (crops[i % _CROPS] for i in range(count))
            streams[place].append(count / _seconds(lambda e=embedder, s=long: list(e.stream(s))))  # type: ignore[misc]
            calls[place][0].append(_seconds(lambda e=embedder: list(e.stream(iter(crops[:1])))))  # type: ignore[misc]
            for boxes in BOXES:
                corners = boxes_of_people(boxes)
                calls[place][boxes].append(_seconds(lambda e=embedder, b=corners: e(frame, boxes=b)))  # type: ignore[misc]
            if progress:
                progress((turn + 1) * len(embedders) + place + 1, stages)
    found = [
        Measurement(
            backend=embedder.backend,
            precision=embedder.precision,
            device=embedder.device,
            images_per_second=median(streams[place]),
            crop_ms=_milliseconds(calls[place][0]),
            boxes_ms={boxes: _milliseconds(calls[place][boxes]) for boxes in BOXES},
            mean_cosine=float((features[place] * features[0]).sum(axis=1).mean()),
            least_cosine=float((features[place] * features[0]).sum(axis=1).min()),
        )
        for place, embedder in enumerate(embedders)
    ]
    found.sort(key=lambda one: -one.images_per_second)
    return Benchmark(source.network, source.input_size, tuple(found), tuple(left_out))


def _embedders(model: Any) -> tuple[list[Embedder], list[str]]:
    """One for each way of computing, fp32 first, and those that are not here, with the reason."""
    found: list[Embedder] = []
    left_out: list[str] = []
    for backend, device, precision in _ways():
        try:
            embedder = Embedder(model, backend=backend, device=device, precision=precision)
        except (OptionError, DependencyError) as error:
            left_out.append(f"{backend} {precision} on {device}: {error}")
            continue
        key = (embedder.backend, embedder.device, embedder.precision)
        if all(key != (other.backend, other.device, other.precision) for other in found):
            found.append(embedder)
    return found, left_out


def _ways() -> Iterator[tuple[str, str, str]]:
    """Backend, device and precision of all that may be here."""
    for precision in ("fp32", "bf16", "fp16"):
        yield BACKENDS[1], "cpu", precision
    try:
        available = import_onnxruntime().get_available_providers()
    except DependencyError:
        available = [PROVIDERS["cpu"]]  # and the message of what is missing
    for device, provider in PROVIDERS.items():
        if provider in available:
            yield "onnxruntime", device, "fp32"
            if device != "cpu":
                yield "onnxruntime", device, "fp16"
    yield "mindspore", "auto", "fp32"


def _pictures(count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (count, height, width, 3): smooth noise, so that features differ from one to the next."""
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (count, 16, 8, 3)).astype(np.uint8)
    shape = (size[1], size[0])
    return np.stack([np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC)) for image in small])


def boxes_of_people(count: int) -> NDArray[np.float64]:
    """(count, 4): people of 80 to 300 pixels somewhere in the frame."""
    rng = np.random.default_rng(count)
    height = rng.uniform(80, 300, count)
    left, top = rng.uniform(0, 1700, count), rng.uniform(0, 700, count)
    return np.stack([left, top, left + height / 2.4, top + height], axis=1)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _milliseconds(seconds: list[float]) -> tuple[float, float]:
    return 1000 * median(seconds), 1000 * float(np.percentile(seconds, 95))

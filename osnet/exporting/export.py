"""Writing an exported file, and running it before it is published."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet._version import __version__
from osnet.checks import check_choice
from osnet.errors import ImageError, OptionError, VerificationError
from osnet.exporting.consumers import get_consumer
from osnet.exporting.quantise import MOST_IMAGES, quantise
from osnet.exporting.running import run_file
from osnet.files import PathLike, atomic_file, refuse_existing
from osnet.inference.embedder import Embedder
from osnet.inference.images import ImageLike, load_image
from osnet.models.artefact import METADATA
from osnet.models.input_format import InputFormat
from osnet.models.load import ModelLike, read_weights
from osnet.variants import check_size, size_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from osnet.checkpoint.weights import Weights
    from osnet.hub.settings import FetchOptions

PRECISIONS = ("fp32", "fp16", "int8")
LEAST_COSINE = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.95}
"""What the features of each image must agree with `Embedder` in fp32 by; for ``any_size``, whose resize is another
implementation, at most `LEAST_COSINE_RESIZED`."""
LEAST_COSINE_RESIZED = 0.999

DRAWN_IMAGES = 16


@dataclass(frozen=True)
class Export:
    """What `export` wrote, and how near its features are.

    Attributes:
        path: the exported file.
        files: all files that were written.
        input_format: what the file takes.
        precision: what it computes with.
        images: on how many images it was compared with `Embedder` in fp32.
        least_cosine, mean_cosine: of the two features of each image.
    """

    path: Path
    files: tuple[Path, ...]
    input_format: InputFormat
    precision: str
    images: int
    least_cosine: float
    mean_cosine: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            **asdict(self),
            "path": str(self.path),
            "files": [str(file) for file in self.files],
            "input_format": {**asdict(self.input_format), "size": size_text(self.input_format.size)},
        }


def export(
    model: ModelLike,
    path: PathLike,
    *,
    consumer: str | None = None,
    input: str | None = None,
    layout: str | None = None,
    any_size: bool = False,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    precision: str = "fp32",
    images: Sequence[ImageLike] | None = None,
    overwrite: bool = False,
    **fetch: Unpack[FetchOptions],
) -> Export:
    """Write the network of `model` to a file that another program runs.

    The file holds the normalisation that its input needs, and says what it was made from. It is run before it appears
    at `path`: its features of `images` must be those of `Embedder` in fp32, within the bound of its precision.

    Args:
        model: any model reference (see `osnet.read_weights`).
        path: ``.onnx``; ``.xml`` (OpenVINO, with a ``.bin`` beside it); or ``.mindir`` (MindSpore, which must be
            installed).
        consumer: ``boxmot``, ``ultralytics``, ``deepstream``, ``triton``, ``openvino`` or ``mindspore-lite``: chooses
            input, layout and batch as that program needs them, and writes the files that it looks for beside it.
        input: ``normalized`` (default), ``unit`` or ``bytes``, see `osnet.models.input_format.InputFormat`.
        layout: ``nchw`` (float32, default) or ``nhwc`` (uint8, with ``input="bytes"``).
        any_size: the file takes images of any size and resizes them itself, as Pillow's bilinear filter does; with
            ``layout="nhwc"``.
        size: height and width of the input; None for the size that the checkpoint was trained at.
        batch: images at once; None for any number, or 1 for ``.mindir``.
        precision: ``fp32``, ``fp16`` or ``int8``. OpenVINO's fp16 keeps the weights in float16 and computes in float32
            on CPU. int8 is for ``.xml`` and needs `images`, on which it is calibrated.
        images: paths, PIL images or arrays to compare the features on; None for drawn people. Of more than 300, 300
            are used, evenly spaced.
        overwrite: replace files that are there.
        **fetch: keywords of `osnet.fetch`.

    Returns:
        An `Export`: the files, and the cosine similarity of their features to those of `Embedder`.

    Raises:
        OptionError: a value out of range, or values that do not go together.
        ExistsError, DiskError: the file is there already, or cannot be written.
        DependencyError: onnx, onnxruntime, MindSpore or NNCF is missing; the message says how to install it.
        VerificationError: its features differ too much; nothing is written.
        Errors of `osnet.fetch` and `osnet.read_weights`.
    """
    final = Path(path)
    suffix = final.suffix.lower()
    input_format = _input_format(suffix, consumer, input, layout, any_size, batch)
    check_choice("precision", precision, PRECISIONS)
    beside = get_consumer(consumer).beside if consumer is not None else None
    for file in [*_files(final), *(beside(final, input_format) if beside is not None else ())]:
        if not overwrite:
            refuse_existing(file)
    weights = read_weights(model, **fetch)
    input_format = replace(input_format, size=weights.input_size if size is None else check_size(size))
    if precision == "int8" and images is None:
        raise ImageError("int8 is calibrated on images like those it will see: give them as images=... (--images)")
    pictures = read_pictures(images)
    metadata = {
        **input_format.to_dict(),
        "network": weights.network,
        "model": _reference(model),
        "checkpoint_sha256": weights.sha256 or "",
        "precision": precision,
        **({"calibrated_on": f"{len(pictures)} images"} if precision == "int8" else {}),
        "osnet_version": __version__,
    }
    with tempfile.TemporaryDirectory(prefix="osnet-export-") as folder:
        private = Path(folder) / final.name
        _WRITERS[suffix](_Job(weights, private, input_format, precision, metadata, pictures))
        found = _compared(weights, private, input_format, pictures)
        bound = min(LEAST_COSINE[precision], LEAST_COSINE_RESIZED if any_size else 1)
        if not found.min() >= bound:  # also where it is NaN
            raise VerificationError(
                f"{final} is not written: its features have a cosine of {found.min():.6f} (least of {len(found)} "
                f"images) to those of Embedder in fp32; expected at least {bound} for {precision}"
            )
        texts = beside(final, input_format) if beside is not None else {}
        written = _publish(Path(folder), final, texts, overwrite)
    return Export(
        path=final,
        files=tuple(written),
        input_format=input_format,
        precision=precision,
        images=len(found),
        least_cosine=float(found.min()),
        mean_cosine=float(found.mean()),
    )


def read_pictures(images: Sequence[ImageLike] | None) -> list[NDArray[np.uint8]]:
    """`images`, at most 300 of them, as arrays (h, w, 3) in RGB; drawn people for None.

    Raises:
        ImageError: none, or one that cannot be read.
    """
    if images is None:
        return draw_people(DRAWN_IMAGES)
    if not len(images):
        raise ImageError("images: expected at least one image to compare the features on, got none")
    places = np.unique(np.linspace(0, len(images) - 1, MOST_IMAGES).round().astype(int))
    return [np.asarray(load_image(images[place])) for place in places]


def draw_people(count: int) -> list[NDArray[np.uint8]]:
    """`count` pictures of drawn people, uint8 (128, 64, 3), from two cameras; always the same."""
    from osnet.drawn.person import draw_crowd
    from osnet.drawn.shot import shoot

    people = draw_crowd(0, (count + 1) // 2)
    return [np.asarray(shoot(0, "street", people[i // 2], i % 2 + 1, 0).convert("RGB")) for i in range(count)]


def _input_format(
    suffix: str, consumer: str | None, input: str | None, layout: str | None, any_size: bool, batch: int | None
) -> InputFormat:
    """What is asked for, at the default size.

    Raises:
        OptionError: not together, or not what `consumer` takes.
    """
    if suffix not in _WRITERS:
        raise OptionError(f"expected a file ending in {', '.join(_WRITERS)}, got {suffix or 'no suffix'!r}")
    if batch is None and suffix == ".mindir":
        batch = 1
    if consumer is None:
        return InputFormat(
            input or "normalized",
            layout or "nchw",
            batch=batch,
            any_size=any_size,
        )
    wanted = get_consumer(consumer)
    if suffix not in wanted.suffixes:
        raise OptionError(f"{wanted.title} takes {' or '.join(wanted.suffixes)}, got {suffix!r}")
    for name, given, needed in (("input", input, wanted.values), ("layout", layout, wanted.layout)):
        if given not in (None, needed):
            raise OptionError(f"{name}: {wanted.title} feeds {needed!r}, got {given!r}; leave it out")
    if any_size and wanted.layout != "nhwc":
        raise OptionError(f"any_size: {wanted.title} resizes the crops itself; leave it out")
    if batch is not None and batch > 1 and suffix not in wanted.fills_batch:
        raise OptionError(
            f"batch: {wanted.title} runs {suffix} files with any number of crops, got {batch}; leave it out"
        )
    return InputFormat(wanted.values, wanted.layout, batch=wanted.batch if batch is None else batch, any_size=any_size)


def _reference(model: object) -> str:
    """`model` as another machine could name it: no folders of this one."""
    text = os.fspath(model) if isinstance(model, (str, os.PathLike)) else type(model).__name__
    return Path(text).name if Path(text).is_absolute() or Path(text).exists() else text


def _compared(
    weights: Weights, path: Path, input_format: InputFormat, pictures: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float64]:
    """Cosine of the feature of each picture by the file at `path` to that of `Embedder` in fp32."""
    expected = Embedder(weights, precision="fp32", size=input_format.size)(pictures)
    return cosines(run_file(path, input_format, pictures), expected)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row (N,) of `a` (N, D) and `b` (N, D), in float64."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    result: NDArray[np.float64] = np.einsum("nd,nd->n", x, y) / np.maximum(lengths, 1e-12)
    return result


def _files(path: Path) -> list[Path]:
    return [path.with_suffix(".bin"), path] if path.suffix.lower() == ".xml" else [path]


def _publish(folder: Path, final: Path, texts: dict[Path, str], overwrite: bool) -> list[Path]:
    """Write `texts`, and what `folder` holds beside `final`: all under private names first, so that a full disk costs
    nothing. `final` comes last: it never stands beside another export's files."""
    others = sorted(path.name for path in folder.iterdir() if path.name != final.name)
    targets = [final, *(final.parent / name for name in others), *texts]
    with ExitStack() as stack:  # which renames in reverse order
        for target in targets:
            private = stack.enter_context(atomic_file(target, overwrite=overwrite))
            if target in texts:
                private.write_text(texts[target], encoding="utf-8")
            else:
                shutil.copyfile(folder / target.name, private)
        if overwrite and others:
            final.unlink(missing_ok=True)
    return targets[::-1]


@dataclass(frozen=True)
class _Job:
    """What a writer needs; `path` is private."""

    weights: Weights
    path: Path
    input_format: InputFormat
    precision: str
    metadata: dict[str, str]
    pictures: list[NDArray[np.uint8]]


def _write_onnx(job: _Job) -> None:
    from osnet.models.onnx_graph import build_onnx

    if job.precision == "int8":
        raise OptionError("precision 'int8' is written as OpenVINO's .xml; expected fp32 or fp16 for .onnx")
    half = job.precision == "fp16"
    model = build_onnx(job.weights, job.input_format, half=half, metadata=_prefixed(job.metadata))
    job.path.write_bytes(model.SerializeToString())


def _write_openvino(job: _Job) -> None:
    from osnet.models.openvino_graph import build_openvino, import_openvino

    graph = build_openvino(job.weights, job.input_format)
    if job.precision == "int8":
        graph = quantise(graph, job.input_format, job.pictures)
    for key, value in job.metadata.items():
        graph.set_rt_info(value, [METADATA, key])
    import_openvino().save_model(graph, str(job.path), compress_to_fp16=job.precision == "fp16")


def _write_mindir(job: _Job) -> None:
    from osnet.models.mindir import write_mindir

    if job.precision != "fp32":
        raise OptionError(f"precision {job.precision!r}: a .mindir file is written in fp32; expected 'fp32'")
    write_mindir(job.weights, job.path, job.input_format, _prefixed(job.metadata))


def _prefixed(metadata: dict[str, str]) -> dict[str, str]:
    return {f"{METADATA}.{key}": value for key, value in metadata.items()}


_WRITERS: dict[str, Callable[[_Job], None]] = {
    ".onnx": _write_onnx,
    ".xml": _write_openvino,
    ".mindir": _write_mindir,
}

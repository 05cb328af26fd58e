"""Processor time to decode and resize one JPEG file: the package, Pillow step by step, and other decoders.

    python -m benchmarks.decoding [--rounds 30] [--folder CROPS] [--model osnet_x0_25_drawn]

The minimum over the rounds of `time.process_time`, so that other processes of the machine count little. simplejpeg,
PyTurboJPEG and OpenCV are left out where they are not installed. The second table compares pixels and features with
those of Pillow's whole decode: for the same decoders, and for Pillow's scaled decoding (`Image.draft`) and
`reducing_gap`. `--folder` adds JPEG files of your own to it.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from benchmarks.timing import print_machine, print_table
from osnet import image_files
from osnet.drawn.dataset import draw_dataset
from osnet.inference.embedder import Embedder
from osnet.inference.images import prepare
from osnet.variants import INPUT_HEIGHT, INPUT_WIDTH

SIZE = (INPUT_WIDTH, INPUT_HEIGHT)
SIZES = {"64x128": (64, 128), "128x384": (128, 384), "12 megapixels": (3000, 4000)}
FILES = {"64x128": 32, "128x384": 16, "12 megapixels": 1}
Decode = Callable[[bytes], np.ndarray]


def photos(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """JPEG files of smooth random pictures with some noise, which compress about as well as photographs."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        small = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3)).astype(np.uint8)
        paths.append(folder / f"{size[0]}x{size[1]}_{i}.jpg")
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def cpu_ms(work: Callable[[Path], object], paths: list[Path], rounds: int) -> float:
    """Least milliseconds of processor time for one of `paths`."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for path in paths:
            work(path)
        best = min(best, time.process_time() - start)
    return 1000 * best / len(paths)


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def decoders() -> dict[str, Decode]:
    """Name → decoder to RGB, of what is installed."""
    found: dict[str, Decode] = {"Pillow": by_pillow}
    try:
        import simplejpeg
    except ImportError as error:
        print(f"simplejpeg left out: {error}")
    else:
        found["simplejpeg"] = simplejpeg.decode_jpeg
    try:
        import turbojpeg

        library = turbojpeg.TurboJPEG()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"PyTurboJPEG left out: {error}")
    else:
        found["PyTurboJPEG"] = lambda content: library.decode(content, pixel_format=turbojpeg.TJPF_RGB)
    try:
        import cv2
    except ImportError as error:
        print(f"OpenCV left out: {error}")
    else:
        cv2.setNumThreads(1)
        found["OpenCV"] = lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    return found


def resized(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(SIZE, Image.Resampling.BILINEAR))


def drafted(content: bytes, factor: int) -> np.ndarray:
    """Decoded by Pillow at the smallest scale that is at least `factor` times the size of the network's input."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (factor * SIZE[0], factor * SIZE[1]))
        return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))


def with_gap(content: bytes, gap: float) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR, reducing_gap=gap))


def steps(rounds: int, paths: list[Path]) -> dict[str, float]:
    """Milliseconds of what `prepare` does with Pillow, one step after the other."""

    def opened(path: Path) -> Image.Image:
        return Image.open(io.BytesIO(path.read_bytes()))

    images = {path: opened(path).convert("RGB") for path in paths}
    small = {path: image.resize(SIZE, Image.Resampling.BILINEAR) for path, image in images.items()}
    opening, loading = cpu_ms(opened, paths, rounds), cpu_ms(lambda path: opened(path).load(), paths, rounds)
    return {
        "Pillow: read the file and its header": opening,
        "Pillow: decode": loading - opening,
        "Pillow: resize": cpu_ms(lambda path: images[path].resize(SIZE, Image.Resampling.BILINEAR), paths, rounds),
        "Pillow: to an array": cpu_ms(lambda path: np.asarray(small[path]), paths, rounds),
    }


def print_times(found: dict[str, Decode], sets: dict[str, list[Path]], rounds: int) -> None:
    columns: list[dict[str, float]] = []
    for label, paths in sets.items():
        turns = max(3, rounds // 6) if label == "12 megapixels" else rounds
        column = steps(turns, paths)
        column["osnet: prepare"] = cpu_ms(prepare, paths, turns)
        with mock.patch.object(image_files, "agrees_with_pillow", return_value=False):
            column["osnet: prepare, without simplejpeg"] = cpu_ms(prepare, paths, turns)
        for name, decode in found.items():
            column[f"{name}: file to pixels"] = cpu_ms(lambda path, d=decode: d(path.read_bytes()), paths, turns)  # type: ignore[misc]
        columns.append(column)
    rows = [(name, *(f"{column[name]:.3f}" for column in columns)) for name in columns[0]]
    print_table(rows, ("CPU-ms an image", *sets))


def print_differences(found: dict[str, Decode], contents: dict[str, list[bytes]], embedder: Embedder) -> None:
    ways: dict[str, Decode] = {name: lambda content, d=d: resized(d(content)) for name, d in found.items()}  # type: ignore[misc]
    ways.update({f"Pillow, draft at {n} times the input": lambda content, n=n: drafted(content, n) for n in (1, 2, 3)})  # type: ignore[misc]
    ways.update({f"Pillow, reducing_gap={gap}": lambda content, g=gap: with_gap(content, g) for gap in (2.0, 3.0)})  # type: ignore[misc]
    rows = []
    for label, files in contents.items():
        whole = [resized(by_pillow(content)) for content in files]
        expected = features(embedder, whole)
        for name, way in ways.items():
            crops = [way(content) for content in files]
            pixels = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(crops, whole))
            given = features(embedder, crops)
            cosine = np.einsum("nd,nd->n", given, expected, dtype=np.float64)
            largest = float(np.abs(given - expected).max())
            rows.append((label, name, str(pixels), f"{cosine.min():.6f}", f"{largest:.1e}"))
    print_table(rows, ("images", "compared with Pillow", "largest pixel", "least cosine", "largest of a feature"))


def features(embedder: Embedder, crops: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(embedder.stream(iter(crops))))


def enlarged(content: bytes, factor: int) -> bytes:
    """A crop as a large photo of the same person would be."""
    with Image.open(io.BytesIO(content)) as image:
        file = io.BytesIO()
        image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC).save(
            file, "JPEG", quality=90
        )
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="JPEG crops to compare features on")
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    options = parser.parse_args()
    print_machine("Pillow", "simplejpeg", "PyTurboJPEG", "opencv-python-headless")
    found = decoders()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_times(found, {key: photos(folder, SIZES[key], FILES[key]) for key in SIZES}, options.rounds)
        print()
        draw_dataset(folder / "people", identities=8, seed=1)
        drawn = [path.read_bytes() for path in sorted((folder / "people").rglob("*.jpg"))[:60]]
        contents = {"drawn": drawn, "drawn, enlarged 16 times": [enlarged(content, 16) for content in drawn[:20]]}
        if options.folder:
            given = [path.read_bytes() for path in sorted(options.folder.rglob("*.jpg"))]
            contents["given"] = given
            contents["given, enlarged 16 times"] = [enlarged(content, 16) for content in given[:40]]
        print_differences(found, contents, Embedder(options.model, precision="fp32"))


if __name__ == "__main__":
    main()

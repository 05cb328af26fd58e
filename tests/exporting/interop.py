"""BoxMOT and Ultralytics themselves, each in an environment of its own, with files that `osnet.export` wrote for them.

``python -m tests.exporting.interop``, or ``make interop``. It makes the environments under build/, draws a video with
boxes, and lets each program compute the features of the boxes with its own code and track with them. Then it compares:

- `same resize`: least cosine to `Embedder` on crops that are cut and resized as `osnet.exporting.consumers` says; at
  least 0.999.
- `same boxes`: mean and least cosine to `Embedder` on crops cut as the program cuts them; mean at least 0.98.
- `end to end`: mean and least cosine to ``Embedder(frame, boxes=boxes)``; mean at least 0.98.
- A file for another program must give less than that, and `osnet.verify` must tell each file as it is.
- Each person must keep one track to the end.

Exit code 1 where one of these does not hold. BoxMOT and Ultralytics are under the AGPL; nothing of theirs is here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osnet.drawn.person import draw_crowd
from osnet.drawn.shot import shoot
from osnet.exporting.consumers import get_consumer
from osnet.exporting.export import cosines, export
from osnet.exporting.verify import verify
from osnet.image_files import find_images
from osnet.inference.embedder import Embedder
from osnet.inference.images import crop_boxes

FRAMES, HEIGHT, WIDTH = 40, 720, 1280
HEIGHTS = (220, 300, 180, 256, 340)
"""Of the people in the video, in pixels."""

LEAST_RESIZED, LEAST = 0.999, 0.98

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Program:
    """A program to try.

    Attributes:
        name: as `osnet.export` has it.
        requirements: what pip installs for it.
        versions: the packages whose versions are printed.
        cut: the corners that it cuts out, in whole pixels, for boxes (N, 4).
        files: options of `osnet.export` for each file that must be right; a folder gets an .xml.
        wrong: the program whose file must be found wrong.
    """

    name: str
    requirements: tuple[str, ...]
    versions: tuple[str, ...]
    cut: Callable[[Boxes], NDArray[Any]]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong: str = ""


def rounded(boxes: Boxes) -> NDArray[Any]:
    """BoxMOT: to the nearest whole pixel."""
    return np.round(boxes)


def grown(boxes: Boxes) -> NDArray[Any]:
    """Ultralytics: 2 % and 10 pixels wider and higher, then cut down to whole pixels."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) * np.float32(1.02) + 10) / 2
    return np.trunc(np.concatenate([middle - half, middle + half], axis=1))


PROGRAMS = (
    Program(
        name="boxmot",
        requirements=("boxmot==25.0.0", "onnxruntime==1.24.3", "openvino>=2025.2"),
        versions=("boxmot", "onnxruntime", "openvino", "opencv-python", "torch"),
        cut=rounded,
        files={"a.onnx": {}, "b4.onnx": {"batch": 4}, "a_openvino_model": {"size": (192, 96)}},
        wrong="ultralytics",
    ),
    Program(
        name="ultralytics",
        requirements=("ultralytics==8.4.190", "onnx", "onnxruntime", "lap"),
        versions=("ultralytics", "onnxruntime", "torch"),
        cut=grown,
        files={"a.onnx": {}, "b1.onnx": {"batch": 1}},
        wrong="boxmot",
    ),
)


def main() -> int:
    """Try every program and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("build", "interop"), help="where environments and files go")
    parser.add_argument("--model", default="osnet_x0_25_drawn", help="any model reference")
    parser.add_argument(
        "--images", type=Path, help="a folder of crops to move through the video; default: drawn people"
    )
    parser.add_argument("--install", default="", help='what pip installs first, such as "torch==2.13.0+cpu"')
    options = parser.parse_args()
    video = options.work / "video"
    video.mkdir(parents=True, exist_ok=True)
    frames, boxes = draw_video(options.images)
    np.save(video / "frames.npy", frames)
    np.save(video / "boxes.npy", boxes)
    failures: list[str] = []
    for program in PROGRAMS:
        python = environment(program, options.work / program.name, options.install.split())
        print(f"\n{program.name}: {versions(program, python)}", flush=True)
        print(f"{'file':32}{'same resize':>12}{'same boxes':>18}{'end to end':>18}  tracks of a person  verify")
        failures += trial(program, python, options.model, options.work, frames, boxes)
    print("\n" + ("\n".join(failures) if failures else "All as expected."))
    return 1 if failures else 0


def draw_video(images: Path | None) -> tuple[NDArray[np.uint8], Boxes]:
    """Frames (N, H, W, 3) in BGR of people who cross a blurred background, and their boxes (N, P, 4)."""
    if images is None:
        crowd = draw_crowd(7, len(HEIGHTS))
        pictures = [[shoot(7, "street", person, 1, k).convert("RGB") for k in range(2)] for person in crowd]
    else:
        found = find_images([images])[0][: len(HEIGHTS)]
        pictures = [[Image.open(path).convert("RGB")] * 2 for path in found]
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(90, 170, (9, 16, 3), dtype=np.uint8))
    background = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    boxes = np.empty((FRAMES, len(pictures), 4), np.float32)
    for t in range(FRAMES):
        frame = background.copy()
        for i, (poses, high) in enumerate(zip(pictures, HEIGHTS)):
            wide = high // 2
            x = min(max(40 + 230 * i + (4 * t if i % 2 == 0 else -2 * t), 0), WIDTH - wide)
            y = min(80 + 60 * i + t, HEIGHT - high)
            person = poses[t * 2 // FRAMES].resize((wide, high), Image.Resampling.BICUBIC)
            frame[y : y + high, x : x + wide] = np.asarray(person)
            boxes[t, i] = x + 0.3, y + 0.7, x + wide - 0.4, y + high - 0.2
        frames[t] = frame[..., ::-1]
    return frames, boxes


def environment(program: Program, folder: Path, first: Sequence[str]) -> Path:
    """The Python of an environment with `program`, made where it is not there yet."""
    python, done = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join((*first, *program.requirements))
    if not done.exists() or done.read_text() != wanted:
        print(f"Installing {' '.join(program.requirements)} ...", flush=True)
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *first, *program.requirements], check=True)
        done.write_text(wanted)
    return python


def versions(program: Program, python: Path) -> str:
    """Of the packages that matter."""
    asked = f"from importlib.metadata import version; [print(n, version(n)) for n in {program.versions!r}]"
    answer = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
    return ", ".join(answer.stdout.split("\n")).rstrip(", ")


def trial(program: Program, python: Path, model: str, work: Path, frames: NDArray[np.uint8], boxes: Boxes) -> list[str]:
    """Export, run and compare; what does not hold, a line each."""
    folder = work / f"{program.name}-files"
    folder.mkdir(exist_ok=True)
    exported = {name: _export(model, folder / name, program.name, **given) for name, given in program.files.items()}
    wrong = f"for-{program.wrong}.onnx"
    exported[wrong] = _export(model, folder / wrong, program.wrong)
    script = Path(__file__).with_name(f"interop_{program.name}.py")
    # Neither may install packages or report to anybody while it runs.
    quiet = {"YOLO_CONFIG_DIR": str(folder.resolve()), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    run = subprocess.run(
        [python, script, work / "video", folder, *(folder / name for name in exported)],
        env={**os.environ, **quiet, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        return [f"{program.name} ended with code {run.returncode}:\n{run.stdout}{run.stderr}"]
    failures = []
    for name, path in exported.items():
        result = np.load(folder / f"{name}.npz")
        features, identities = result["features"], result["identities"]
        resized, same_boxes, end_to_end = _compare(program, model, path, frames, boxes, features)
        tracks = [len(set(column[column >= 0])) for column in identities.T]
        shown = " ".join(map(str, tracks)) if any(tracks) else "not run"
        verdict = verify(path, program.name, model=model)
        print(
            f"{name:32}{resized.min():12.6f}{same_boxes.mean():10.4f} {same_boxes.min():.4f}"
            f"{end_to_end.mean():11.4f} {end_to_end.min():.4f}  {shown:20}"
            f"{'right' if verdict.right else 'WRONG'} ({verdict.takes})",
            flush=True,
        )
        right = resized.min() >= LEAST_RESIZED and same_boxes.mean() >= LEAST and end_to_end.mean() >= LEAST
        if right != (name != wrong):
            failures.append(f"{program.name}, {name}: expected features that are {'wrong' if right else 'right'}")
        if verdict.right != (name != wrong):
            failures.append(f"{program.name}, {name}: osnet.verify says {'right' if verdict.right else 'wrong'}")
        if name != wrong and (set(tracks) != {1} or (identities[-1] < 0).any()):
            failures.append(f"{program.name}, {name}: expected one track for each person to the end, got {tracks}")
    return failures


def _export(model: str, path: Path, consumer: str, **given: Any) -> Path:
    if path.suffix == "":
        path.mkdir(exist_ok=True)
        path = path / "a.xml"
    return export(model, path, consumer=consumer, overwrite=True, **given).path


def _compare(
    program: Program, model: str, path: Path, frames: NDArray[np.uint8], boxes: Boxes, features: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Cosines (N * P,) of `features` (N, P, 512): the same resize, the same boxes, end to end."""
    consumer, size = get_consumer(program.name), Embedder(path).size
    embedder = Embedder(model, precision="fp32", size=size)
    rows: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for frame, row, found in zip(frames, boxes, features):
        rgb = np.ascontiguousarray(frame[..., ::-1])
        crops = [crop for crop in crop_boxes(rgb, program.cut(row)) if crop is not None]
        resized = [np.rint(consumer.resize(crop, size)).astype(np.uint8) for crop in crops]
        for kept, pictures in zip(rows, (resized, crops)):
            kept.append(cosines(found, embedder(pictures)))
        rows[2].append(cosines(found, embedder(rgb, boxes=row)))
    first, second, third = map(np.concatenate, rows)
    return first, second, third


if __name__ == "__main__":
    sys.exit(main())

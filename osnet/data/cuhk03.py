"""Read CUHK03 under the new protocol (Zhong et al., CVPR 2017: 767 people to train on, 700 to test).

Splits come from ``cuhk03_new_protocol_config_{detected,labeled}.mat``, images from ``images_detected`` and
``images_labeled``, which ``python -m osnet.data.cuhk03 FOLDER`` makes once from ``cuhk03_release/cuhk-03.mat``. They
are named as torchreid names them: ``<pair>_<person>_<view>_<image>.png``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from osnet.data.records import DataSet, Record
from osnet.errors import DataError, DependencyError, OsnetError
from osnet.escaping import printable
from osnet.progress import track

KINDS = ("detected", "labeled")
RELEASE = Path("cuhk03_release", "cuhk-03.mat")


def config_file(root: Path, kind: str) -> Path:
    """Return the file with the splits of one kind of boxes."""
    return root / f"cuhk03_new_protocol_config_{kind}.mat"


def read_cuhk03(root: Path, kind: str = "detected") -> DataSet:
    """Read the boxes of a detector (`kind` ``detected``, torchreid's default) or of human annotators (``labeled``).

    Raises:
        DataError: the file of splits or the folder of images is missing or damaged.
        DependencyError: scipy is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DependencyError(
            f'CUHK03 needs scipy, which cannot be imported ({error}): pip install "osnet[eval]"'
        ) from error
    file, folder = config_file(root, kind), root / f"images_{kind}"
    if not file.is_file():
        raise DataError(
            f"CUHK03 ({kind}) needs {str(file)!r}: get it from the page of the new protocol, or use the other kind"
        )
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is missing: make it once with `python -m osnet.data.cuhk03 {root}`")
    try:
        config = loadmat(file)
        people = config["labels"].reshape(-1)
        names = [str(cell.item() if isinstance(cell, np.ndarray) else cell) for cell in config["filelist"].reshape(-1)]
        splits = {split: config[f"{split}_idx"].reshape(-1).astype(int) for split in ("train", "query", "gallery")}
        records = [
            Record(folder / names[i - 1], int(people[i - 1]), int(names[i - 1].split("_")[2]), split)
            for split, places in splits.items()
            for i in _checked(places, len(names))
        ]
    except OSError as error:
        raise DataError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise DataError(f"{str(file)!r} is not a CUHK03 protocol file: {type(error).__name__}: {error}") from error
    return DataSet("cuhk03" if kind == "detected" else "cuhk03-labeled", root, "market1501", tuple(records))


def _checked(places: Any, count: int) -> Any:
    if len(places) and not 1 <= places.min() <= places.max() <= count:
        raise ValueError(f"a place outside of the list of {count} files")
    return places


def extract(root: Path, *, progress: bool = False) -> list[Path]:
    """Write the images in ``cuhk-03.mat`` as PNG files; an existing folder is not changed.

    Returns:
        The new folders, each complete.

    Raises:
        DataError: ``cuhk-03.mat`` is missing or damaged.
        DependencyError: h5py is missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(
            f'cuhk-03.mat needs h5py, which cannot be imported ({error}): pip install "osnet[eval]"'
        ) from error
    from PIL import Image

    made = []
    try:
        with h5py.File(root / RELEASE, "r") as release:
            for kind in KINDS:
                folder = root / f"images_{kind}"
                if folder.exists():
                    continue
                private = root / f".images_{kind}.{os.getpid()}"
                try:
                    private.mkdir()
                    for name, pixels in track(_images(release, kind), None, kind, "images", show=progress):
                        Image.fromarray(pixels).save(private / name)
                    private.rename(folder)
                finally:
                    shutil.rmtree(private, ignore_errors=True)
                made.append(folder)
    except (OSError, KeyError) as error:
        raise DataError(f"cannot extract {str(root / RELEASE)!r}: {error}; expected the file as released") from error
    return made


def _images(release: Any, kind: str) -> Iterator[tuple[str, Any]]:
    """Name and pixels (H, W, 3) uint8 of each image; empty cells are skipped."""
    for pair, pair_cell in enumerate(release[kind][0], 1):
        for person, row in enumerate(release[pair_cell][:].T, 1):
            for number, cell in enumerate(row, 1):
                pixels = release[cell][:].T
                if pixels.ndim == 3 and pixels.size:
                    view = 1 if number <= 5 else 2
                    yield f"{pair}_{person:03d}_{view}_{number:02d}.png", np.ascontiguousarray(pixels)


def main(arguments: list[str]) -> int:
    """``python -m osnet.data.cuhk03 FOLDER``."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m osnet.data.cuhk03 FOLDER (which holds cuhk03_release/cuhk-03.mat)", file=sys.stderr)
        return 2
    try:
        for folder in extract(Path(arguments[0]), progress=True):
            print(printable(folder))
    except OsnetError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

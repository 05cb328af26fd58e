"""Read a folder or table as a data set. Its layout is detected, or given by name."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from osnet.checks import check_choice, check_integer
from osnet.data.cuhk03 import KINDS, RELEASE, config_file, read_cuhk03
from osnet.data.layouts import (
    MARKET_SPLITS,
    MSMT17_FOLDERS,
    MSMT17_LISTS,
    SPLIT_FOLDERS,
    read_folder,
    read_market,
    read_msmt17,
    splits_above_people,
)
from osnet.data.mot import is_sequence, read_mot
from osnet.data.records import DISTRACTOR, SPLITS, DataSet, Record
from osnet.data.tables import read_table
from osnet.errors import DataError, OptionError
from osnet.image_files import is_image_name

LAYOUTS = {
    "market1501": "bounding_box_train, query, bounding_box_test with <person>_c<camera>... images",
    "dukemtmcreid": "the same, as DukeMTMC-reID names its images",
    "msmt17": "list_*.txt beside train and test (V1) or mask_train_v2 and mask_test_v2 (V2)",
    "cuhk03": "cuhk03_new_protocol_config_detected.mat and images_detected",
    "cuhk03-labeled": "cuhk03_new_protocol_config_labeled.mat and images_labeled",
    "mot": "sequences in MOT format, for training only: img1/000001.jpg and gt/gt.txt",
    "folder": "<person>/<image>",
    "csv": "a table with the columns path, person, camera, split, tracklet",
    "parquet": "the same as parquet",
}
"""Known layouts, each with its files."""

INNER_FOLDERS = {
    "market1501": ("Market-1501-v15.09.15",),
    "dukemtmc-reid": ("DukeMTMC-reID",),
    "msmt17": ("MSMT17_V1", "MSMT17_V2"),
}
"""Folders that torchreid and the model zoo put around a data set, and the data set inside."""

_RESERVED = frozenset({*MARKET_SPLITS, *SPLIT_FOLDERS, *(name for names in MSMT17_FOLDERS.values() for name in names)})
_DUKE_NAME = re.compile(r"-?\d+_c\d+_f\d+")
_LOOKED_AT = 200  # entries of a folder that are examined for a hint


def load_records(
    data: str | os.PathLike[str],
    dataset: str = "auto",
    *,
    seed: int = 0,
    split: str | None = None,
    distractors: bool = False,
) -> DataSet:
    """Read the data set in the folder or table `data` as records; no image is opened.

    Args:
        data: the folder that holds the splits (or torchreid's folder around it, by its own name), or a table.
        dataset: one of `LAYOUTS`, or ``auto`` to detect it.
        seed: of the division into query and gallery, for layouts that have none.
        split: for those layouts, put all images there instead.
        distractors: add Market-1501's 500,000 distractors from its folder ``images`` to the gallery.

    Returns:
        A `DataSet`.

    Raises:
        OptionError: unknown layout or split, or a seed that is not an integer of at least 0.
        DataError: no such data set there (if it is one folder up or down, the message names the folder); files that are
            not named as the layout requires; no images.

    >>> import osnet
    >>> data = osnet.load_records("shop/")
    >>> data.name, len(data.split("query")), len(data.split("gallery"))
    ('folder', 4, 4)
    """
    check_choice("dataset", dataset, ("auto", *LAYOUTS))
    if split is not None:
        check_choice("split", split, SPLITS)
    seed = check_integer("seed", seed, least=0)
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"no data set at {str(path)!r}: there is no such file or folder")
    layout, root = _place(path, dataset)
    if distractors and layout != "market1501":
        raise OptionError(f"distractors are part of market1501; {str(root)!r} is {layout}")
    try:
        if layout in ("market1501", "dukemtmcreid"):
            found = read_market(root, layout, distractors=distractors)
        elif layout == "msmt17":
            found = read_msmt17(root)
        elif layout in ("cuhk03", "cuhk03-labeled"):
            found = read_cuhk03(root, "detected" if layout == "cuhk03" else "labeled")
        elif layout == "mot":
            found = read_mot(root)
        elif layout == "folder":
            found = read_folder(root, seed=seed, split=split)
        else:
            found = read_table(root, seed=seed, split=split)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot list {str(root)!r}: {error}") from error
    if not found.records:
        raise DataError(f"{str(root)!r} ({layout}) has no images; expected {LAYOUTS[layout]}")
    return found


def load_training_records(data: str | os.PathLike[str], dataset: str = "auto") -> DataSet:
    """Read a data set for training; a data set without splits is used whole.

    Args, returns and raises as `load_records`.
    """
    if dataset == "auto" and _has_sequences(Path(data).expanduser()):
        dataset = "mot"
    found = load_records(data, dataset)
    if found.name in ("folder", "csv", "parquet") and not found.split("train", "val"):
        found = load_records(data, dataset, split="train")
    return found


def trainable(data: DataSet) -> list[Record]:
    """Return the records of `data` to train on."""
    return [record for record in data.split("train") if record.person != DISTRACTOR]


def check_training_records(records: Sequence[Record], name: str) -> None:
    """Check that `records` can be trained on.

    Raises:
        DataError: no images, fewer than two people, or no person with two images.
    """
    images = Counter(record.person for record in records)
    if not images:
        raise DataError(f"{name} has no training images; expected a split 'train'")
    if len(images) < 2:
        raise DataError(f"the training images of {name} show 1 identity; expected at least 2")
    if max(images.values()) < 2:
        raise DataError(
            f"each of the {len(images)} identities of {name} has one image; expected several of each, from different "
            "cameras"
        )


def _place(path: Path, dataset: str) -> tuple[str, Path]:
    """Layout and folder of the data set at `path`; the error names the correct folder if it is near."""
    if path.is_file():
        kind = path.suffix.lower().lstrip(".")
        if dataset in ("csv", "parquet"):
            return dataset, path
        if dataset == "auto" and kind in ("csv", "parquet"):
            return kind, path
        raise DataError(f"{str(path)!r} is a file; expected a folder with a data set, or a .csv or .parquet table")
    if dataset in ("csv", "parquet"):
        raise DataError(f"{str(path)!r} is a folder; expected a .{dataset} table")
    if _has_sequences(path):
        if dataset == "mot":
            return dataset, path
        if dataset == "auto":
            raise DataError(
                f"{str(path)!r} has sequences in MOT format: evaluate them with osnet eval --protocol reassociation, "
                "train on them with osnet train, or embed their boxes with osnet embed --boxes"
            )
    above = path.resolve().parent
    if path.name in _RESERVED and dataset != "folder" and look(above, dataset):
        raise DataError(
            f"{str(path)!r} is one folder too low: it is part of the data set {str(above)!r}; use that folder"
        )
    inside = [path / name for name in INNER_FOLDERS.get(path.name.lower(), ()) if look(path / name, dataset)]
    if len(inside) > 1:
        raise DataError(f"{str(path)!r} has several versions; use one: {' or '.join(map(str, inside))}")
    for folder in (path, *inside):
        layout = look(folder, dataset)
        if layout:
            return layout, folder
    raise DataError(_hint(path, dataset))


def _has_sequences(path: Path) -> bool:
    return path.is_dir() and (is_sequence(path) or any(is_sequence(below) for below in _folders(path)))


def look(folder: Path, dataset: str = "auto") -> str | None:
    """Detect the layout of `folder` itself, any or the one called `dataset`; None if it has none."""
    if not folder.is_dir():
        return None
    if (folder / "bounding_box_test").is_dir() or (folder / "bounding_box_train").is_dir():
        found = {"market1501", "dukemtmcreid"}
        guess = _market_or_duke(folder) if dataset == "auto" else dataset
    elif any((folder / f"list_{split}.txt").is_file() for split in MSMT17_LISTS):
        found, guess = {"msmt17"}, "msmt17"
    elif (folder / RELEASE).is_file() or any(config_file(folder, kind).is_file() for kind in KINDS):
        found = {"cuhk03", "cuhk03-labeled"}
        guess = "cuhk03" if config_file(folder, "detected").is_file() else "cuhk03-labeled"
    else:
        found, guess = {"folder"}, "folder"
    if dataset == "folder":
        return "folder" if _holds_people(folder, reserved=frozenset()) else None
    if guess == "folder" and not _holds_people(folder, reserved=_RESERVED):
        return None
    if dataset == "auto":
        return guess
    return dataset if dataset in found else None


def _market_or_duke(folder: Path) -> str:
    """By the first image's name: DukeMTMC-reID writes a frame after the camera, ``0005_c2_f0046985.jpg``."""
    for part in MARKET_SPLITS:
        if (folder / part).is_dir():
            with os.scandir(folder / part) as entries:
                first = next((entry.name for entry in entries if is_image_name(entry.name)), None)
            if first:
                return "dukemtmcreid" if _DUKE_NAME.match(first) else "market1501"
    return "market1501"


def _holds_people(folder: Path, reserved: frozenset[str]) -> bool:
    """Whether `folder`, or its folders ``query`` and ``gallery``, contain folders of images."""
    if splits_above_people(folder):
        return any(_has_images(below) for name in ("query", "gallery") for below in _folders(folder / name))
    return any(below.name not in reserved and _has_images(below) for below in _folders(folder))


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(is_image_name(entry.name) for entry in entries)


def _folders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    yield from (folder / name for name in names[:_LOOKED_AT])


def _hint(path: Path, dataset: str) -> str:
    """Say why there is no data set at `path`, and where there may be one: up to three folders below."""
    expected = LAYOUTS[dataset] if dataset != "auto" else f"one of {', '.join(LAYOUTS)}"
    level = [path]
    for _ in range(3):
        level = [below for folder in level for below in _folders(folder)][:_LOOKED_AT]
        found = [below for below in level if look(below, dataset)]
        if found:
            others = f" (or {len(found) - 1} other{'s' * (len(found) > 2)} beside it)" if len(found) > 1 else ""
            return f"{str(path)!r} is too high: the data set is in {str(found[0])!r}{others}; use that folder"
    if _has_images(path):
        return f"{str(path)!r} has images directly inside; expected {expected}; use its parent if they show one person"
    other = look(path) if dataset != "auto" else None
    return f"no data set in {str(path)!r}: expected {expected}" + (f"; this looks like {other}" if other else "")

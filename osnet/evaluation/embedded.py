"""Evaluate features that were embedded before, without images: a folder or file that ``osnet embed`` wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from osnet.checks import check_choice
from osnet.data import doctor
from osnet.data.layouts import MARKET_NAME, MARKET_SPLITS, Image, divide, numbered
from osnet.data.records import JUNK, SPLITS, DataSet
from osnet.data.tables import cell_text
from osnet.errors import DataError
from osnet.evaluation.compiled_loops import require_numba
from osnet.evaluation.distances import METRICS
from osnet.evaluation.evaluate import POOLS, Evaluation, ranked
from osnet.evaluation.protocols import PROTOCOLS, index_labels
from osnet.evaluation.rerank import K1, K2, LAMBDA, check_settings, doubt
from osnet.evaluation.tasks import labels_of, pooled
from osnet.inference.embedder import Signature, normalise
from osnet.inference.feature_files import read_features
from osnet.inference.frames import FRAME
from osnet.inference.tables import BOX
from osnet.locations import Location, location

_COLUMNS = ("person", "camera", "split", "tracklet")


def evaluate_features(
    path: str | os.PathLike[str],
    *,
    metric: str = "cosine",
    protocol: str | None = None,
    rerank: bool = False,
    k1: int = K1,
    k2: int = K2,
    lambda_value: float = LAMBDA,
    pool: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Rank the features in `path`; no image is opened.

    People and cameras are in the columns ``person``, ``camera``, and where present ``split`` and ``tracklet``, of a
    folder or ``.parquet``. Without the column ``person`` they are in the names of the files, which must be as in
    Market-1501 (``0002_c1s1_000451_03.jpg``); the folders ``query``, ``bounding_box_test`` and ``bounding_box_train``
    are the splits then. Images without a split are divided as `osnet.data.layouts.divide` says.

    Args:
        path: what ``osnet embed`` wrote, on this machine or in an object store (``s3://...``).
        metric, protocol, rerank, k1, k2, lambda_value, pool, seed: as `osnet.evaluate`.

    Returns:
        An `Evaluation` with a `signature` and without weights.

    Raises:
        OptionError: an unknown name, or not a feature file.
        DataError: people are unknown, or an evaluation would be meaningless.
    """
    require_numba()
    check_choice("metric", metric, METRICS)
    check_settings(k1, k2, lambda_value)
    if protocol is not None:
        check_choice("protocol", protocol, PROTOCOLS)
    if pool is not None:
        check_choice("pool", pool, POOLS)
    source = location(path)
    names, features, about = read_features(str(source))
    signature = Signature.from_dict(about)
    data = _data_set(source, names, _columns(source), seed, protocol)
    findings = list(doctor.labels(data))
    for finding in findings:
        if finding.severity == "error":
            raise DataError(f"{source}: {finding.message}")
    if metric == "cosine":
        features = normalise(features)
    places: dict[str, list[int]] = {"query": [], "gallery": []}
    for place, record in enumerate(data.records):
        if record.split == "gallery" or (record.split == "query" and record.person != JUNK):
            places[record.split].append(place)
    (query, query_features), (gallery, gallery_features) = (
        pooled(tuple(data.records[place] for place in places[split]), features[places[split]], pool)
        for split in ("query", "gallery")
    )
    labels = labels_of(query, gallery)
    index_labels(data.protocol, **labels, queries=len(query), size=len(gallery))
    settings = {"k1": k1, "k2": k2, "lambda": lambda_value} if rerank else None
    how = {**labels, "protocol": data.protocol, "seed": seed}
    ranking, distances = ranked(query_features, gallery_features, how, metric, settings)
    messages = [finding.message for finding in findings] + [*(doubt(len(gallery), k1) if rerank else ())]
    return Evaluation(
        about.get("source", signature.model), None, data, query, gallery, query_features, gallery_features, ranking,
        distances, metric, data.protocol, rerank, settings, signature.flip, pool, about.get("backend", "unknown"),
        signature.precision, (signature.height, signature.width), (), 0, tuple(messages), (), signature,
    )  # fmt: skip


def _columns(source: Location) -> dict[str, list[str]]:
    """The columns of labels that the features have, as texts; empty cells are empty texts."""
    if not source.is_dir() and source.suffix.lower() != ".parquet":
        return {}
    dataset = read_features(str(source), lazy=True)
    there = [name for name in _COLUMNS if name in dataset.schema.names]
    table = dataset.to_table(columns=there)
    return {name: [cell_text(cell) for cell in table[name].to_pylist()] for name in there}


def _places(source: Location, count: int) -> list[dict[str, Any]]:
    """Box and frame of each row, where the table that was embedded has them."""
    if not source.is_dir() and source.suffix.lower() != ".parquet":
        return [{}] * count
    dataset = read_features(str(source), lazy=True)
    known = set(dataset.schema.names)
    wanted = [*(BOX if set(BOX) <= known else ()), *([FRAME] if FRAME in known else [])]
    rows = dataset.to_table(columns=wanted).to_pylist() if wanted else [{}] * count
    return [{"box": _box(row), "frame": frame if isinstance(frame := row.get(FRAME), int) else None} for row in rows]


def _box(row: dict[str, Any]) -> tuple[float, float, float, float] | None:
    corners = [row.get(name) for name in BOX]
    if not all(isinstance(corner, (int, float)) for corner in corners):
        return None
    x1, y1, x2, y2 = (float(corner) for corner in corners if corner is not None)
    return x1, y1, x2, y2


def _data_set(
    source: Location, names: Sequence[str], columns: dict[str, list[str]], seed: int, protocol: str | None
) -> DataSet:
    """A record for each name, in order."""
    if not names:
        raise DataError(f"{source}: has no features; expected those of query and gallery images")
    images = _of_columns(source, names, columns) if "person" in columns else _of_names(source, names)
    images = [image._replace(**place) for image, place in zip(images, _places(source, len(names)))]
    people, person_names = numbered([image.person for image in images])
    usual, records = divide(images, people, seed)
    return DataSet("features", cast(Path, source), protocol or usual, records, person_names=person_names)


def _of_columns(source: Location, names: Sequence[str], columns: dict[str, list[str]]) -> list[Image]:
    empty = [""] * len(names)
    given = {name: columns.get(name, empty) for name in _COLUMNS}
    for name, person, split in zip(names, given["person"], given["split"]):
        if not person:
            raise DataError(f"{source}: the person of {name} is empty; expected a number or name in every row")
        if split and split not in SPLITS:
            raise DataError(f"{source}: the split of {name} is {split!r}; expected one of {', '.join(SPLITS)}")
    cameras = iter(numbered([camera for camera in given["camera"] if camera])[0])
    return [
        Image(Path(name), person, next(cameras) if camera else None, split or None, tracklet or None)
        for name, person, camera, split, tracklet in zip(names, *(given[name] for name in _COLUMNS))
    ]


def _of_names(source: Location, names: Sequence[str]) -> list[Image]:
    images = []
    for name in names:
        path = Path(name)
        match = MARKET_NAME.match(path.name)
        if not match:
            raise DataError(
                f"{source}: has no column person, and {path.name!r} is not named <person>_c<camera>... as in "
                "Market-1501; embed a table with the columns path, person and camera"
            )
        split = MARKET_SPLITS.get(path.parent.name) or ("gallery" if int(match[1]) <= 0 else None)
        images.append(Image(path, str(int(match[1])), int(match[2]), split))
    return images

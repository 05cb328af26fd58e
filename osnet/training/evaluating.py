"""How good the weights of a run are now: features by OpenVINO at the size that is trained, ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osnet.checkpoint.weights import Weights
from osnet.data.records import Record, cameras, persons
from osnet.evaluation.ranking import Ranking, rank
from osnet.inference.embedder import prefetch
from osnet.inference.images import prepare

_BATCH = 32


def extract(weights: Weights, paths: Sequence[Path], *, height: int, width: int) -> NDArray[np.float32]:
    """Features (N, 512) in fp32, not normalised, of image files resized to (height, width).

    Raises:
        ImageError: a file that is no image.
        DependencyError: OpenVINO is missing.
    """
    from osnet.models.graph import build_graph, import_openvino

    graph = build_graph(weights, images=True, height=height, width=width)
    network = import_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def load(path: Path) -> NDArray[Any]:
        return prepare(path, height=height, width=width)

    def features() -> Iterator[NDArray[np.float32]]:
        batch = []
        for place, image in enumerate(prefetch(load, paths), 1):
            batch.append(image)
            if len(batch) == _BATCH or place == len(paths):
                yield network([np.stack(batch)])[0].copy()
                batch.clear()

    return np.concatenate(list(features()))


def measure(
    weights: Weights, query: Sequence[Record], gallery: Sequence[Record], *, protocol: str, height: int, width: int
) -> Ranking:
    """mAP and CMC by cosine distance; errors as `extract` and `osnet.rank`."""
    features = extract(weights, [r.path for r in (*query, *gallery)], height=height, width=width)
    return rank(
        features[: len(query)],
        features[len(query) :],
        query_ids=persons(query),
        gallery_ids=persons(gallery),
        query_cameras=cameras(query),
        gallery_cameras=cameras(gallery),
        protocol=protocol,
    )

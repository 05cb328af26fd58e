"""OSNet person re-identification: card → verified file → weights → network or graph → features → ranks.

Importing this costs a few milliseconds and loads no framework: each public name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from osnet._version import __version__
from osnet.import_order import guard_protobuf

if TYPE_CHECKING:
    from osnet.checkpoint.convert import convert
    from osnet.checkpoint.weights import Weights
    from osnet.data.load import load_records
    from osnet.errors import OsnetError
    from osnet.evaluation.clustering import cluster
    from osnet.evaluation.evaluate import Evaluation, evaluate
    from osnet.evaluation.ranking import Ranking, rank, rank_distances
    from osnet.evaluation.rerank import rerank
    from osnet.exporting.export import Export, export
    from osnet.exporting.verify import verify
    from osnet.gallery.gallery import Gallery
    from osnet.hub.card import Card
    from osnet.hub.catalog import get_card, list_cards
    from osnet.hub.fetch import fetch
    from osnet.inference.embedder import Embedder
    from osnet.inference.feature_files import read_features
    from osnet.models.load import create_model, load, read_weights
    from osnet.training.config import TrainConfig
    from osnet.training.publishing import publish_run
    from osnet.training.run import Run
    from osnet.training.trainer import resume, train
    from osnet.variants import list_models

_HOMES = {
    "Card": "osnet.hub.card",
    "Embedder": "osnet.inference.embedder",
    "Evaluation": "osnet.evaluation.evaluate",
    "Export": "osnet.exporting.export",
    "Gallery": "osnet.gallery.gallery",
    "Ranking": "osnet.evaluation.ranking",
    "OsnetError": "osnet.errors",
    "Run": "osnet.training.run",
    "TrainConfig": "osnet.training.config",
    "Weights": "osnet.checkpoint.weights",
    "cluster": "osnet.evaluation.clustering",
    "convert": "osnet.checkpoint.convert",
    "create_model": "osnet.models.load",
    "evaluate": "osnet.evaluation.evaluate",
    "export": "osnet.exporting.export",
    "fetch": "osnet.hub.fetch",
    "get_card": "osnet.hub.catalog",
    "list_cards": "osnet.hub.catalog",
    "list_models": "osnet.variants",
    "load": "osnet.models.load",
    "load_records": "osnet.data.load",
    "publish_run": "osnet.training.publishing",
    "rank": "osnet.evaluation.ranking",
    "rank_distances": "osnet.evaluation.ranking",
    "read_features": "osnet.inference.feature_files",
    "read_weights": "osnet.models.load",
    "rerank": "osnet.evaluation.rerank",
    "resume": "osnet.training.trainer",
    "train": "osnet.training.trainer",
    "verify": "osnet.exporting.verify",
}

__all__ = [
    "Card",
    "Embedder",
    "Evaluation",
    "Export",
    "Gallery",
    "OsnetError",
    "Ranking",
    "Run",
    "TrainConfig",
    "Weights",
    "__version__",
    "cluster",
    "convert",
    "create_model",
    "evaluate",
    "export",
    "fetch",
    "get_card",
    "list_cards",
    "list_models",
    "load",
    "load_records",
    "publish_run",
    "rank",
    "rank_distances",
    "read_features",
    "read_weights",
    "rerank",
    "resume",
    "train",
    "verify",
]

guard_protobuf()


def __getattr__(name: str) -> Any:
    if name == "mshub":  # a user registers it by hand; see docs/mindspore-hub.md
        return importlib.import_module("osnet.mshub")
    if name not in _HOMES:
        raise AttributeError(f"module 'osnet' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

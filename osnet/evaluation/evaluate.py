"""Evaluate a model on a data set: features, ranks, thresholds, and what the card claims."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from osnet.checkpoint.weights import Weights
from osnet.checks import check_bool, check_choice
from osnet.data import check_files
from osnet.data.load import load_records
from osnet.data.records import DataSet, Record
from osnet.errors import DataError
from osnet.evaluation.claims import Claim, claims_of, why_not_comparable
from osnet.evaluation.compiled_loops import require_numba
from osnet.evaluation.distances import METRICS, Floats, check_pair, row_blocks
from osnet.evaluation.open_set import OpenSet, open_set
from osnet.evaluation.protocols import PROTOCOLS, Labels, index_labels
from osnet.evaluation.ranking import Nearest, Ranking, nearest, rank, rank_distances
from osnet.evaluation.rerank import K1, K2, LAMBDA, check_settings, doubt, reranked
from osnet.evaluation.tasks import checked_task, labels_of, pooled
from osnet.evaluation.verification import Verification, verify_pairs
from osnet.hub.settings import QuietFetchOptions, read_settings
from osnet.inference.embedder import Embedder, Signature, normalise
from osnet.inference.feature_cache import Progress, embed_cached
from osnet.models.artefact import Artefact
from osnet.models.load import ModelLike, read_model
from osnet.variants import check_size, size_text

if TYPE_CHECKING:
    from typing_extensions import Unpack


DataLike = Union[str, "os.PathLike[str]", DataSet]

POOLS = ("mean",)
"""Known ways to combine the features of a tracklet into one."""

HOLD_OUT_FRACTION = 0.5
"""Fraction of the people who are removed from the gallery for open-set figures, if all queries are enrolled."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`. Figures of each query are in `ranking`, in the order of `query`.

    Attributes:
        model: as it was given.
        weights: that were used; None for an exported network, and for features that were read from files.
        data: the data set, without the records that were left out.
        query, gallery: the record of each feature; with pooling, the first of each tracklet. The gallery includes junk.
        query_features, gallery_features: float32 (Q, 512), (G, 512); of length 1 under ``cosine``, else as the network
            gives them (torchreid's way).
        ranking: mAP, CMC, mINP and each query's own figures.
        distances: re-ranked, float32 (Q, G); None without re-ranking.
        metric, protocol, rerank, flip, pool, backend, precision: how it was done.
        size: height and width in pixels that images were resized to.
        rerank_settings: ``k1``, ``k2`` and ``lambda``; None without re-ranking.
        claims: of published cards of this checkpoint, the model's own card first.
        computed: number of images whose features were computed; the others were cached.
        findings: one line for each warning: about the data, from the quick part of `osnet doctor`, and about re-ranking
            a small gallery.
        left_out: the error message of each image that cannot be read; these images are in no figure.
        signature: of an exported network's features, or of those that were read from files; None with `weights`.
    """

    model: str
    weights: Weights | None = field(repr=False)
    data: DataSet = field(repr=False)
    query: tuple[Record, ...] = field(repr=False)
    gallery: tuple[Record, ...] = field(repr=False)
    query_features: Floats = field(repr=False)
    gallery_features: Floats = field(repr=False)
    ranking: Ranking
    distances: Floats | None = field(repr=False)
    metric: str
    protocol: str
    rerank: bool
    rerank_settings: dict[str, float] | None
    flip: bool
    pool: str | None
    backend: str
    precision: str
    size: tuple[int, int]
    claims: tuple[Claim, ...]
    computed: int
    findings: tuple[str, ...]
    left_out: tuple[str, ...]
    signature: Signature | None = None

    @property
    def network(self) -> str:
        """Name of the network, such as ``osnet_x0_25``."""
        return self.weights.variant.name if self.weights else self.signature.model if self.signature else ""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the checkpoint; None for weights in memory."""
        return self.weights.sha256 if self.weights else self.signature.sha256 if self.signature else None

    @property
    def mAP(self) -> float:  # noqa: N802 - the field writes it so
        """Mean average precision, 0 to 1."""
        return self.ranking.mAP

    @property
    def labels(self) -> dict[str, Any]:
        """Keywords of `osnet.rank`: identities and cameras of query and gallery, int64."""
        return labels_of(self.query, self.gallery)

    @cached_property
    def verification(self) -> Verification:
        """All pairs of a query and a gallery image by similarity (never re-ranked). Errors as `verify_pairs`."""
        return verify_pairs(
            self.query_features, self.gallery_features, **self.labels, metric=self.metric, protocol=self.protocol
        )

    @cached_property
    def open_set(self) -> OpenSet:
        """The most similar gallery image of enrolled and unenrolled queries. If every query is enrolled, half of the
        people are removed from the gallery. Errors as `osnet.evaluation.open_set.open_set`."""
        labels = self.labels
        known = np.isin(labels["query_ids"], labels["gallery_ids"])
        fraction = HOLD_OUT_FRACTION if known[labels["query_ids"] >= 0].all() else 0.0
        return open_set(
            self.query_features, self.gallery_features, **labels, metric=self.metric, protocol=self.protocol,
            hold_out_fraction=fraction,
        )  # fmt: skip

    @cached_property
    def indexed_labels(self) -> Labels:
        """The labels under the protocol, indexed for looking up matches."""
        return index_labels(self.protocol, **self.labels, queries=len(self.query), size=len(self.gallery))

    @cached_property
    def nearest(self) -> Nearest:
        """The nearest match and non-match of each query by the ranked distances."""
        return nearest(self.blocks(), self.indexed_labels)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield the ranked distances by blocks of rows: ``(rows, block)``; the memory of a block is reused."""
        if self.distances is not None:
            yield slice(0, len(self.distances)), self.distances
        else:
            yield from row_blocks(*check_pair(self.query_features, self.gallery_features, self.metric), self.metric)

    def claim_beside(self) -> dict[str, Any] | None:
        """Return the first claim, and measured minus claimed mAP if the two can be compared; None without a claim."""
        if not self.claims:
            return None
        claim, *others = self.claims
        own_size = self.weights.input_size if self.weights else self.size
        other_size = None if self.size == own_size else size_text(self.size)
        reason = why_not_comparable(claim, self.data, {**vars(self), "other_size": other_size})
        return {
            "text": claim.text,
            "mAP": claim.mAP,
            "dataset": claim.dataset,
            "card": claim.uid,
            "difference": None if reason or claim.mAP is None else self.mAP - claim.mAP,
            "not_comparable": reason,
            "others": [{"text": other.text, "card": other.uid} for other in others],
        }

    def to_dict(self, *, thresholds: bool = False) -> dict[str, Any]:
        """Return the summary as plain values, for JSON.

        Args:
            thresholds: add ``verification`` and ``open_set``; each is None if the data has no such pairs or people.
        """
        found = {
            "model": self.model,
            "data": str(self.data.root),
            **self.ranking.to_dict(),
            "metric": self.metric,
            "gallery": len(self.gallery),
            "dataset": self.data.name,
            "rerank": self.rerank,
            "rerank_settings": self.rerank_settings,
            "flip": self.flip,
            "pool": self.pool,
            "network": self.network,
            "sha256": self.sha256,
            "backend": self.backend,
            "precision": self.precision,
            "size": size_text(self.size),
            "computed": self.computed,
            "claim": self.claim_beside(),
            "findings": list(self.findings),
            "left_out": list(self.left_out),
        }
        for name in ("verification", "open_set") if thresholds else ():
            found[name] = None
            with contextlib.suppress(DataError):
                found[name] = getattr(self, name).to_dict()
        return found


def evaluate(
    model: ModelLike,
    data: DataLike,
    *,
    dataset: str = "auto",
    metric: str = "cosine",
    protocol: str | None = None,
    rerank: bool = False,
    k1: int = K1,
    k2: int = K2,
    lambda_value: float = LAMBDA,
    flip: bool = False,
    pool: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    size: tuple[int, int] | None = None,
    input: str | None = None,
    distractors: bool = False,
    seed: int = 0,
    cache: bool = True,
    progress: Progress | None = None,
    **fetch: Unpack[QuietFetchOptions],
) -> Evaluation:
    """Measure how well `model` finds the queries of `data` in its gallery.

    The arguments and the data set are checked before any feature is computed; this includes the quick part of `osnet
    doctor`. An image that cannot be read is left out, see `Evaluation.left_out`.

    Args:
        model: any model reference (see `osnet.read_weights`), such as `Weights` or a network in memory; or an exported
            network (``.onnx``, ``.xml``, ``.mindir``).
        data: folder or table of a data set, or a `DataSet`.
        dataset: its layout; ``auto`` detects it.
        metric: ``cosine`` or ``euclidean`` (squared; of features as the network gives them).
        protocol: see `osnet.rank`; None for the usual one of the data set.
        rerank: rank by k-reciprocal distances (`osnet.rerank`); takes memory for Q x G.
        k1, k2, lambda_value: as `osnet.rerank`; without `rerank` they have no effect.
        flip: average features with those of the mirror image.
        pool: ``mean``: one feature for each tracklet; the data set must have tracklets.
        backend, device, precision, size, input: as `osnet.Embedder`.
        distractors: add the 500,000 of Market-1501.
        seed: of the division into query and gallery where the data has none, and of ``cuhk03``'s gallery shots.
        cache: use features that were computed before, and keep those that are computed now.
        progress: called with the number of images done and the number of all.
        **fetch: keywords of `osnet.fetch`.

    Returns:
        An `Evaluation`: mAP, CMC, mINP, thresholds, and the features and records behind them.

    Raises:
        OptionError: an unknown name (the message lists the known ones), a switch that is not a bool, a negative seed.
        DataError: the data set cannot be read, or an evaluation on it would be meaningless.
        DependencyError: numba is missing.
        Errors of `osnet.read_weights`.

    Source: Zheng et al., Scalable Person Re-identification: A Benchmark (ICCV 2015).

    >>> import osnet
    >>> found = osnet.evaluate("own.ckpt", "shop/")
    >>> found.data.name, found.protocol, found.ranking.valid_queries
    ('folder', 'market1501', 4)
    >>> 0 <= found.mAP <= found.ranking.cmc[9]
    True
    """
    return next(
        evaluate_all(
            [model], [data], dataset=dataset, metric=metric, protocol=protocol, rerank=rerank, k1=k1, k2=k2,
            lambda_value=lambda_value, flip=flip, pool=pool, backend=backend, device=device, precision=precision,
            size=size, input=input, distractors=distractors, seed=seed, cache=cache, progress=progress, **fetch,
        )
    )  # fmt: skip


def evaluate_all(
    models: Sequence[ModelLike],
    data: Sequence[DataLike],
    *,
    dataset: str = "auto",
    metric: str = "cosine",
    protocol: str | None = None,
    rerank: bool = False,
    k1: int = K1,
    k2: int = K2,
    lambda_value: float = LAMBDA,
    flip: bool = False,
    pool: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    size: tuple[int, int] | None = None,
    input: str | None = None,
    distractors: bool = False,
    seed: int = 0,
    cache: bool = True,
    progress: Progress | None = None,
    **fetch: Unpack[QuietFetchOptions],
) -> Iterator[Evaluation]:
    """Evaluate every model on every data set, model by model. Arguments and errors as `evaluate`; all data sets are
    checked, and all weights read, before anything is computed."""
    require_numba()
    check_choice("metric", metric, METRICS)
    for name, value in (("rerank", rerank), ("flip", flip), ("distractors", distractors), ("cache", cache)):
        check_bool(name, value)  # any text is true
    check_settings(k1, k2, lambda_value)
    if protocol is not None:
        check_choice("protocol", protocol, PROTOCOLS)
    if pool is not None:
        check_choice("pool", pool, POOLS)
    if size is not None:
        check_size(size)
    store = read_settings(cache_dir=fetch.get("cache_dir")).cache if cache else None
    tasks = []
    for one in data:
        listed = one if isinstance(one, DataSet) else load_records(one, dataset, seed=seed, distractors=distractors)
        listed = replace(listed, protocol=protocol or listed.protocol)
        tasks.append(checked_task(listed, check_files.sizes(listed)[1], pool))  # without missing and empty files
    sources = [read_model(model, values=input, **fetch) for model in models]
    settings = {"k1": k1, "k2": k2, "lambda": lambda_value} if rerank else None

    def results() -> Iterator[Evaluation]:
        for model, source in zip(models, sources):
            weights = source if isinstance(source, Weights) else None
            embedder = Embedder(
                source.path if isinstance(source, Artefact) else source,
                backend=backend, device=device, precision=precision, size=size, input=input, flip=flip,
                normalize=False,
            )  # fmt: skip
            for place, task in enumerate(tasks):
                paths = [record.path for record in (*task.query, *task.gallery)]
                features, computed, bad = embed_cached(embedder, paths, store, progress)
                if bad:
                    features = features[[path not in bad for path in paths]]
                    task = tasks[place] = checked_task(task.listed, {**task.bad, **bad}, pool)
                if metric == "cosine":
                    features = normalise(features)
                query, query_features = pooled(task.query, features[: len(task.query)], pool)
                gallery, gallery_features = pooled(task.gallery, features[len(task.query) :], pool)
                how = {**labels_of(query, gallery), "protocol": task.data.protocol, "seed": seed}
                ranking, distances = ranked(query_features, gallery_features, how, metric, settings)
                findings = (*task.findings, *(doubt(len(gallery), k1) if rerank else ()))
                signature = None if weights else embedder.signature
                sha256 = signature.sha256 if signature else source.sha256
                yield Evaluation(
                    _name(model, source), weights, task.data, query, gallery, query_features, gallery_features,
                    ranking, distances, metric, task.data.protocol, rerank, settings, flip, pool, embedder.backend,
                    embedder.precision, embedder.size, claims_of(model, sha256), computed, findings,
                    tuple(task.bad.values()), signature,
                )  # fmt: skip

    return results()


def ranked(
    query: Floats, gallery: Floats, how: dict[str, Any], metric: str, settings: dict[str, float] | None
) -> tuple[Ranking, Floats | None]:
    """Rank features; with the `settings` of re-ranking (``k1``, ``k2``, ``lambda``) also return its distances.

    Args:
        query, gallery: float32 (Q, 512), (G, 512).
        how: keywords of `osnet.rank_distances`: labels, ``protocol``, ``seed``.
        metric: ``cosine`` or ``euclidean``.
        settings: None for no re-ranking.
    """
    if settings is None:
        return rank(query, gallery, metric=metric, **how), None
    k1, k2 = int(settings["k1"]), int(settings["k2"])
    distances = reranked(query, gallery, k1, k2, settings["lambda"], metric)
    return rank_distances(distances, **how), distances


def _name(model: ModelLike, source: Weights | Artefact) -> str:
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    uid = getattr(model, "uid", None)
    return str(uid or source.source or source.network)


def last_part(reference: str) -> str:
    """Shorten `reference` for display: the last part of a path; a uid or an alias unchanged."""
    path = Path(reference)
    return path.name if path.is_absolute() or path.exists() else reference

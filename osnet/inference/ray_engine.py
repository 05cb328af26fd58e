"""Parts of a folder of features made by the workers of a Ray cluster: the same parts as without it.

Each part is a Ray task that calls `osnet.inference.shards.make_part`. Ray runs a task again if its worker or node dies;
parts appear whole or not at all, and depend on their own rows only, so that changes nothing in them.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osnet._version import __version__
from osnet.checkpoint.weights import Weights
from osnet.checks import check_integer
from osnet.errors import ClusterError, DataError, DependencyError, ImageError, OptionError, OsnetError
from osnet.escaping import name_of_text
from osnet.inference.embedder import Embedder
from osnet.inference.feature_folder import Part, finish, part_numbers
from osnet.inference.shards import Run, ShardResult, begin_run, make_part
from osnet.inference.sources import Source
from osnet.inference.tables import FILE
from osnet.locations import is_address

if TYPE_CHECKING:
    import pyarrow as pa

_RETRIES = 3
_AHEAD = 2  # tasks that wait for each worker

_embedders: dict[bytes, Embedder] = {}
"""In a worker: the embedder of the run that it works for."""


def import_ray() -> Any:
    """The package ray, which reports its usage to nobody; the only place of this package that imports it.

    Raises:
        DependencyError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import, and for the processes that it starts
    try:
        import ray
    except ImportError as error:
        raise DependencyError(f"--engine ray needs Ray ({error}); install it: pip install 'osnet[ray]'") from error
    return ray


def embed_with_ray(
    embedder: Embedder,
    source: Source,
    out: str | os.PathLike[str],
    *,
    part_size: int | None = None,
    store: str | None = None,
    strict: bool = False,
    worker_cpus: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> ShardResult:
    """Embed all rows of `source` into the folder `out`, on a Ray cluster; see `osnet.inference.shards.embed_shards`.

    The cluster is that of ``RAY_ADDRESS``, or one of this machine, which ends with the run. Every node needs this
    version of osnet, and the same images and output folder: a shared file system, or an object store.

    Args:
        embedder, source, out, part_size, store, strict, on_failure: as `embed_shards`.
        worker_cpus: processors of one worker, which makes one part at a time; None for those of the smallest node.
        progress: called with (rows done, None) after each part.

    Raises:
        ClusterError: the cluster cannot be reached, or workers of a part died again and again.
        DependencyError: Ray is not installed, or a worker has no or another osnet.
        ImageError, DataError, OptionError, DiskError, StoreError: as `embed_shards`.
    """
    if worker_cpus is not None:
        check_integer("worker_cpus", worker_cpus, least=1)
    if source.video is not None:
        raise OptionError("a video cannot be read by several machines at once; embed it without --engine ray")
    ray = import_ray()
    run = begin_run(embedder, out, part_size, store)
    with _cluster(ray):
        cpus = worker_cpus or _smallest_node(ray)
        gpus = 0 if embedder.device.lower().startswith("cpu") else 1
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(_remote_part)
        packed, here = ray.put(_packed(embedder)), str(Path.cwd())
        waiting: dict[Any, int] = {}
        parts = computed = written = failed = done = 0

        def collect(most: int) -> None:
            nonlocal computed, written, failed, done
            while len(waiting) > most:
                for ready in ray.wait(list(waiting))[0]:
                    part, was_computed, rows = _result(ray, ready, waiting.pop(ready))
                    computed += was_computed
                    written, failed, done = written + part.features, failed + len(part.failures), done + rows
                    if on_failure and was_computed:
                        for failure in part.failures:
                            on_failure(failure.reason)
                    if progress:
                        progress(done, None)

        for place, rows in enumerate(source.parts(run.part_size)):
            workers = max(1, int(ray.cluster_resources().get("CPU", 0)) // cpus)
            collect(_AHEAD * workers - 1)
            waiting[task.remote(packed, run, place, rows, strict, here)] = place
            parts += 1
        collect(0)
    if not parts:
        raise ImageError("the inputs name no images; expected one at least")
    missing = sorted(set(range(parts)) - set(part_numbers(run.folder)))
    if missing:
        raise DataError(
            f"{run.folder}: {len(missing)} of {parts} parts that workers wrote are not here; expected a folder that "
            "all nodes share, or an object store"
        )
    finish(run.folder, run.manifest, parts)
    return ShardResult(parts, computed, parts - computed, written, failed, source.ignored, tuple(source.examples))


def _remote_part(
    packed: bytes, run: Run, place: int, rows: pa.Table, strict: bool, here: str
) -> tuple[Part, bool, int]:
    """Make a part; runs in a worker, whose current folder becomes `here`."""
    try:
        os.chdir(here)
    except OSError as error:
        names = [str(run.folder), *map(name_of_text, rows[FILE].to_pylist())]
        relative = [name for name in names if not (is_address(name) or Path(name).is_absolute())]
        if relative:
            raise DataError(
                f"{relative[0]}: is relative to {here}, which cannot be entered on a worker's node "
                f"({error.strerror}); name inputs and output by whole paths or addresses"
            ) from None
    if packed not in _embedders:
        _embedders.clear()
        model, settings = pickle.loads(packed)  # noqa: S301 - from our own driver
        _embedders[packed] = Embedder(model, **settings) if isinstance(model, Weights) else model
    part, computed = make_part(_embedders[packed], run, place, rows, strict=strict)
    return part, computed, len(rows)


def _packed(embedder: Embedder) -> bytes:
    """`embedder` for a worker: weights travel in it, the file of an exported network must be on every node."""
    if not isinstance(embedder.source, Weights):
        return pickle.dumps((embedder, {}))
    settings = {
        "backend": embedder.backend, "precision": embedder.precision, "size": embedder.size,
        "batch_size": embedder.batch_size, "normalize": embedder.normalize, "flip": embedder.flip,
        "device": embedder.device,
    }  # fmt: skip
    return pickle.dumps((replace(embedder.source, extras={}), settings))


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Connect to the cluster of ``RAY_ADDRESS``, or start one of this machine, unless this process has one already."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = "a Ray cluster on this machine cannot be started" if own else f"no Ray cluster answers at {address}"
        reason = " ".join(str(error).split())
        raise ClusterError(f"{where} ({reason:.200}); check RAY_ADDRESS and that `ray status` works there") from error
    try:
        yield
    finally:
        ray.shutdown()


def _smallest_node(ray: Any) -> int:
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max(1, min((count for count in cpus if count), default=1))


def _result(ray: Any, ready: Any, place: int) -> tuple[Part, bool, int]:
    try:
        found: tuple[Part, bool, int] = ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, OsnetError):
            raise error.cause from None
        reason = " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
        raise DependencyError(
            f"a Ray worker failed at part {place} ({reason:.300}); expected osnet {__version__} and its packages on "
            "every node"
        ) from error
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise ClusterError(
            f"part {place} was not made: its workers died {_RETRIES + 1} times, or its node is gone ({reason:.300}); "
            "run the same command again, with fewer workers on a node (--worker-cpus) if their memory is short"
        ) from error
    return found

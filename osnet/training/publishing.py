"""A run becomes a published model: a checkpoint in the published layout and a card in the hub's format beside it."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osnet.checkpoint.mindspore import write_ckpt
from osnet.checkpoint.weights import DEFAULT_INPUT_SIZE, read_weights_file
from osnet.checkpoint.weights import INPUT_SIZE as INPUT_SIZE_ARRAY
from osnet.errors import CardError, OptionError
from osnet.files import atomic_write
from osnet.hub.card import INPUT_SIZE, Asset, Card, parse_card, render_card
from osnet.mshub import rules
from osnet.training.run import Run
from osnet.variants import size_text

REPOSITORY = "https://gitee.com/mindspore/models/tree/master/research/cv/osnet"
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_BASE_URL = "https://download.mindspore.cn/models"
_RUN_STATE = ("passes_done", "best_mAP", "best_epoch", "evaluations_since_best")


@dataclass(frozen=True)
class Published:
    """What `publish_run` wrote.

    Attributes:
        card: path of the ``.md`` file.
        checkpoint: path of the ``.ckpt`` file beside it.
        sha256: of the checkpoint.
    """

    card: Path
    checkpoint: Path
    sha256: str


def publish_run(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    name: str = "",
    dataset: str = "",
    author: str = "unknown",
    user_id: str = "me",
    license: str = "Apache2.0",
    base_url: str = _BASE_URL,
    with_optimizer: bool = False,
    last: bool = False,
    overwrite: bool = False,
) -> Published:
    """Write the run's best checkpoint (its last, if it has none yet) and its card into the folder `out`.

    The card's link is where the file would be uploaded to. While it is beside the card, with the SHA-256 that the card
    names, `osnet.load` reads it from there. mindspore_hub accepts the card too, but asks both of its links at every
    load: it loads the model only once both answer.

    Args:
        run: folder of a run.
        out: folder to write into; default ``published`` in the run's folder.
        name: of both files, and last part of the uid: lower-case letters, digits and ``_``; default
            ``<network>_<data set>``.
        dataset: what the card names as the training data; default the data folder's name.
        author, user_id, license: of the card.
        base_url: folder that the checkpoint will be uploaded to.
        with_optimizer: keep moments and counters, to train on elsewhere; else weights only.
        last: the last checkpoint instead of the best, as it was trained: without `TrainConfig.start_fraction`.
        overwrite: replace files that are there.

    Returns:
        The paths of both files, and the checkpoint's SHA-256.

    Raises:
        OptionError: no run in that folder, nothing saved yet, or a bad name.
        CardError: a value that no card can hold, or that mindspore_hub refuses.
        FileExistsError: the files are there, and `overwrite` is false.
        DiskError: `out` cannot be written.
    """
    opened = Run.open(run)
    source = opened.last if last else opened.result
    if not source.is_file():
        raise OptionError(f"{os.fspath(run)!r} has saved no checkpoint yet; let it finish an epoch")
    weights = read_weights_file(source)
    dataset = dataset or opened.origin["data"]
    name = name or re.sub(r"[^a-z0-9_]+", "_", f"{weights.variant.name}_{dataset}".lower()).strip("_")
    if not _NAME.fullmatch(name):
        raise OptionError(f"name: expected lower-case letters, digits and _, got {name!r:.80}")
    size = (opened.config.height, opened.config.width)
    arrays: dict[str, Any] = dict(weights.published_order())
    if size != DEFAULT_INPUT_SIZE:
        arrays[INPUT_SIZE_ARRAY] = np.array(size, np.int64)  # for readers of the file without its card
    if with_optimizer:
        arrays.update({key: value for key, value in weights.extras.items() if key not in _RUN_STATE})
    data = write_ckpt(arrays)
    digest = hashlib.sha256(data).hexdigest()
    step = int(weights.extras["step_num"])
    measured = [line for line in opened.metrics() if line.get("kind") == "evaluation" and line["step"] == step]
    found = measured[-1] if measured else None
    network = weights.variant.name
    entries = {
        "model-name": network,  # what mindspore_hub asks create_network for
        "backbone-name": network,
        "module-type": "cv",
        "fine-tunable": "True",
        "model-version": "1.0",
        INPUT_SIZE: size_text(size),
        rules.dataset_key(dataset): dataset,
        **({"evaluation": f"mAP{100 * found['mAP']:.1f}"} if found else {}),
        "author": author,
        "update-time": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "repo-link": f"<{REPOSITORY}>",
        "user-id": user_id,
        "used-for": "inference",
        "mindspore-version": ".".join(importlib.metadata.version("mindspore").split(".")[:2]),
        "license": license,
        "summary": f"{network} for person re-identification, trained on {dataset}",
    }
    asset = Asset("ckpt", f"{base_url.rstrip('/')}/{name}.ckpt", digest)
    card = _card_file(f"{name}.md", entries, asset, _body(opened, network, name, dataset, found))
    folder = Path(out) if out is not None else opened.root / "published"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / f"{name}.ckpt", data, overwrite=overwrite)
    atomic_write(folder / f"{name}.md", card, overwrite=overwrite)
    return Published(folder / f"{name}.md", folder / f"{name}.ckpt", digest)


def _card_file(name: str, entries: dict[str, str], asset: Asset, body: str) -> bytes:
    """The card as a file, which `parse_card` and mindspore_hub accept."""
    card = Card(
        name=entries["model-name"],
        uid="",
        dataset="",
        evaluation="",
        license=entries["license"],
        repository=REPOSITORY,
        assets=(asset,),
        mindspore_version=entries["mindspore-version"],
        update_time=entries["update-time"],
        user_id=entries["user-id"],
        body=body,
        entries=tuple(entries.items()),
    )
    data = render_card(card)
    problem = rules.problem(data, name)
    if problem:
        raise CardError(problem)
    parse_card(data, path=name)
    return data


def _body(run: Run, network: str, name: str, dataset: str, found: dict[str, Any] | None) -> str:
    origin = run.origin
    base = f"{origin['base']} (SHA-256 {origin['base_sha256']})" if origin["base_sha256"] else origin["base"]
    parts = [
        "## Weights",
        f"{name}.ckpt belongs beside this card and is taken from there. The link is where it may be uploaded to. "
        "mindspore_hub asks both links of this card at every load and fails unless they answer.",
        "## Introduction",
        f"{network}, trained on {origin['images']} images of {origin['identities']} identities of {dataset}.",
        f"Base checkpoint: {base}.",
        "## Evaluation",
    ]
    if found:
        test = found["held_out"] == "test"
        held = "the query and gallery of the data set" if test else "held-out training identities"
        config = run.config
        parts.append(
            f"mAP {found['mAP']:.4f}, Rank-1 {found['rank1']:.4f}, mINP {found['mINP']:.4f} over "
            f"{found['valid_queries']} queries on {held}, protocol {found['protocol']}, cosine distance, images of "
            f"{config.height}x{config.width}, measured after epoch {found['epoch']}."
        )
    else:
        parts.append("Not measured: the data set has no query and gallery.")
    named = {"data": run.config.data, "other_data": run.config.other_data}
    configuration = run.config.replace(
        **{key: Path(path).name for key, path in named.items()}, model=origin["base"].split(",")[0]
    ).to_yaml()
    return "\n\n".join([*parts, "## Configuration", "```yaml\n" + configuration.rstrip() + "\n```"])

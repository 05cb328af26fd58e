"""Compare recipes of fine-tuning in torch, on torchreid's network: mAP after the last epoch, or after several.

python -m benchmarks.recipes DATA OUT --model START [--height H] [--epochs N] [--seeds S ...]
    [--recipes "KEY=VALUE ..." ...] [--people N] [--eval-every N] [--bf16] [--until HH:MM]
python -m benchmarks.recipes DATA OUT --table
python -m benchmarks.recipes DATA OUT --curves PICTURE --runs RUN ...

Torch compiles nothing, and trains OSNet faster than MindSpore on several threads. Samples, augmentation and learning
rates are those of `osnet train`: its own functions. A recipe is the keys of `osnet.TrainConfig` that differ from the
defaults, and these, which only this script has:

    neck=before    triplet, circle and supervised contrastive take the features before the batch norm of the last layer
    neck=after     the classifier takes features normalised by their batch (batch norm without gain and shift)
    half_epochs=N  the first N epochs at half the size

OUT/results.jsonl gets a line for each recipe and seed. Those that it has are skipped, and a run that was stopped goes
on from its last epoch (OUT/*.pt). `--table` prints the means and ranges. `--curves` draws mAP over epochs for those
that were measured in several, and for runs of `osnet train`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import math
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.nn import functional

from benchmarks.peers import torchreid_network
from osnet.data.records import Record, cameras, persons
from osnet.evaluation.ranking import rank
from osnet.models.load import read_weights
from osnet.training.config import TrainConfig
from osnet.training.cost import HELD_OUT
from osnet.training.dataset import TrainingImages, find_images
from osnet.training.optimizer import learning_rate
from osnet.training.pipeline import augmented, crop, epoch_order
from osnet.training.run import METRICS
from osnet.variants import IMAGE_MEAN, IMAGE_STD

RECIPES = (
    "",
    "supervised_contrastive=0",
    "cross_entropy=0",
    "supervised_contrastive=2",
    "triplet=1",
    "triplet=1 supervised_contrastive=0",
    "circle=1 supervised_contrastive=0",
    "learning_rate=1e-3",
    "erasing=0.5",
    "label_smoothing=0",
    "half_epochs=1",
    "frozen_epochs=1",
    "neck=before",
    "neck=after",
)
SETTINGS = ("height", "epoch", "people", "bf16")
"""What runs must have in common to be compared."""

_BATCH = 128
_FAR = 1e9


def batch_hard_triplet(features: Any, match: Any, margin: float) -> Any:
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = (distances + _FAR * match).amin(1)
    return functional.relu(margin + (distances * match).amax(1) - nearest).mean()


def circle(features: Any, match: Any, margin: float, scale: float) -> Any:
    unit = functional.normalize(features)
    similarity, itself = unit @ unit.T, torch.eye(len(unit))
    pull, push = (1 + margin - similarity).relu().detach(), (similarity + margin).relu().detach()
    positive = -scale * pull * (similarity - (1 - margin)) - _FAR * (1 - match + itself)
    negative = scale * push * (similarity - margin) - _FAR * match
    return functional.softplus(positive.logsumexp(1) + negative.logsumexp(1)).mean()


def supervised_contrastive(features: Any, match: Any, temperature: float) -> Any:
    unit, itself = functional.normalize(features), torch.eye(len(features))
    logp = functional.log_softmax(unit @ unit.T / temperature - _FAR * itself, dim=1)
    match = match - itself
    return -((logp * match).sum(1) / match.sum(1)).mean()


class Recipe:
    """The text of a recipe as a configuration and the keys that only this script has."""

    def __init__(self, text: str, *, bf16: bool = False, **given: Any) -> None:
        values = dict(part.split("=", 1) for part in text.split())
        self.bf16 = bf16
        self.neck = values.pop("neck", "none")
        self.half_epochs = int(values.pop("half_epochs", 0))
        typed = {key: json.loads(value) if re.fullmatch(r"[\d.e-]+", value) else value for key, value in values.items()}
        self.config = TrainConfig.from_mapping({**given, **typed})

    def size(self, epoch: int) -> tuple[int, int]:
        part = 2 if epoch < self.half_epochs else 1
        return self.config.height // part, self.config.width // part


class Images:
    """Decoded images, kept for the runs to come."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], list[np.ndarray]] = {}

    def of(self, records: tuple[Record, ...], size: tuple[int, int]) -> list[np.ndarray]:
        key = (hash(records), *size)
        if key not in self._kept:
            self._kept[key] = [crop(record, size) for record in records]
        return self._kept[key]


def some_people(found: TrainingImages, count: int) -> TrainingImages:
    """The same with the training images of `count` people only, 0 for all."""
    chosen = np.random.default_rng(0).permutation(found.classes)[: count or None]
    number = {person: i for i, person in enumerate(sorted(chosen.tolist()))}
    kept = [(record, number[label]) for record, label in zip(found.train, found.labels.tolist()) if label in number]
    train, labels = zip(*kept)
    return dataclasses.replace(found, train=train, labels=np.array(labels, np.int64), classes=len(number))


def start_network(model: str, classes: int, seed: int) -> Any:
    """torchreid's network with the weights of `model` and a fresh classifier."""
    weights = read_weights(model).without_classifier()
    rng = np.random.default_rng(seed)
    arrays = {
        **weights.arrays,
        "classifier.weight": rng.normal(0, 0.01, (classes, 512)).astype(np.float32),
        "classifier.bias": np.zeros(classes, np.float32),
    }
    return torchreid_network(weights.variant.name, arrays, classes).to(memory_format=torch.channels_last)


def tensor(batch: list[np.ndarray]) -> Any:
    x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255  # channels last in memory
    mean, std = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    return (x - mean) / std


def loss_of(network: Any, recipe: Recipe, x: Any, labels: Any, *, frozen: bool) -> Any:
    config = recipe.config
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bf16)
    with torch.set_grad_enabled(not frozen), half:
        pooled = network.featuremaps(x).mean((2, 3))
        linear = network.fc[0](pooled)
        features = network.fc[2](network.fc[1](linear))
    linear, features = linear.float(), features.float()
    total = torch.zeros(())
    if config.cross_entropy:
        shown = features
        if recipe.neck == "after":
            shown = functional.batch_norm(features, None, None, training=True)
        loss = functional.cross_entropy(network.classifier(shown), labels, label_smoothing=config.label_smoothing)
        total = total + config.cross_entropy * loss
    if frozen:
        return total
    match = (labels[:, None] == labels[None]).float()
    pairs = linear if recipe.neck == "before" else features
    if config.triplet:
        total = total + config.triplet * batch_hard_triplet(pairs, match, config.triplet_margin or 0.0)
    if config.circle:
        total = total + config.circle * circle(pairs, match, config.circle_margin, config.circle_scale)
    if config.supervised_contrastive:
        loss = supervised_contrastive(pairs, match, config.contrastive_temperature)
        total = total + config.supervised_contrastive * loss
    return total


def measured(
    network: Any, found: TrainingImages, images: Images, size: tuple[int, int], *, bf16: bool
) -> tuple[float, float]:
    """mAP and Rank-1 on the query and gallery, by cosine distance."""

    def features(records: tuple[Record, ...]) -> np.ndarray:
        arrays = images.of(records, size)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            parts = [network(tensor(arrays[i : i + _BATCH])).float().numpy() for i in range(0, len(arrays), _BATCH)]
        return np.concatenate(parts)

    network.eval()
    query, gallery = found.query, found.gallery
    ranking = rank(
        features(query), features(gallery), query_ids=persons(query), gallery_ids=persons(gallery),
        query_cameras=cameras(query), gallery_cameras=cameras(gallery), protocol=found.protocol,
    )  # fmt: skip
    return ranking.mAP, float(ranking.cmc[0])


def optimizer_of(network: Any, config: TrainConfig, frozen: bool) -> Any:
    """Only weights of convolutions and dense layers decay, as with `osnet train`."""
    params = list((network.classifier if frozen else network).parameters())
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in params if p.ndim == 1], "weight_decay": 0.0},
    ]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(groups, lr=0.0, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)


def run(
    recipe: Recipe, found: TrainingImages, images: Images, out: Path, key: str, *, until: float, eval_every: int
) -> dict[str, Any]:
    """Train, and measure after the last epoch and every `eval_every`; ends the script at the time `until`."""
    config, network = recipe.config, start_network(recipe.config.model, found.classes, recipe.config.seed)
    state_file = out / f"{hashlib.sha256(key.encode()).hexdigest()[:12]}.pt"
    done: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "measured": [], "mAP": [], "rank1": []}
    optimizer: Any = None
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        network.load_state_dict(state["network"])
        done = state["done"]
    for epoch in range(done["epoch"], config.epochs):
        start, size, frozen = time.monotonic(), recipe.size(epoch), epoch < config.frozen_epochs
        if optimizer is None or epoch == config.frozen_epochs:
            optimizer = optimizer_of(network, config, frozen)
            if epoch not in (0, config.frozen_epochs):
                optimizer.load_state_dict(state["optimizer"])
        train = images.of(found.train, size)
        order = epoch_order(found.labels, config, epoch=epoch)[:, 0]
        here = config.replace(height=size[0], width=size[1], crop_padding=round(config.crop_padding * size[0] / 256))
        network.train(not (frozen or config.freeze_norm))
        for step, indices in enumerate(order):
            if time.time() > until:
                sys.exit(f"stopped in {key}, epoch {epoch}, step {step} of {len(order)}")
            rngs = (np.random.default_rng([config.seed, epoch, step * len(indices) + i]) for i in range(len(indices)))
            batch = [augmented(train[index], here, rng) for index, rng in zip(indices, rngs)]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch * len(order) + step, len(order))
            optimizer.zero_grad()
            labels = torch.from_numpy(found.labels[indices])
            loss_of(network, recipe, tensor(batch), labels, frozen=frozen).backward()
            if config.clip_norm:
                torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
        done["epoch"], done["seconds"] = epoch + 1, round(done["seconds"] + time.monotonic() - start, 1)
        if epoch + 1 == config.epochs or (eval_every and (epoch + 1) % eval_every == 0):
            figures = measured(network, found, images, (config.height, config.width), bf16=recipe.bf16)
            done["measured"].append(epoch + 1)
            for name, value in zip(("mAP", "rank1"), figures):
                done[name].append(round(value, 4))
        print(f"{key}: {done}", flush=True)
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "done": done}, state_file)
    state_file.unlink(missing_ok=True)
    return done


def table(lines: list[dict[str, Any]]) -> None:
    """Each recipe: mAP after the last epoch, mean and range over the seeds."""
    of_recipe: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        of_recipe[tuple(line[name] for name in (*SETTINGS, "recipe"))].append(line)
    print("| height | epochs | people | bf16 | recipe | seeds | mAP | Rank-1 |\n" + "| --- " * 8 + "|")

    def best_first(item: tuple[tuple[Any, ...], list[dict[str, Any]]]) -> tuple[Any, ...]:
        return *item[0][:-1], -np.mean([line["mAP"][-1] for line in item[1]])

    for key, runs in sorted(of_recipe.items(), key=best_first):
        maps, firsts = [r["mAP"][-1] for r in runs], [r["rank1"][-1] for r in runs]
        span = f"{np.mean(maps):.3f} ({min(maps):.3f} to {max(maps):.3f})"
        print(
            "| "
            + " | ".join(map(str, (*key[:-1], key[-1] or "defaults", len(runs), span, f"{np.mean(firsts):.3f}")))
            + " |"
        )


def curves(picture: Path, lines: list[dict[str, Any]], runs: list[Path]) -> None:
    """Draw mAP over epochs: lines with several measurements, and runs of `osnet train`, with the start as epoch 0."""
    figure = Figure(figsize=(7, 4), dpi=130, layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="mAP on the test people")
    for run in runs:
        found = [m for m in map(json.loads, (run / METRICS).read_text().splitlines()) if m["kind"] == HELD_OUT]
        steps = {m["epoch"]: m for m in found}
        axes.plot(list(steps), [m["mAP"] for m in steps.values()], "o-", label=f"osnet train: {run.name}")
    for line in lines:
        if len(line["mAP"]) > 1:
            axes.plot(line["measured"], line["mAP"], "s--", label=f"torch: {line['recipe'] or 'defaults'}")
    axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_figure(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="osnet_x0_25_drawn")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--eval-every", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--people", type=int, default=0)
    parser.add_argument("--until", help="time of the day, HH:MM")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--curves", type=Path)
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    results = options.out / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    if options.table:
        table(lines)
        return
    if options.curves:
        curves(options.curves, lines, options.runs)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    until = math.inf
    if options.until:
        hour, minute = map(int, options.until.split(":"))
        until = datetime.datetime.now().replace(hour=hour, minute=minute).timestamp()
    found = some_people(find_images(TrainConfig(data=options.data)), options.people)
    settings = dict(zip(SETTINGS, (options.height, options.epochs, found.classes, options.bf16)))
    finished = [{name: line[name] for name in (*SETTINGS, "recipe", "seed")} for line in lines]
    images = Images()
    for seed in options.seeds:
        for text in options.recipes:
            line = {**settings, "recipe": text, "seed": seed}
            if line in finished:
                continue
            recipe = Recipe(
                text, bf16=options.bf16, seed=seed, data=options.data, model=options.model, epochs=options.epochs,
                height=options.height, width=options.height // 2,
            )  # fmt: skip
            key = " ".join(map(str, line.values()))
            line |= run(recipe, found, images, options.out, key, until=until, eval_every=options.eval_every)
            with results.open("a") as file:
                print(json.dumps(line), file=file, flush=True)


if __name__ == "__main__":
    main()

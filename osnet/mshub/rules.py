"""What mindspore_hub asks of a card before it loads anything, and a card that passes.

These are the rules of ``mindspore_hub/_utils/check.py`` (version 2.0) that hold without a network. Beyond them it asks
both links of the card at every load, and refuses the card when one does not answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from osnet.errors import CardError
from osnet.hub.card import Card, parse_card, render_card

DATASETS = ("DukeMTMC", "Market1501", "MSMT17", "SYSU-MM01", "RegDB", "VeRi")
"""Those of mindspore_hub's data sets that are made for re-identification."""

_DATASETS = {spelt for name in DATASETS for spelt in (name, name.lower().replace("-", ""))} | {"None", "none"}
_REQUIRED = (
    *("backbone-name", "module-type", "fine-tunable", "model-version", "author", "update-time", "repo-link"),
    *("user-id", "used-for", "mindspore-version", "license", "summary"),
)
_MODULE_TYPES = ("gnn", "rl", "audio", "cv", "cvtmodel", "nlp", "recommend", "cross", "hpc", "mm", "other")
_USES = ("inference", "extract-feature", "transfer-learning")
_FILE_FORMATS = ("air", "ckpt", "onnx", "mindir", "mslite")
_BODY = "body"

_FENCE = re.compile(r"^ *(`{3,}|~{3,})[^\n]*\n.*?(?:^ *\1 *$|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}(?:[-*+>] *)*#{1,6} *([^\n]+?) *#* *$|^([^\n]+)\n *(?:=|-)+ *$", re.MULTILINE)


def problem(data: bytes, path: Path | str) -> str:
    """Why mindspore_hub refuses the card `data` that `parse_card` takes; empty when it loads it."""
    return next((f"{path}: mindspore_hub expects {text}" for _, text in _problems(data, Path(path))), "")


def passing(card: Card, data: bytes, path: Path) -> bytes:
    """`data`, or where mindspore_hub refuses it, the same card without the optional parts that it refuses.

    The data set of `card` stays, under a key that mindspore_hub does not look at.

    Raises:
        CardError: mindspore_hub refuses a part that a card must have.
    """
    refused = {key for key, _ in _problems(data, path)}
    if not refused:
        return data
    kept = tuple(
        ("trained-on" if key == "train-dataset" else key, value)
        for key, value in card.entries
        if key not in refused or key in _REQUIRED or (key == "train-dataset" and ":" not in value)
    )
    data = render_card(replace(card, entries=kept, body="" if _BODY in refused else card.body))
    text = problem(data, path)
    if text:
        raise CardError(f"{text}; correct the card")
    parse_card(data, path=path)
    return data


def dataset_key(dataset: str) -> str:
    """The key under which a card may name `dataset`."""
    return "train-dataset" if _known(dataset) else "trained-on"


def _known(dataset: Any) -> bool:
    return isinstance(dataset, str) and all(name in _DATASETS for name in dataset.split("_"))


def _problems(data: bytes, path: Path) -> Iterator[tuple[str, str]]:
    """The key (or ``body``) of each part that mindspore_hub refuses, and what it expects."""
    lines = data.decode("utf-8-sig", "replace").splitlines()
    marks = [number for number, line in enumerate(lines) if line.startswith("---")]
    if len(marks) != 2:
        yield _BODY, f"two lines that start with '---', got {len(marks)}"
    if path.stem.endswith("cn"):
        yield "file name", "no file name that ends in 'cn': it reads the card of the name without"
    if len(marks) < 2:
        return
    body = "\n".join(lines[: marks[0]] + lines[marks[1] + 1 :])
    for match in _HEADING.finditer(_FENCE.sub("", body)):
        if (match[1] or match[2]).endswith(":"):
            yield _BODY, f"no ':' at the end of the heading {match[1] or match[2]!r:.80}"
    text = "\n".join(lines[marks[0] + 1 : marks[1]])
    try:
        header = yaml.safe_load(text.replace("evaluation: -", "evaluation: no"))
    except (yaml.YAMLError, ValueError) as error:
        yield "", f"YAML, got {str(error)!r:.200}"
        return
    if not isinstance(header, dict):
        yield "", f"keys and values, got {header!r:.80}"
        return
    for key in _REQUIRED:
        if key not in header:
            yield key, f"the key {key!r}"
    for key, value in header.items():
        if key not in ("repo-link", "asset", "evaluation") and ":" in str(value):
            yield key, f"no ':' in {key!r}, got {str(value)!r:.80}"
        expected = _expected(key, value)
        if expected:
            yield key, f"{expected} for {key!r}, got {value!r:.80}"
    for asset in header.get("asset") or ():
        if str(asset["file-format"]).lower() not in _FILE_FORMATS:
            formats = ", ".join(_FILE_FORMATS)
            yield "asset", f"one of {formats} for 'file-format', got {asset['file-format']!r:.80}"


def _expected(key: str, value: Any) -> str:
    """What `value` should be; empty when it is."""
    text = value if isinstance(value, str) else ""
    good, expected = {
        "model-name": (bool(text), "text"),
        "fine-tunable": (isinstance(value, bool), "True or False"),
        "allow-cache-ckpt": (isinstance(value, bool), "True or False"),
        "accuracy": (isinstance(value, (int, float)), "a number"),
        "featured-image": (value == "no-image", "'no-image'"),
        "train-dataset": (not value or _known(value), f"one of its data sets ({', '.join(DATASETS)}, ...)"),
        "used-for": (all(use.lower() in _USES for use in text.split("/")), f"one of {', '.join(_USES)}"),
        "module-type": (text.split("-")[0].lower() in _MODULE_TYPES, f"one of {', '.join(_MODULE_TYPES)}"),
        "repo-link": (_is_repository(text), "https://HOST.com/OWNER/REPOSITORY[/tree/BRANCH[/FOLDER]]"),
    }.get(key, (True, ""))
    return "" if good else expected


def _is_repository(link: str) -> bool:
    link = link.strip("<>").rstrip("/")
    hosts = re.findall(r"https?://[-\w.%]+", link)
    if len(hosts) != 1 or not re.search(r"https?://.*.com", link):
        return False
    parts = link[len(hosts[0]) :].lstrip("/").split("/", 4)
    return len(parts) == 2 or (len(parts) > 3 and parts[2] in ("tree", "blob"))

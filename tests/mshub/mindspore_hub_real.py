"""The real mindspore_hub against every card of the package, and against a card fresh from `osnet publish`.

``python -m tests.mshub.mindspore_hub_real HUB``, or ``make interop HUB=...``, with HUB a checkout of mindspore_hub,
which runs unmodified. Linux only: it sees a network of its own, where the hosts that it asks are a TLS server on
loopback that answers the links of the cards and nothing else, and a home folder of its own.

The published checkpoints need a network. Each card is therefore a copy that differs in its SHA-256: that of recipe
weights in the published layout, other ones for each card, which stand beside it. A card that comes with its checkpoint
is used as it is.

With the hub as it is each card is loaded by uid for features, by uid with its classifier, and by path. Then the server
is gone, and `osnet.mshub.register` must give the same by uid and by name. The network of the fresh card is evaluated,
and must give the mAP of its checkpoint, at the size it was trained at. Exit code 1 when a parameter or figure differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from osnet.checkpoint.mindspore import read_ckpt, write_ckpt
from osnet.evaluation.evaluate import evaluate
from osnet.hub import catalog
from osnet.hub.card import Card, read_card
from osnet.hub.fetch import file_beside
from osnet.mshub import register
from osnet.mshub.check import check
from osnet.mshub.install import install
from osnet.variants import get_variant, parameters
from tests.recipe import recipe_arrays
from tests.servers import Authority, serving, whole

ROOT = Path(__file__).parents[2]
HOSTS = ("gitee.com", "github.com", "download.mindspore.cn", "www.mindspore.cn")
"""Those of the cards, and those that mindspore_hub looks up besides."""
CLASSES = {"dukemtmc": 702, "dukemtmcreid": 702, "market1501": 751, "msmt17": 1041}
TRAINED_AT = (64, 32)
WAYS = ("features", "classifier", "path", "registered uid", "registered name")


def main() -> int:
    """Prepare what the trial needs, and start it in namespaces of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("hub", type=Path, help="a checkout of mindspore_hub")
    hub = parser.parse_args().hub.resolve()
    if not (hub / "mindspore_hub" / "load.py").is_file():
        parser.error(f"{hub}: expected a checkout of mindspore_hub, found no mindspore_hub/load.py")
    with tempfile.TemporaryDirectory() as work:
        packages, home = Path(work, "packages"), Path(work, "home")
        home.mkdir()
        # mindspore_hub 2.0 needs a mistune of 2018, which other packages of this environment may not bear.
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        subprocess.run([*pip, "mistune==0.8.4"], check=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OSNET_")}
        environment.update(
            HOME=str(home), OSNET_OFFLINE="1", GLOG_v="3", PYTHONPATH=os.pathsep.join(map(str, (packages, ROOT, hub)))
        )
        alone = ("unshare", "--user", "--map-root-user", "--net", "--mount")
        return subprocess.run([*alone, *_program("trial", work)], cwd=work, env=environment).returncode


def trial(work: Path) -> int:
    """Install every card, let a program of its own load them, and compare with the files."""
    (work / "hosts").write_text("".join(f"127.0.0.1 {host}\n" for host in ("localhost", *HOSTS)))
    subprocess.run(["mount", "--bind", work / "hosts", "/etc/hosts"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    cards = [_with_weights(card, work / "cards", number) for number, card in enumerate(catalog.list_cards())]
    cards.append(_from_publish(work))
    tasks, right = [], {}
    for card in cards:
        installed, _, checkpoint = install(card)
        arrays = read_ckpt(checkpoint.read_bytes())
        classes = len(arrays.get("classifier.bias", ()))  # the drawn checkpoint was trained without one
        names = {n: [p.name for p in parameters(get_variant(_variant(card)), n)] for n in (0, classes)}
        features, classifier = (_digest({name: arrays[name] for name in names[n]}) for n in (0, classes))
        right[card.uid] = dict.fromkeys(WAYS, features)
        right[card.uid]["classifier"] = classifier
        tasks.append({"uid": card.uid, "path": str(installed), "published": str(card.path), "classes": classes})
    (work / "tasks.json").write_text(json.dumps(tasks))
    fresh = _figures_of(str(cards[-1].path), work)
    for card in cards:
        newest = catalog.aliases().get(card.uid.rpartition("/")[2], card.uid)
        right[card.uid]["registered name"] = right[newest]["features"]
    wrong = [f"hub check: {finding.what}: {finding.note}" for finding in check() if not finding.good]

    with serving(Authority(work).context(*HOSTS), port=443) as server:
        links = {urlsplit(link).path for card in cards for link in (card.repository, card.checkpoint.link)}
        server.replies.update((path, whole(b"here")) for path in links)
        subprocess.run(_program("load_with_the_hub", work), check=True)
        wrong += [f"asked for {path}, no link of a card" for path in sorted({*server.paths} - links)]
    subprocess.run(_program("load_registered", work), check=True)

    found = [json.loads((work / f"{name}.json").read_text()) for name in ("load_with_the_hub", "load_registered")]
    print(f"{'card':<34} {'as published':<13} installed: {', '.join(WAYS)}")
    for task, hub, registered in zip(tasks, *found):
        uid, got, expected = task["uid"], {**hub, **registered}, right[task["uid"]]
        as_published = "refused" if got["published"] else "accepted"
        results = ["as the file" if got[way] == expected[way] else "WRONG" for way in WAYS]
        print(f"{uid:<34} {as_published:<13} {', '.join(results)}")
        wrong += [f"{uid}, {way}: {got[way]}" for way in WAYS if got[way] != expected[way]]
    evaluated = json.loads((work / "evaluated.json").read_text())
    print(f"evaluated: mAP {evaluated['mAP']:.4f} at {evaluated['size']}, of the checkpoint {fresh['mAP']:.4f}")
    if evaluated != fresh or fresh["size"] != list(TRAINED_AT):
        wrong.append(f"evaluated: {evaluated}, expected {fresh} at {TRAINED_AT}")
    print(f"{len(server.requests)} requests to {len(links)} links")
    print("\n".join(["all right"] if not wrong else [f"WRONG {line}" for line in wrong]))
    return 1 if wrong else 0


def load_with_the_hub(work: Path) -> None:
    """What a user's program does. Writes what each load gave."""
    import mindspore_hub
    from mindspore_hub._utils.check import ValidMarkdown

    def one(task: dict[str, Any]) -> dict[str, str]:
        uid, published = task["uid"], ValidMarkdown(task["published"])
        return {
            "published": _tried(lambda: published.check_markdown_file() and ""),
            "features": _tried(lambda: _digest_of(mindspore_hub.load(uid))),
            "classifier": _tried(lambda: _digest_of(mindspore_hub.load(uid, num_classes=task["classes"]))),
            "path": _tried(lambda: _digest_of(mindspore_hub.load(task["path"], source="local"))),
        }

    _answer(work, "load_with_the_hub", one)


def load_registered(work: Path) -> None:
    """The same after `register`, when nothing answers any more."""
    import mindspore_hub

    catalog.CARDS = work / "cards"  # under a published name only the published bytes load
    register()

    def one(task: dict[str, Any]) -> dict[str, str]:
        uid, name = task["uid"], task["uid"].rpartition("/")[2]
        return {
            "registered uid": _tried(lambda: _digest_of(mindspore_hub.load(uid))),
            "registered name": _tried(lambda: _digest_of(mindspore_hub.load(name))),
        }

    _answer(work, "load_registered", one)
    uid = json.loads((work / "tasks.json").read_text())[-1]["uid"]
    (work / "evaluated.json").write_text(json.dumps(_figures_of(mindspore_hub.load(uid), work)))


def _figures_of(model: Any, work: Path) -> dict[str, Any]:
    """mAP and input size of the fresh card's network, on the people that it was trained with."""
    found = evaluate(model, work / "people", precision="fp32", cache=False)
    return {"mAP": round(found.ranking.mAP, 6), "size": list(found.size)}


def _answer(work: Path, name: str, one: Callable[[dict[str, Any]], dict[str, str]]) -> None:
    tasks = json.loads((work / "tasks.json").read_text())
    with open(work / f"{name}.log", "w") as log, contextlib.redirect_stdout(log):  # mindspore_hub prints
        found = [one(task) for task in tasks]
    (work / f"{name}.json").write_text(json.dumps(found))


def _tried(action: Callable[[], str]) -> str:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - the trial tells what mindspore_hub raises
        return f"{type(error).__name__}: {error}"


def _digest_of(network: Any) -> str:
    return _digest({name: value.asnumpy() for name, value in network.parameters_dict().items()})


def _digest(arrays: dict[str, np.ndarray]) -> str:
    whole_of_it = hashlib.sha256()
    for name in sorted(arrays):
        whole_of_it.update(name.encode() + arrays[name].tobytes())
    return f"{len(arrays)} parameters, {whole_of_it.hexdigest()}"


def _variant(card: Card) -> str:
    return "osnet_x1_0" if card.name == "osnet" else card.name


def _with_weights(card: Card, root: Path, number: int) -> Card:
    """A copy of `card` with its checkpoint beside it, or else with recipe weights and their SHA-256."""
    assert card.path is not None
    path, checkpoint = root / f"{card.uid}.md", file_beside(card)
    path.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint is not None:
        shutil.copy(checkpoint, path.parent)
        return read_card(shutil.copy(card.path, path))
    layout_of = json.loads((ROOT / "tests/fixtures/published_checkpoint_layout.json").read_text())
    classes = CLASSES[card.dataset]
    weights = recipe_arrays(get_variant(_variant(card)), classes)
    weights["conv1.bn.beta"] += np.float32(number / 100)
    shapes = {name: [classes if size == 702 else size for size in shape] for name, shape, _ in layout_of}
    data = write_ckpt(
        {n: weights[n] if n in weights else np.zeros(shapes[n], dtype.lower()) for n, _, dtype in layout_of}
    )
    text = card.path.read_text()
    path.write_text(re.sub(card.checkpoint.sha256, hashlib.sha256(data).hexdigest(), text, flags=re.IGNORECASE))
    path.with_name(urlsplit(card.checkpoint.link).path.rpartition("/")[2]).write_bytes(data)
    return read_card(path)


def _from_publish(work: Path) -> Card:
    """A card that `osnet publish` writes, of a run of one epoch on people of its own."""
    people, run = work / "people", work / "run"
    osnet = (sys.executable, "-m", "osnet")
    subprocess.run([*osnet, "synth", people, "--identities", "8"], check=True, stdout=subprocess.DEVNULL)
    small = [
        f"{key}={value}"
        for key, value in {
            "epochs": 1,
            "height": TRAINED_AT[0],
            "width": TRAINED_AT[1],
            "batch_size": 8,
            "images_per_identity": 2,
        }.items()
    ]
    sets = [word for setting in small for word in ("--set", setting)]
    train = [*osnet, "train", people, "--model", "osnet_x0_25", "--out", run, *sets]
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    published = subprocess.run([*osnet, "publish", run], check=True, capture_output=True, text=True)
    print(published.stderr.strip())
    return read_card(published.stdout.split()[0])


def _program(stage: str, work: str | Path) -> list[str]:
    code = f"import sys; from pathlib import Path; from tests.mshub.mindspore_hub_real import {stage} as stage; "
    return [sys.executable, "-W", "ignore", "-c", f"{code}sys.exit(stage(Path(sys.argv[1])))", str(work)]


if __name__ == "__main__":
    sys.exit(main())

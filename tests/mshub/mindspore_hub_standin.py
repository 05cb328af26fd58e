"""A stand-in for mindspore_hub 2.0, written from a description of what it does, for tests where the real one is not.

`load` reads a card from ``~/.mscache/<dir of uid>/``, probes the card's links, executes the ``mindspore_hub_conf.py``
of the folder named like the last part of repo-link, and loads the checkpoint with MindSpore's own reader. What it lacks
is downloading: whatever is not in the folder is a FileNotFoundError here.
"""

from __future__ import annotations

import importlib.util
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml


def load(
    name: str, *args: Any, source: str = "gitee", pretrained: bool = True, force_reload: bool = False, **kwargs: Any
) -> Any:
    import mindspore

    if source == "local":
        card_path = Path(name).expanduser().resolve()
    else:
        uid = "/".join(name.split("/")[-3:]).partition(".md")[0] if name.startswith("https://") else name
        if len(uid.split("/")) not in (3, 4):
            raise ValueError("Not input correct name.")
        card_path = Path("~/.mscache").expanduser() / f"{uid}.md"
    card = _front_matter(card_path)
    asset = [asset for asset in card["asset"] if asset["file-format"].lower() == "ckpt"][-1]
    for link in (card["repo-link"], asset["asset-link"]):
        _probe(link.strip("<>"))

    folder = card_path.parent / card["repo-link"].rsplit("/", 1)[1].strip("<>")
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    sys.path.insert(0, str(folder))
    entry = folder / "mindspore_hub_conf.py"
    if not entry.exists():
        raise ValueError(f"{entry} not exists.")
    spec = importlib.util.spec_from_file_location("mindspore_hub_conf.py", entry)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.create_network(card["model-name"].lower(), *args, **kwargs)
    if not isinstance(network, mindspore.nn.Cell):
        raise TypeError(f"create_network gave {type(network)}, no Cell")
    if pretrained:
        checkpoint = card_path.parent / asset["asset-link"].strip("<>").rsplit("/", 1)[1]
        if not checkpoint.exists():
            raise FileNotFoundError(checkpoint)
        mindspore.load_param_into_net(network, mindspore.load_checkpoint(str(checkpoint)))
    return network


def _front_matter(path: Path) -> dict[str, Any]:
    lines = path.read_text().splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("---")]
    if len(rules) != 2:
        raise TypeError(f"{path} should have two '---'")
    return yaml.safe_load("\n".join(lines[rules[0] + 1 : rules[1]]))


def _probe(link: str) -> None:
    """Both links must answer, whoever answers: certificates are not looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        urllib.request.urlopen(urllib.request.Request(link, headers={"User-Agent": "ms.hub"}), context=context).close()
    except urllib.error.HTTPError:
        raise ValueError(f"{link} is not valid") from None

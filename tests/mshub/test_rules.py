"""What mindspore_hub refuses in a card."""

from __future__ import annotations

from pathlib import Path

import pytest

from osnet.hub import catalog
from osnet.hub.card import parse_card, render_card
from osnet.mshub import rules
from tests.mshub.conftest import ROOT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train-dataset: dukemtmc", "train-dataset: dukemtmcreid", "one of its data sets"),
        ("train-dataset: dukemtmc", "train-dataset: market1501_own", "one of its data sets"),
        ("train-dataset: dukemtmc", "train-dataset: 1501", "one of its data sets"),
        ("license: ", "license: a:b ", "no ':' in 'license'"),
        ("license: ", "licence: ", "the key 'license'"),
        ("used-for: inference", "used-for: looking", "one of inference, extract-feature"),
        ("module-type: cv", "module-type: reid", "for 'module-type', got 'reid'"),
        ("fine-tunable: True", "fine-tunable: perhaps", "True or False for 'fine-tunable'"),
        ("fine-tunable: True", "fine-tunable: True\naccuracy: good", "a number for 'accuracy'"),
        ("fine-tunable: True", "fine-tunable: True\nfeatured-image: a.png", "'no-image' for 'featured-image'"),
        ("file-format: ckpt", "file-format: pth", "for 'file-format', got 'pth'"),
        ("https://gitee.com/mindspore/models/tree/", "https://gitee.com/mindspore/models/x/", "for 'repo-link'"),
        ("https://gitee.com/mindspore/models/tree/", "https://gitee.org/mindspore/models/tree/", "'repo-link'"),
        ("## Introduction", "## Introduction:", "at the end of the heading 'Introduction:'"),
        ("## Introduction", "> - # Introduction:", "at the end of the heading 'Introduction:'"),
        ("## Introduction", "---\n", "two lines that start with '---', got 3"),
    ],
)  # fmt: skip
def test_each(old: str, new: str, message: str) -> None:
    text = (ROOT / "assets.md").read_text()
    assert rules.problem(text.encode(), "assets.md") == ""
    assert old in text
    assert message in rules.problem(text.replace(old, new, 1).encode(), "assets.md")


def test_a_name_that_stands_for_another_file() -> None:
    assert "ends in 'cn'" in rules.problem((ROOT / "assets.md").read_bytes(), "osnet_cn.md")


@pytest.mark.parametrize("dataset", ["market1501", "market1501_msmt17", "MSMT17", "none"])
def test_data_sets(dataset: str) -> None:
    text = (ROOT / "assets.md").read_text().replace("train-dataset: dukemtmc", f"train-dataset: {dataset}")
    assert rules.problem(text.encode(), "assets.md") == ""


@pytest.mark.parametrize("uid", [card.uid for card in catalog.list_cards()])
def test_a_card_of_the_package_passes_as_laid_out(uid: str) -> None:
    card = catalog.get_card(uid)
    published = card.path.read_bytes() if card.path else render_card(card)
    laid = rules.passing(card, published, Path("card.md"))
    again = parse_card(laid, path=f"{uid}.md")
    assert rules.problem(laid, "card.md") == ""
    assert (again.dataset, again.assets, again.uid, again.body) == (
        card.dataset, card.assets, card.uid, card.body
    )  # fmt: skip
    assert (laid == published) == (not rules.problem(published, "card.md"))

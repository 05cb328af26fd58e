"""The 18 published cards and their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from osnet.errors import UnknownModelError
from osnet.hub import catalog
from osnet.hub.catalog import addresses, aliases, get_card, list_cards
from osnet.hub.urls import file_name

ROOT = Path(__file__).parents[2]
SEED_SHA256 = "8bb1f05441d45cb6d4de816fdc6132f6096a35e1792156bf6b36b9f8d1f5abaa"


def test_the_seed_card_is_assets_md_byte_for_byte() -> None:
    card = get_card("osnet")
    assert card.uid == "mindspore/1.6/osnet_dukemtmc"
    assert card.evaluation == "mAP67"
    assert card.path is not None
    assert card.path.read_bytes() == (ROOT / "assets.md").read_bytes()


def test_18_cards_of_5_files() -> None:
    published = [card for card in list_cards() if card.user_id == "MindSpore"]
    assert len(published) == 18
    assert len({card.checkpoint.sha256 for card in published}) == 5
    assert {card.dataset for card in published} == {"dukemtmc", "dukemtmcreid", "market1501", "msmt17"}


def test_cards_are_ordered_by_version_as_numbers() -> None:
    versions = list(dict.fromkeys(card.mindspore_version for card in list_cards() if card.user_id == "MindSpore"))
    assert versions == ["1.3", "1.6", "1.7", "1.8", "1.9", "1.10"]


@pytest.mark.parametrize("card", list_cards(), ids=lambda card: card.uid)
def test_each_card_stands_where_its_uid_says_and_agrees_with_itself(card: catalog.Card) -> None:
    assert card.path == catalog.CARDS / f"{card.uid}.md"
    assert get_card(card.uid) == card
    assert get_card(card.uid.upper()) == card
    assert card.checkpoint.link in addresses(card.checkpoint.sha256)
    if card.user_id == "MindSpore":
        assert card.fields["model-version"] == card.mindspore_version
        short = card.mindspore_version.replace(".", "")
        expected = f"osnet_ascend_v{short}0_{card.dataset}_research_cv_{card.evaluation}.ckpt"
        assert file_name(card.checkpoint.link) == expected
        assert f"/r{card.mindspore_version}/" in card.checkpoint.link
        assert f"/r{card.mindspore_version}/" in card.repository


def test_aliases_are_the_newest_cards() -> None:
    assert {name: uid for name, uid in aliases().items() if uid.startswith("mindspore/")} == {
        "osnet": "mindspore/1.6/osnet_dukemtmc",
        "osnet_dukemtmc": "mindspore/1.7/osnet_dukemtmc",
        "osnet_dukemtmcreid": "mindspore/1.10/osnet_dukemtmcreid",
        "osnet_market1501": "mindspore/1.10/osnet_market1501",
        "osnet_msmt17": "mindspore/1.10/osnet_msmt17",
    }
    for name, uid in aliases().items():
        assert get_card(name).uid == uid


def test_addresses_are_all_links_of_the_same_bytes() -> None:
    names = [link.rpartition("/")[2] for link in addresses(SEED_SHA256.upper())]
    assert sorted(names) == [
        "osnet_ascend_v130_dukemtmc_research_cv_mAP74.ckpt",
        "osnet_ascend_v160_dukemtmc_research_cv_mAP67.ckpt",
        "osnet_ascend_v160_dukemtmc_research_cv_mAP74.ckpt",
        "osnet_ascend_v170_dukemtmc_research_cv_mAP74.ckpt",
    ]
    assert addresses("0" * 64) == ()
    assert len(addresses(get_card("osnet_msmt17").checkpoint.sha256)) == 6


def test_a_path_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.md"
    path.write_bytes((ROOT / "assets.md").read_bytes())
    assert get_card(path).path == path
    assert get_card(str(path)).uid == "mindspore/1.6/mine"
    with pytest.raises(UnknownModelError, match="no card at"):
        get_card(tmp_path / "other.md")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("osnet_markt1501", "osnet_market1501"),
        ("mindspore/1.6/osnet_duke", "mindspore/1.6/osnet_dukemtmc"),
        ("mindspore/1.4/osnet_msmt17", "osnet_msmt17"),
        ("resnet", "osnet"),
        ("", "osnet"),
        ("../../../etc/nothing", "osnet"),
    ],
)
def test_unknown_name_lists_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        get_card(name)
    assert near in str(caught.value).partition("Nearest: ")[2]


@pytest.mark.parametrize(("name", "kind"), [("model.onnx", "file"), ("run", "folder")])
def test_a_path_that_is_no_card_is_not_taken_for_a_misspelt_name(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "run").mkdir()
    with pytest.raises(UnknownModelError, match=rf"{name}' is a {kind}, .* expected a card \(\.md\) or weights"):
        get_card(tmp_path / name)

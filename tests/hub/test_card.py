"""Cards: what is read, and what is refused (faults 1 to 10)."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.errors import CardError, UnknownModelError
from osnet.hub.card import REQUIRED, Asset, parse_card, read_card, render_card
from osnet.yaml_files import MAX_BYTES
from tests.conftest import CardMaker

SEED = Path(__file__).parents[2] / "assets.md"
SHA256 = b"8bb1f05441d45cb6d4de816fdc6132f6096a35e1792156bf6b36b9f8d1f5abaa"


@pytest.fixture(scope="module")
def seed() -> bytes:
    return SEED.read_bytes()


def changed(seed: bytes, old: bytes, new: bytes) -> bytes:
    assert old in seed
    return seed.replace(old, new, 1)


def refused(data: bytes, *words: str) -> str:
    """The message of the CardError that `data` must give, in one line that holds `words`."""
    with pytest.raises(CardError) as caught:
        parse_card(data, path="some.md")
    message = str(caught.value)
    assert message.startswith("some.md")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_seed_card(seed: bytes) -> None:
    card = parse_card(seed, path="anywhere/Osnet_DukeMTMC.md")
    link = "https://download.mindspore.cn/models/r1.6/osnet_ascend_v160_dukemtmc_research_cv_mAP67.ckpt"
    assert card.uid == "mindspore/1.6/osnet_dukemtmc"
    assert card.name == "osnet"
    assert card.dataset == "dukemtmc"
    assert card.evaluation == "mAP67"
    assert card.license == "Apache2.0"
    assert card.repository == "https://gitee.com/mindspore/models/tree/r1.6/research/cv/osnet"
    assert card.assets == (Asset("ckpt", link, SHA256.decode()),)
    assert card.checkpoint is card.assets[0]
    assert card.mindspore_version == "1.6"
    assert card.update_time == "2022-03-30"
    assert card.user_id == "MindSpore"
    assert card.body.startswith("## Introduction\n")
    assert card.body.endswith("please see the LICENSE file.")
    assert card.fields["fine-tunable"] == "True"
    assert list(card.fields)[:2] == ["model-name", "backbone-name"]
    assert "asset" not in card.fields
    with pytest.raises(TypeError):
        card.fields["model-name"] = "other"  # type: ignore[index]
    assert pickle.loads(pickle.dumps(card)) == card
    assert len({card, parse_card(seed, path="anywhere/Osnet_DukeMTMC.md")}) == 1


def test_uid_without_a_path_ends_in_the_model_name(seed: bytes) -> None:
    assert parse_card(seed).uid == "mindspore/1.6/osnet"


def test_rendering_the_seed_card_gives_its_bytes(seed: bytes) -> None:
    assert render_card(parse_card(seed)) == seed


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=40).filter(
    lambda text: text.strip()
)


@settings(max_examples=40, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_rendering_keeps_every_value(name: str, summary: str, evaluation: str) -> None:
    card = parse_card(SEED.read_bytes(), path="x.md")
    entries = {**card.fields, "model-name": name, "summary": summary, "evaluation": evaluation, f"x {name}": "extra"}
    card = replace(card, name=entries["model-name"], evaluation=entries["evaluation"], entries=tuple(entries.items()))
    heading_free = replace(card, body="a\n\n---\n\nb")
    assert parse_card(render_card(heading_free), path="x.md") == heading_free


def test_several_assets_and_no_body(seed: bytes) -> None:
    card = parse_card(seed, path="x.md")
    mindir = Asset("mindir", "https://example.org/a: b.mindir", "0" * 64)
    card = replace(card, assets=(mindir, *card.assets), body="", entries=card.entries[:-2])
    # Without its last keys the asset block moves to the end; all required keys are needed to read it again.
    card = replace(card, entries=(*card.entries, ("summary", "x: y"), ("license", "MIT")), license="MIT")
    assert parse_card(render_card(card), path="x.md") == card
    assert card.checkpoint.file_format == "ckpt"


@pytest.mark.parametrize("tag", [b"!!python/name:os.system", b"!!python/object/apply:os.system ['true']", b"!local x"])
def test_fault_01_tag(seed: bytes, tag: bytes) -> None:
    refused(changed(seed, b"evaluation: mAP67", b"evaluation: " + tag), "line 17", "tag")


def test_fault_02_alias_bomb(seed: bytes) -> None:
    bomb = b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"
    refused(changed(seed, b"evaluation: mAP67", bomb), "line 17", "anchors are refused")
    refused(changed(seed, b"evaluation: mAP67", b"evaluation: *a"), "line 17", "aliases are refused")


@pytest.mark.parametrize("nest", [b"[", b"{", b"- ", b"? ", b"[\n", b"{a: "])
def test_fault_03_deep_nesting(seed: bytes, nest: bytes) -> None:
    refused(changed(seed, b"mAP67", b"\n  " + nest * 3000), "nested")


def test_fault_04_size_and_bytes(seed: bytes) -> None:
    refused(seed + b"x" * MAX_BYTES, "65536")
    refused(changed(seed, b"mAP67", b"mAP\x0067"), "line 17", "0x00")
    refused(changed(seed, b"mAP67", b"mAP\x1b67"), "line 17", "0x1b")
    refused(changed(seed, b"mAP67", b"mAP\xff67"), "line 17", "UTF-8", "0xff")
    parse_card(seed + b"x" * (MAX_BYTES - len(seed)))


def test_fault_04_bom_and_crlf_are_accepted(seed: bytes) -> None:
    card = parse_card(seed)
    assert parse_card(b"\xef\xbb\xbf" + seed) == card
    assert parse_card(b"\xef\xbb\xbf" + seed.partition(b"\n\n")[2]) == card
    assert parse_card(seed.replace(b"\n", b"\r\n")) == card


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b"evaluation: mAP67", b"evaluation: mAP67\nevaluation: mAP99", "'evaluation'"),
        (b"license: Apache2.0", b"asset: []\nlicense: Apache2.0", "'asset'"),
        (b"    asset-sha256:", b"    asset-link: <https://evil.example/x.ckpt>\n    asset-sha256:", "'asset-link'"),
    ],
)
def test_fault_05_key_twice(seed: bytes, old: bytes, new: bytes, key: str) -> None:
    refused(changed(seed, old, new), key, "twice")


@pytest.mark.parametrize(
    "value", [b"12345", b"0x12", b"", b"~", b'""', SHA256[:-1], SHA256 + b"0", b"g" * 64, b"[" + SHA256 + b"]", b"1e64"]
)
def test_fault_06_sha256(seed: bytes, value: bytes) -> None:
    refused(changed(seed, SHA256, value), "asset-sha256")


def test_fault_06_upper_case_sha256_is_accepted(seed: bytes) -> None:
    assert parse_card(changed(seed, SHA256, SHA256.upper())).checkpoint.sha256 == SHA256.decode()


@pytest.mark.parametrize("key", [key for key in REQUIRED if key != "asset"])
def test_fault_07_missing_key(seed: bytes, key: str) -> None:
    lines = seed.split(b"\n")
    place = next(i for i, line in enumerate(lines) if line.startswith(key.encode() + b":"))
    refused(b"\n".join(lines[:place] + lines[place + 1 :]), key)
    refused(b"\n".join([*lines[:place], key.encode() + b":", *lines[place + 1 :]]), key)


@pytest.mark.parametrize("key", ["file-format", "asset-link", "asset-sha256"])
def test_fault_07_missing_key_of_an_asset(seed: bytes, key: str) -> None:
    refused(changed(seed, f"    {key}:".encode(), f"    {key}x:".encode()), "asset", key)


ASSET_BLOCK = (
    b"-\n    file-format: ckpt\n    asset-link: "
    b"<https://download.mindspore.cn/models/r1.6/osnet_ascend_v160_dukemtmc_research_cv_mAP67.ckpt>\n"
    b"    asset-sha256: " + SHA256 + b"\n"
)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (ASSET_BLOCK, b"", ["asset", "text"]),
        (b"asset:\n\n" + ASSET_BLOCK, b"", ["missing", "asset"]),
        (b"asset:\n\n" + ASSET_BLOCK, b"asset: []\n", ["asset", "list"]),
        (b"asset:\n\n" + ASSET_BLOCK, b"asset: yes\n", ["asset", "text"]),
        (b"asset:\n\n" + ASSET_BLOCK, b"asset: [x]\n", ["asset", "text"]),
        (b"file-format: ckpt", b"file-format: mindir", ["file-format", "ckpt", "got 0"]),
        (ASSET_BLOCK, ASSET_BLOCK * 2, ["file-format", "ckpt", "got 2"]),
        (b"    file-format: ckpt", b"    colour: red\n    file-format: ckpt", ["unknown", "colour", "asset-link"]),
        (b"summary: osnet is used for cv", b"summary: [a, b]", ["summary", "a list"]),
    ],
    ids=["empty", "missing", "empty-list", "text", "list-of-text", "no-ckpt", "two-ckpt", "unknown-key", "list-value"],
)
def test_fault_07_asset(seed: bytes, old: bytes, new: bytes, words: list[str]) -> None:
    refused(changed(seed, old, new), *words)


@pytest.mark.parametrize("date", [b"2022-02-30", b"2022-13-01", b"0000-01-01", b"yesterday", b"2022-03-30 12:00"])
def test_fault_08_impossible_date(seed: bytes, date: bytes) -> None:
    refused(changed(seed, b"2022-03-30", date), "update-time")


@pytest.mark.parametrize("key", ["model-version", "mindspore-version", "update-time", "summary"])
def test_fault_08_number_of_5000_digits(seed: bytes, key: str) -> None:
    lines = [
        f"{key}: {'9' * 5000}".encode() if line.startswith(f"{key}:".encode()) else line for line in seed.split(b"\n")
    ]
    assert len(refused(b"\n".join(lines))) < 300


def test_fault_09_version_stays_text(seed: bytes) -> None:
    card = parse_card(seed.replace(b"version: 1.6", b"version: 1.10"))
    assert card.fields["model-version"] == card.mindspore_version == "1.10"
    assert card.uid == "mindspore/1.10/osnet"
    assert parse_card(changed(seed, b"evaluation: mAP67", b"evaluation: 083")).evaluation == "083"


def test_fault_10_rule_in_the_body_and_heading_above(seed: bytes) -> None:
    card = parse_card(changed(seed, b"## Citation", b"---\n\n## Citation\n\n---"))
    assert "\n---\n\n## Citation\n\n---\n" in card.body
    assert parse_card(changed(seed, b"# osnet\n", b"# osnet\n\nwith words\n")) == parse_card(seed)
    refused(seed.replace(b"---", b"***"), "---")
    refused(changed(seed, b"\n---\n\n##", b"\n***\n\n##"), "---")


@pytest.mark.parametrize("value", [b"..", b"a/b", b"", b"a b", b".hidden", b"x" * 65])
def test_user_id_that_is_no_folder_name(seed: bytes, value: bytes) -> None:
    refused(changed(seed, b"user-id: MindSpore", b"user-id: " + value), "user-id")


@pytest.mark.parametrize("value", [b"..", b"1/6", b"latest", b"1.6 rc1"])
def test_version_that_is_no_version(seed: bytes, value: bytes) -> None:
    refused(changed(seed, b"mindspore-version: 1.6", b"mindspore-version: " + value), "mindspore-version")


def test_read_card(tmp_path: Path, seed: bytes) -> None:
    path = tmp_path / "Mine.md"
    path.write_bytes(seed)
    card = read_card(path)
    assert card.uid == "mindspore/1.6/mine"
    assert card.path == path
    assert read_card(str(path)) == card
    with pytest.raises(UnknownModelError, match="no card at"):
        read_card(tmp_path / "other.md")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(CardError, match="folder"):
        read_card(tmp_path / "folder.md")
    os.mkfifo(tmp_path / "pipe.md")
    with pytest.raises(CardError, match="FIFO"):
        read_card(tmp_path / "pipe.md")
    with pytest.raises(CardError, match="cannot be read"):
        read_card("nul\0byte.md")


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_fuzz_mutated_cards_are_read_or_refused(data: st.DataObject) -> None:
    text = bytearray(SEED.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, 900))
        piece = data.draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"---\n", b": ", b"- ", b"[", b"{", b"&a ", b"*a", b"!!int ", b"'", b'"', b"\n", b"|\n"]
                ),
            )
        )
        text[place : place + data.draw(st.integers(0, 8))] = piece
    try:
        card = parse_card(bytes(text), path="x.md")
    except CardError as error:
        one_line = "\n" not in str(error)
    else:
        one_line = True
        assert len(card.checkpoint.sha256) == 64
        assert parse_card(render_card(card), path="x.md") == card
    assert one_line


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.text(max_size=200).map(lambda text: f"---\n{text}\n---\n".encode("utf-8", "replace")),
    )
)
def test_fuzz_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CardError):
        parse_card(data)


def test_a_name_that_is_not_utf_8_is_escaped_in_the_body(make_card: CardMaker) -> None:
    card = make_card("https://download.mindspore.cn/x.ckpt", b"x", train_dataset="tr\udce9")
    again = parse_card(render_card(replace(card, body="trained on tr\udce9")))
    assert (again.dataset, again.body) == ("tr\udce9", r"trained on tr\udce9")


@pytest.mark.parametrize("size", ["''", "64", "0x0", "128x60", "128x64x3", "-64x32", "999999x64", "128x64 px"])
def test_an_impossible_input_size_is_refused(seed: bytes, size: str) -> None:
    refused(changed(seed, b"license:", f"input-size: {size}\n\nlicense:".encode()), "'input-size'", "expected")

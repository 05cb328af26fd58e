"""`osnet hub check` names what mindspore_hub would stumble over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from osnet.errors import UnknownModelError
from osnet.hub.card import Card
from osnet.mshub.check import check
from osnet.mshub.install import install
from tests.mshub.conftest import FILE, UID, notes


def test_a_hostile_card_is_one_warning_and_the_others_stand(
    card: Card, hub_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(card, hub_dir=hub_dir)
    bad = hub_dir / "mindspore/1.6/bad.md"
    bad.write_text('---\na: "\\UFFFFFFFF"\n---\n')
    assert all(finding.good for finding in check(hub_dir=hub_dir))
    assert len(caplog.messages) == 1
    assert str(bad) in caplog.messages[0]


def test_says_what_is_there(card: Card, hub_dir: Path) -> None:
    assert notes(check(card, hub_dir=hub_dir)) == [
        ("osnet_dukemtmc.md", False),
        ("osnet", False),
        (FILE, False),
        ("network", True),
    ]
    with pytest.raises(UnknownModelError, match=r"osnet hub install mindspore/1\.6/osnet_dukemtmc"):
        check(hub_dir=hub_dir)
    install(card, hub_dir=hub_dir)
    assert all(finding.good for finding in check(card, hub_dir=hub_dir))


@pytest.mark.parametrize(
    ("damage", "wrong", "note"),
    [
        (lambda home: (home / FILE).write_bytes(b"x"), FILE, "mindspore_hub loads it unchecked"),
        (lambda home: (home / FILE).unlink(), FILE, "no checkpoint"),
        (lambda home: (home / "osnet/mindspore_hub_conf.py").unlink(), "osnet", "ends in a ValueError"),
        (lambda home: shutil.rmtree(home / "osnet/standalone"), "osnet", "not whole"),
        (lambda home: (home / "osnet_dukemtmc.md").write_text("# osnet"), "osnet_dukemtmc.md", "front matter"),
    ],
    ids=["checkpoint damaged", "checkpoint gone", "no entry", "no copy", "card cut"],
)
def test_names_the_part_that_is_wrong(
    damage: Callable[[Path], object], wrong: str, note: str, catalogue: Path, hub_dir: Path
) -> None:
    install("osnet", hub_dir=hub_dir)
    damage(hub_dir / "mindspore/1.6")
    (bad,) = [finding for finding in check(hub_dir=hub_dir) if not finding.good]
    assert Path(bad.what).name == wrong
    assert note in bad.note


def test_a_published_uid_with_another_sha256(catalogue: Path, publish: Callable[..., Card], hub_dir: Path) -> None:
    own = publish(b"other bytes")
    install(own, hub_dir=hub_dir)
    findings = check(hub_dir=hub_dir)  # the user asked for it by its path
    assert all(finding.good for finding in findings)
    assert "a card of your own" in findings[0].note
    for how in (lambda: check(UID, hub_dir=hub_dir), lambda: check(hub_dir=hub_dir)):
        bad = [Path(finding.what).name for finding in how() if not finding.good]
        assert bad == ["osnet_dukemtmc.md", FILE]
        (hub_dir / "mindspore/1.6/.osnet_dukemtmc.osnet-hub").unlink(missing_ok=True)

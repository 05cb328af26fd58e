"""mindspore_hub finds what `osnet hub install` lays out; `register` gives it OSNet's names. The hub is a stand-in."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from osnet import mshub
from osnet.cli import app as cli
from osnet.errors import CacheError, CardError, DependencyError, OfflineError, UnknownModelError
from osnet.hub import catalog
from osnet.hub.card import Card, parse_card, read_card, render_card
from osnet.mshub import layout, package, rules
from osnet.mshub.check import Finding, check
from tests import mindspore_hub_standin
from tests.conftest import CardMaker
from tests.servers import Server, whole

ROOT = Path(__file__).parents[1]
UID = "mindspore/1.6/osnet_dukemtmc"
DATA = b"what a card publishes" * 50
FILE = "osnet_ascend_v160_dukemtmc_research_cv_mAP67.ckpt"


@pytest.fixture
def hub_dir(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".mscache"


@pytest.fixture
def publish(https_server: Server, make_card: CardMaker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Card]:
    """``publish(data)``: a card with the uid of the seed card whose links are served here."""
    monkeypatch.setenv("OSNET_ALLOW_HOST", https_server.host)

    def run(data: bytes, name: str = "osnet_dukemtmc", folder: str = "osnet", **values: str) -> Card:
        repository = https_server.on(f"/of.com/tree/master/research/cv/{folder}", whole(b"a page"))
        link = https_server.on(f"/files/{name}/{FILE}", whole(data))
        return make_card(link, data, name=name, repo_link=f"<{repository}>", **values)

    return run


@pytest.fixture
def card(publish: Callable[..., Card]) -> Card:
    return publish(DATA)


@pytest.fixture
def catalogue(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's cards are this one, under the seed card's uid."""
    folder = tmp_path / "cards"
    (folder / UID).parent.mkdir(parents=True)
    shutil.copy(card.path, folder / f"{UID}.md")
    monkeypatch.setattr(catalog, "CARDS", folder)
    for lookup in (catalog._uids, catalog._card):
        lookup.cache_clear()
    yield folder
    for lookup in (catalog._uids, catalog._card):
        lookup.cache_clear()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, but the copy of the package."""
    files = [path for path in folder.rglob("*") if path.is_file() and package.STANDALONE not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files)}


def notes(findings: tuple[Finding, ...]) -> list[tuple[str, bool]]:
    return [(Path(finding.what).name, finding.good) for finding in findings]


class TestInstall:
    def test_lays_out_card_folder_and_checkpoint(self, card: Card, hub_dir: Path) -> None:
        home = hub_dir / "mindspore/1.6"
        assert layout.install(card, hub_dir=hub_dir) == (home / "osnet_dukemtmc.md", home / "osnet", home / FILE)
        assert (home / "osnet_dukemtmc.md").read_bytes() == card.path.read_bytes()
        assert (home / FILE).read_bytes() == DATA
        assert "create_network" in (home / "osnet/mindspore_hub_conf.py").read_text()
        assert (home / "osnet/standalone/osnet/variants.py").is_file()
        assert not (home / "osnet/osnet").exists()  # first on sys.path, it would hide the installed package
        assert set(tree(hub_dir)) == {
            "mindspore/1.6/.osnet_dukemtmc.osnet-hub",
            "mindspore/1.6/osnet_dukemtmc.md",
            "mindspore/1.6/osnet/mindspore_hub_conf.py",
            f"mindspore/1.6/{FILE}",
        }

    def test_twice_is_once_and_needs_no_network(self, card: Card, hub_dir: Path, https_server: Server) -> None:
        layout.install(card, hub_dir=hub_dir)
        before, asked = tree(hub_dir), len(https_server.requests)
        layout.install(str(card.path), hub_dir=hub_dir, offline=True)
        assert tree(hub_dir) == before
        assert len(https_server.requests) == asked
        assert layout.remove(card, hub_dir=hub_dir)
        assert tree(hub_dir) == {}

    def test_uses_the_usual_cache_offline(self, card: Card, hub_dir: Path) -> None:
        from osnet.hub.fetch import fetch

        cached = fetch(card)
        _, _, checkpoint = layout.install(card, hub_dir=hub_dir, offline=True)
        assert checkpoint.read_bytes() == cached.read_bytes()

    @pytest.mark.parametrize("cached", [False, True])
    def test_a_damaged_checkpoint_is_replaced(self, cached: bool, card: Card, hub_dir: Path) -> None:
        from osnet.hub.fetch import fetch

        _, _, checkpoint = layout.install(card, hub_dir=hub_dir)
        if cached:
            fetch(card)
        checkpoint.write_bytes(DATA[:-1] + b"?")
        layout.install(card, hub_dir=hub_dir)
        assert checkpoint.read_bytes() == DATA

    def test_nothing_is_laid_out_when_the_checkpoint_cannot_be_had(self, card: Card, hub_dir: Path) -> None:
        with pytest.raises(OfflineError):
            layout.install(card, hub_dir=hub_dir, offline=True)
        assert tree(hub_dir) == {}

    def test_a_published_card_by_its_uid(self, catalogue: Path, hub_dir: Path) -> None:
        layout.install(UID, hub_dir=hub_dir)
        assert (hub_dir / f"{UID}.md").read_bytes() == (catalogue / f"{UID}.md").read_bytes()

    def test_another_card_in_its_place_is_not_overwritten(self, publish: Callable[..., Card], hub_dir: Path) -> None:
        first = publish(DATA)
        layout.install(first, hub_dir=hub_dir)
        before = tree(hub_dir)
        with pytest.raises(CacheError, match=r"osnet_dukemtmc\.md: expected the card of .*move it away"):
            layout.install(publish(b"other bytes"), hub_dir=hub_dir)
        assert tree(hub_dir) == before

    def test_the_zoos_folder_is_kept_and_gets_the_entry_point(self, card: Card, hub_dir: Path) -> None:
        zoo = hub_dir / "mindspore/1.6/osnet/src/osnet.py"
        zoo.parent.mkdir(parents=True)
        zoo.write_text("pass")
        layout.install(card, hub_dir=hub_dir)
        assert all(finding.good for finding in check(card, hub_dir=hub_dir))
        layout.remove(card, hub_dir=hub_dir)
        assert list(tree(hub_dir)) == ["mindspore/1.6/osnet/src/osnet.py"]

    @pytest.mark.parametrize("kind", ["another entry", "a file", "a link"])
    def test_other_peoples_folders_are_refused(self, kind: str, card: Card, hub_dir: Path, tmp_path: Path) -> None:
        folder = hub_dir / "mindspore/1.6/osnet"
        folder.parent.mkdir(parents=True)
        if kind == "another entry":
            folder.mkdir()
            (folder / "mindspore_hub_conf.py").write_text("def create_network(name): ...")
        elif kind == "a file":
            folder.write_text("")
        else:
            (tmp_path / "elsewhere").mkdir()
            folder.symlink_to(tmp_path / "elsewhere")
        before = tree(hub_dir)
        with pytest.raises(CacheError, match=r"osnet: expected the folder of .* move it away"):
            layout.install(card, hub_dir=hub_dir)
        assert tree(hub_dir) == before
        assert notes(check(card, hub_dir=hub_dir))[1] == ("osnet", False)

    @pytest.mark.parametrize("kind", ["a folder", "a link", "a file", "a file in the copy", "a changed file"])
    def test_what_others_put_where_the_copy_belongs_is_refused(self, kind: str, card: Card, hub_dir: Path) -> None:
        copy = hub_dir / "mindspore/1.6/osnet/standalone"
        precious = hub_dir / "precious.txt"
        if "in the copy" in kind or "changed" in kind:
            layout.install(card, hub_dir=hub_dir)
            precious = copy / ("osnet/mine.py" if "in the copy" in kind else "osnet/variants.py")
        else:
            copy.parent.mkdir(parents=True)
        if kind == "a folder":
            precious = copy / "precious.txt"
            copy.mkdir()
        elif kind == "a link":
            copy.symlink_to(hub_dir)
        elif kind == "a file":
            precious = copy
        precious.write_text("mine")
        with pytest.raises(CacheError, match=r"standalone.*: expected nothing, or what .* put there; move it away"):
            layout.install(card, hub_dir=hub_dir)
        assert precious.read_text() == "mine"

    def test_another_checkpoint_in_its_place_is_not_overwritten(self, card: Card, hub_dir: Path) -> None:
        path = hub_dir / "mindspore/1.6" / FILE
        path.parent.mkdir(parents=True)
        path.write_bytes(b"trained for a week")
        with pytest.raises(CacheError, match="that `osnet hub install` did not put there; move it away"):
            layout.install(card, hub_dir=hub_dir)
        assert tree(hub_dir) == {f"mindspore/1.6/{FILE}": b"trained for a week"}

    @pytest.mark.parametrize(
        ("link", "repository", "name", "message"),
        [
            ("https://gitee.com/a%20b.ckpt", "https://gitee.com/osnet", "a", "plain file name, got 'a%20b.ckpt'"),
            ("https://gitee.com/a.ckpt?v=1", "https://gitee.com/osnet", "a", "plain file name"),
            ("https://gitee.com/a.ckpt", "https://gitee.com/osnet/..", "a", "'repo-link', got '..'"),
            ("https://gitee.com/a.ckpt", "https://gitee.com/osnet/", "a", "'repo-link', got ''"),
            ("https://gitee.com/a.ckpt", "https://gitee.com/osnet", "..", "file name, got"),
            ("https://gitee.com/a.ckpt", "https://gitee.com/a.md", "a", "one twice"),
        ],
    )
    def test_names_that_mindspore_hub_would_misuse(
        self, link: str, repository: str, name: str, message: str, make_card: CardMaker, hub_dir: Path
    ) -> None:
        card = make_card(link, name=name, repo_link=f"<{repository}>")
        with pytest.raises(CardError) as caught:
            layout.install(card, hub_dir=hub_dir)
        assert message in str(caught.value)
        assert not hub_dir.exists()

    def test_cards_that_mindspore_hub_refuses(self, card: Card, publish: Callable[..., Card], hub_dir: Path) -> None:
        with pytest.raises(CardError, match="no ':' in 'summary'"):
            layout.install(publish(DATA, summary="a: b"), hub_dir=hub_dir)
        with pytest.raises(CardError, match="True or False for 'fine-tunable', got 'perhaps'"):
            layout.install(publish(DATA, fine_tunable="perhaps"), hub_dir=hub_dir)
        place = hub_dir / "mindspore/1.6/osnet_dukemtmc.md"
        place.parent.mkdir(parents=True)
        place.write_text(publish(DATA).path.read_text() + "\n---\n")
        with pytest.raises(CacheError, match=r"expects two lines that start with '---', got 3; move it away"):
            layout.install(publish(DATA), hub_dir=hub_dir)
        assert notes(check(publish(DATA), hub_dir=hub_dir))[0] == ("osnet_dukemtmc.md", False)

    def test_what_a_card_need_not_have_is_left_out_where_mindspore_hub_refuses_it(
        self, publish: Callable[..., Card], hub_dir: Path
    ) -> None:
        path = publish(DATA, train_dataset="drawn people", note="a: b", evaluation="mAP67").path
        path.write_text(path.read_text() + "\n---\n")
        laid, *_ = layout.install(path, hub_dir=hub_dir)
        card = read_card(laid)
        assert (card.dataset, card.evaluation, card.body) == ("drawn people", "mAP67", "")
        assert not {"train-dataset", "note"} & set(card.fields)
        assert all(finding.good for finding in check(path, hub_dir=hub_dir))

    @pytest.mark.slow
    def test_four_processes_at_once(self, card: Card, hub_dir: Path) -> None:
        code = f"from osnet.mshub import layout; layout.install({str(card.path)!r}, hub_dir={str(hub_dir)!r})"
        runs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
        assert [run.wait() for run in runs] == [0] * 4
        assert all(finding.good for finding in check(card, hub_dir=hub_dir))
        layout.remove(hub_dir=hub_dir)
        assert tree(hub_dir) == {}


class TestRemove:
    def test_leaves_what_stood_there_before(self, card: Card, hub_dir: Path) -> None:
        from osnet.hub.fetch import fetch

        fetch(card, cache_dir=hub_dir)
        (hub_dir / "mindspore/1.6/osnet_dukemtmc.md").write_bytes(card.path.read_bytes())
        before = tree(hub_dir)
        layout.install(card, hub_dir=hub_dir)
        layout.install(card, hub_dir=hub_dir)
        gone = layout.remove(card, hub_dir=hub_dir)
        assert gone == (hub_dir / "mindspore/1.6/osnet",)
        assert tree(hub_dir) == before

    def test_a_shared_folder_and_file_stay_until_the_last_card_goes(
        self, publish: Callable[..., Card], hub_dir: Path
    ) -> None:
        one, two = publish(DATA), publish(DATA, name="osnet_two")
        layout.install(one, hub_dir=hub_dir)
        layout.install(two, hub_dir=hub_dir)
        assert layout.remove(one, hub_dir=hub_dir) == (hub_dir / f"{UID}.md",)
        assert all(finding.good for finding in check(two, hub_dir=hub_dir))
        layout.remove(hub_dir=hub_dir)
        assert list(hub_dir.iterdir()) == []

    def test_leaves_what_was_put_there_since(self, card: Card, hub_dir: Path) -> None:
        home = hub_dir / "mindspore/1.6"
        layout.install(card, hub_dir=hub_dir)
        mine = [home / "osnet/standalone/notes.txt", home / "osnet/standalone/osnet/variants.py", home / FILE]
        mine += [home / "osnet_dukemtmc.md", home / "osnet/.mine.osnet-part/notes.txt"]
        mine[-1].parent.mkdir()
        for path in mine:
            path.write_text("mine")
        (home / "osnet/standalone/link").symlink_to(hub_dir)
        assert layout.remove(card, hub_dir=hub_dir) == (home / "osnet/mindspore_hub_conf.py",)
        left = [path for path in hub_dir.rglob("*") if path.is_file()]
        assert sorted(left) == sorted(mine)
        assert (home / "osnet/standalone/link").is_symlink()

    def test_follows_no_link_in_place_of_the_copy(self, card: Card, hub_dir: Path, tmp_path: Path) -> None:
        home = hub_dir / "mindspore/1.6"
        layout.install(card, hub_dir=hub_dir)
        (home / "osnet/standalone").rename(tmp_path / "moved")
        (home / "osnet/standalone").symlink_to(tmp_path / "moved")
        layout.remove(card, hub_dir=hub_dir)
        assert (home / "osnet/standalone").is_symlink()
        assert (tmp_path / "moved/osnet/variants.py").is_file()

    def test_takes_what_python_compiled_and_a_killed_install_left(self, card: Card, hub_dir: Path) -> None:
        folder = hub_dir / "mindspore/1.6/osnet"
        layout.install(card, hub_dir=hub_dir)
        (folder / "standalone/osnet/__pycache__").mkdir()
        (folder / "standalone/osnet/__pycache__/variants.cpython-311.pyc").write_bytes(b"")
        (folder / ".0123456789abcdef.osnet-part/osnet").mkdir(parents=True)
        assert folder in layout.remove(card, hub_dir=hub_dir)
        assert list(hub_dir.iterdir()) == []

    def test_what_was_not_installed_is_an_error(self, card: Card, hub_dir: Path) -> None:
        with pytest.raises(UnknownModelError, match="expected an installed card"):
            layout.remove(hub_dir=hub_dir)
        (hub_dir / "mindspore/1.6").mkdir(parents=True)
        (hub_dir / "mindspore/1.6/.osnet_dukemtmc.osnet-hub").write_text('{"card": "../../../x"}')
        with pytest.raises(UnknownModelError, match=f"expected {UID} to be installed"):
            layout.remove(card, hub_dir=hub_dir)

    def test_a_receipt_reaches_nothing_outside_its_folder(self, card: Card, hub_dir: Path) -> None:
        layout.install(card, hub_dir=hub_dir)
        (hub_dir / "precious").write_text("")
        receipt = hub_dir / "mindspore/1.6/.osnet_dukemtmc.osnet-hub"
        values = json.loads(receipt.read_text())
        receipt.write_text(json.dumps({**values, "checkpoint": "../../precious"}))
        with pytest.raises(UnknownModelError):
            layout.remove(hub_dir=hub_dir)
        assert (hub_dir / "precious").exists()


class TestRules:
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
    def test_each(self, old: str, new: str, message: str) -> None:
        text = (ROOT / "assets.md").read_text()
        assert rules.problem(text.encode(), "assets.md") == ""
        assert old in text
        assert message in rules.problem(text.replace(old, new, 1).encode(), "assets.md")

    def test_a_name_that_stands_for_another_file(self) -> None:
        assert "ends in 'cn'" in rules.problem((ROOT / "assets.md").read_bytes(), "osnet_cn.md")

    @pytest.mark.parametrize("dataset", ["market1501", "market1501_msmt17", "MSMT17", "none"])
    def test_data_sets(self, dataset: str) -> None:
        text = (ROOT / "assets.md").read_text().replace("train-dataset: dukemtmc", f"train-dataset: {dataset}")
        assert rules.problem(text.encode(), "assets.md") == ""

    @pytest.mark.parametrize("uid", [card.uid for card in catalog.list_cards()])
    def test_a_card_of_the_package_passes_as_laid_out(self, uid: str) -> None:
        card = catalog.get_card(uid)
        published = card.path.read_bytes() if card.path else render_card(card)
        laid = rules.passing(card, published, Path("card.md"))
        again = parse_card(laid, path=f"{uid}.md")
        assert rules.problem(laid, "card.md") == ""
        assert (again.dataset, again.assets, again.uid, again.body) == (
            card.dataset, card.assets, card.uid, card.body
        )  # fmt: skip
        assert (laid == published) == (card.dataset in ("dukemtmc", "market1501", "msmt17"))


class TestCheck:
    def test_a_hostile_card_is_one_warning_and_the_others_stand(
        self, card: Card, hub_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        layout.install(card, hub_dir=hub_dir)
        bad = hub_dir / "mindspore/1.6/bad.md"
        bad.write_text('---\na: "\\UFFFFFFFF"\n---\n')
        assert all(finding.good for finding in check(hub_dir=hub_dir))
        assert len(caplog.messages) == 1
        assert str(bad) in caplog.messages[0]

    def test_says_what_is_there(self, card: Card, hub_dir: Path) -> None:
        assert notes(check(card, hub_dir=hub_dir)) == [
            ("osnet_dukemtmc.md", False),
            ("osnet", False),
            (FILE, False),
            ("network", True),
        ]
        with pytest.raises(UnknownModelError, match=r"osnet hub install mindspore/1\.6/osnet_dukemtmc"):
            check(hub_dir=hub_dir)
        layout.install(card, hub_dir=hub_dir)
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
        self, damage: Callable[[Path], object], wrong: str, note: str, catalogue: Path, hub_dir: Path
    ) -> None:
        layout.install("osnet", hub_dir=hub_dir)
        damage(hub_dir / "mindspore/1.6")
        (bad,) = [finding for finding in check(hub_dir=hub_dir) if not finding.good]
        assert Path(bad.what).name == wrong
        assert note in bad.note

    def test_a_published_uid_with_another_sha256(
        self, catalogue: Path, publish: Callable[..., Card], hub_dir: Path
    ) -> None:
        own = publish(b"other bytes")
        layout.install(own, hub_dir=hub_dir)
        findings = check(hub_dir=hub_dir)  # the user asked for it by its path
        assert all(finding.good for finding in findings)
        assert "a card of your own" in findings[0].note
        for how in (lambda: check(UID, hub_dir=hub_dir), lambda: check(hub_dir=hub_dir)):
            bad = [Path(finding.what).name for finding in how() if not finding.good]
            assert bad == ["osnet_dukemtmc.md", FILE]
            (hub_dir / "mindspore/1.6/.osnet_dukemtmc.osnet-hub").unlink(missing_ok=True)

    def test_two_cards_that_want_other_bytes_under_one_name(self, publish: Callable[..., Card], hub_dir: Path) -> None:
        layout.install(publish(DATA), hub_dir=hub_dir)
        before = tree(hub_dir)
        with pytest.raises(CacheError, match=r"but osnet_dukemtmc\.md beside it needs"):
            layout.install(publish(b"other bytes", name="osnet_two"), hub_dir=hub_dir)
        assert tree(hub_dir) == before


class TestCommandLine:
    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., object]:
        def run(*words: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["osnet", "hub", *words])
            with pytest.raises(SystemExit) as caught:
                cli.main()
            return (int(caught.value.code or 0), *capsys.readouterr())

        return run

    def test_install_check_remove(self, card: Card, hub_dir: Path, run: Callable[..., tuple[int, str, str]]) -> None:
        to = ("--hub-dir", str(hub_dir))
        assert run("check", *to)[0] == 2
        code, out, _ = run("install", str(card.path), *to)
        assert (code, out.split()[2]) == (0, str(hub_dir / "mindspore/1.6" / FILE))
        code, out, _ = run("check", *to)
        assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["ok"] * 4)
        (hub_dir / "mindspore/1.6" / FILE).write_bytes(b"")
        code, out, _ = run("check", str(card.path), "--json", *to)
        assert (code, [row["good"] for row in json.loads(out)]) == (1, [True, True, False, True])
        code, out, _ = run("remove", *to)
        assert (code, len(out.splitlines())) == (0, 2)  # the damaged file is not what was installed: it stays
        assert run("remove", *to)[0] == 2

    def test_the_folder_is_mindspore_hubs_own(
        self, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "me"))
        assert run("install", str(card.path))[0] == 0
        assert (tmp_path / f"me/.mscache/{UID}.md").is_file()


Calls = list[tuple[tuple[object, ...], dict[str, object]]]


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> Iterator[types.ModuleType]:
    """An imported ``mindspore_hub`` whose `load` writes down what reaches it."""
    module = types.ModuleType("mindspore_hub")

    def load(name, *args, source="gitee", pretrained=True, force_reload=False, **kwargs):
        calls.append(((name, *args), {"source": source, "pretrained": pretrained, **kwargs}))
        return "original"

    module.load = load
    monkeypatch.setitem(sys.modules, "mindspore_hub", module)
    yield module
    mshub.unregister()


class TestRegister:
    def test_needs_the_import_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "mindspore_hub", raising=False)
        with pytest.raises(DependencyError, match="import mindspore_hub first"):
            mshub.register()
        mshub.unregister()

    def test_twice_is_once_and_unregister_restores(self, hub: types.ModuleType) -> None:
        original = hub.load
        mshub.register()
        wrapper = hub.load
        mshub.register()
        assert hub.load is wrapper is not original
        assert inspect.signature(hub.load) == inspect.signature(original)
        mshub.unregister()
        assert hub.load is original
        mshub.unregister()
        assert hub.load is original

    def test_many_threads_register_once(self, hub: types.ModuleType) -> None:
        original = hub.load
        threads = [threading.Thread(target=mshub.register) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert hub.load.__wrapped__ is original

    def test_somebody_who_wrapped_it_later_is_left_alone(self, hub: types.ModuleType, calls: Calls) -> None:
        mshub.register()
        ours = hub.load
        hub.load = theirs = lambda *args, **kwargs: ours(*args, **kwargs)
        mshub.unregister()
        assert hub.load is theirs
        assert hub.load("osnet") == "original"

    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            (("mindspore/1.6/resnet50_cifar10", 10), {"pretrained": False}),
            (("mindspore/ascend/1.6/osnet_dukemtmc",), {}),
            (("https://gitee.com/mindspore/hub/blob/master/mshub_res/assets/mindspore/1.6/osnet_dukemtmc.md",), {}),
            (("gone.md",), {"source": "local"}),
            ((7,), {}),
            (("osnet",), {"source": "local"}),
        ],
    )
    def test_other_names_reach_the_original(
        self, args: tuple[object, ...], kwargs: dict[str, object], hub: types.ModuleType, calls: Calls
    ) -> None:
        mshub.register()
        assert hub.load(*args, **kwargs) == "original"
        assert calls == [(args, {"source": "gitee", "pretrained": True, **kwargs})]

    def test_cards_of_other_networks_reach_the_original(
        self, hub: types.ModuleType, publish: Callable[..., Card]
    ) -> None:
        mshub.register()
        other = publish(DATA, name="resnet50", model_name="resnet50")
        assert hub.load(str(other.path), source="local") == "original"
        other.path.write_text("model-name: resnet50\nno card")
        assert hub.load(str(other.path), source="local") == "original"

    def test_a_bad_card_of_an_osnet_never_reaches_the_original(
        self, hub: types.ModuleType, card: Card, calls: Calls
    ) -> None:
        mshub.register()
        card.path.write_text(card.path.read_text().replace("asset-sha256", "asset-sha"))
        with pytest.raises(CardError, match="asset-sha256"):
            hub.load(str(card.path), source="local")
        assert calls == []

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["osnet", "osnet_market1501", UID, UID.replace("mindspore", "MindSpore")])
    def test_our_names_are_ours(
        self, name: str, hub: types.ModuleType, calls: Calls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("mindspore")
        monkeypatch.setenv("OSNET_OFFLINE", "1")
        mshub.register()
        with pytest.raises(OfflineError):
            hub.load(name)
        assert calls == []

    @pytest.mark.parametrize("place", ["mindspore_hub's own", "set_hub_dir"])
    def test_installed_cards_are_found_by_uid_and_by_name(
        self,
        place: str,
        hub: types.ModuleType,
        publish: Callable[..., Card],
        calls: Calls,
        hub_dir: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if place == "set_hub_dir":
            manage = types.ModuleType("mindspore_hub.manage")
            manage.get_hub_dir = lambda: str(hub_dir)
            monkeypatch.setitem(sys.modules, "mindspore_hub.manage", manage)
        else:
            monkeypatch.setenv("HOME", str(hub_dir.parent))
        layout.install(publish(DATA, name="osnet_mine", user_id="me"), hub_dir=hub_dir)
        found = []
        monkeypatch.setattr("osnet.mshub.short_names._load", lambda card, *args, **kwargs: found.append(card))
        mshub.register()
        for name in ("me/1.6/osnet_mine", "osnet_mine", "Me/1.6/OSNet_mine"):
            hub.load(name)
        assert [card.path for card in found] == [hub_dir / "me/1.6/osnet_mine.md"] * 3
        assert hub.load("me/1.6/osnet_other") == "original"
        layout.install(publish(DATA, name="osnet_mine", user_id="you"), hub_dir=hub_dir)
        with pytest.raises(CardError, match=r"got me/1\.6/osnet_mine, you/1\.6/osnet_mine; load it by its uid"):
            hub.load("osnet_mine")

    def test_importing_patches_nothing(self, hub: types.ModuleType) -> None:
        original = hub.load
        code = (
            "import sys, types\nm = types.ModuleType('mindspore_hub'); m.load = 7; sys.modules['mindspore_hub'] = m\n"
        )
        code += "import osnet, osnet.mshub, osnet.mshub.layout, osnet.cli.app\nassert m.load == 7\n"
        code += "assert not {'mindspore', 'requests'} & set(sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
        assert hub.load is original


@pytest.fixture(scope="module")
def published() -> bytes:
    """Recipe weights in the layout of the published checkpoints, with Adam's state: 30 MB."""
    from osnet.checkpoint.mindspore import write_ckpt
    from osnet.variants import get_variant
    from tests.recipe import recipe_arrays

    entries = json.loads((ROOT / "tests/data/published_checkpoint_layout.json").read_text())
    weights = recipe_arrays(get_variant("osnet_x1_0"), 702)
    return write_ckpt({n: weights[n] if n in weights else np.zeros(s, d.lower()) for n, s, d in entries})


DIGESTS = """
import hashlib, os, sys
from tests import mindspore_hub_standin as hub
def digest(network):
    whole = hashlib.sha256()
    for name, parameter in sorted(network.parameters_dict().items()):
        whole.update(name.encode() + parameter.asnumpy().tobytes())
    return len(network.parameters_dict()), whole.hexdigest()
"""


def digest(num_classes: int) -> tuple[int, str]:
    from osnet.variants import get_variant
    from tests.recipe import recipe_arrays

    whole = hashlib.sha256()
    arrays = recipe_arrays(get_variant("osnet_x1_0"), num_classes)
    for name, array in sorted(arrays.items()):
        whole.update(name.encode() + array.tobytes())
    return len(arrays), whole.hexdigest()


@pytest.mark.slow
class TestLoad:
    @pytest.fixture(autouse=True)
    def _needs_mindspore(self) -> None:
        pytest.importorskip("mindspore")

    def run(self, code: str, home: Path, python: tuple[str, ...] = (sys.executable,)) -> list[tuple[int, str]]:
        """What `code` prints, run by a process whose ``~`` is `home`."""
        run = subprocess.run(
            [*python, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "HOME": str(home), "PYTHONWARNINGS": "ignore"},
        )
        assert run.returncode == 0, run.stderr[-3000:]
        return [(int(line.split()[0]), line.split()[1]) for line in run.stdout.splitlines() if line[:1].isdigit()]

    def test_an_unmodified_hub_loads_the_published_weights(
        self, publish: Callable[..., Card], published: bytes, hub_dir: Path, https_server: Server
    ) -> None:
        card = publish(published)
        installed, _, _ = layout.install(card, hub_dir=hub_dir)
        https_server.requests.clear()
        url = f"https://gitee.com/mindspore/hub/blob/master/mshub_res/assets/{UID}.md"
        code = f"""{DIGESTS}
print(*digest(hub.load({UID!r})))
print(*digest(hub.load({UID!r}, num_classes=702)))
print(*digest(hub.load({url!r})))
print(*digest(hub.load({str(installed)!r}, source='local')))
"""
        features, classified = digest(0), digest(702)
        assert self.run(code, hub_dir.parent) == [features, classified, features, features]
        links = ["/models/research/cv/osnet", f"/files/osnet_dukemtmc/{FILE}"]
        assert https_server.paths == links * 4  # it probes both at every load

    @pytest.mark.parametrize("where", ["uninstalled", "a clone"])
    def test_it_works_without_the_installed_package(
        self, where: str, publish: Callable[..., Card], published: bytes, hub_dir: Path
    ) -> None:
        card = publish(published)
        clone = hub_dir / "mindspore/1.6/osnet"
        if where == "a clone":
            shutil.copytree(ROOT / "osnet", clone / "osnet", ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("hub_conf.py", "mindspore_hub_conf.py"):
                shutil.copy(ROOT / name, clone)
        layout.install(card, hub_dir=hub_dir)
        assert all(finding.good for finding in check(card, hub_dir=hub_dir))
        code = f"""{_without_the_package()}
import importlib.util
spec = importlib.util.spec_from_file_location('standin', {mindspore_hub_standin.__file__!r})
hub = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub)
import hashlib
{DIGESTS.partition("as hub")[2]}
print(*digest(hub.load({UID!r}, num_classes=702)))
import osnet
assert osnet.__file__.startswith({str(clone)!r}), osnet.__file__
"""
        assert self.run(code, hub_dir.parent, (sys.executable, "-S")) == [digest(702)]
        layout.remove(card, hub_dir=hub_dir)
        assert clone.exists() == (where == "a clone")

    def test_the_installed_package_is_preferred(
        self, publish: Callable[..., Card], published: bytes, hub_dir: Path
    ) -> None:
        layout.install(publish(published), hub_dir=hub_dir)
        code = f"""{DIGESTS}
hub.load({UID!r})
import osnet
assert osnet.__file__ == {str(ROOT / "osnet" / "__init__.py")!r}, osnet.__file__
"""
        self.run(code, hub_dir.parent)

    def test_registered_names_load_verified_and_offline(
        self,
        publish: Callable[..., Card],
        published: bytes,
        catalogue: Path,
        hub: types.ModuleType,
        calls: Calls,
        https_server: Server,
    ) -> None:
        own = publish(published)
        shutil.copy(own.path, catalogue / f"{UID}.md")
        catalog._card.cache_clear()
        mshub.register()
        expected = digest(702)
        assert _digest(hub.load("osnet", 702)) == expected
        asked = len(https_server.requests)
        for name in (UID, str(own.path)):
            assert _digest(hub.load(name, num_classes=702)) == expected
        assert _digest(hub.load(str(own.path), source="local")) == digest(0)
        assert len(https_server.requests) == asked  # cached: no request
        assert hub.load(UID, 5, pretrained=False).num_classes == 5
        hub.load("osnet", force_reload=True)
        assert len(https_server.requests) == asked + 1
        for keywords in ({"pretrained": 1}, {"force_reload": None}, {"classes": 3}):
            with pytest.raises(TypeError):
                hub.load("osnet", **keywords)
        assert calls == []

    def test_a_registered_card_finds_its_checkpoint_beside_it(
        self,
        publish: Callable[..., Card],
        published: bytes,
        hub: types.ModuleType,
        hub_dir: Path,
        https_server: Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        installed, _, checkpoint = layout.install(publish(published), hub_dir=hub_dir)
        mshub.register()
        asked = len(https_server.requests)
        assert _digest(hub.load(str(installed), source="local")) == digest(0)
        assert len(https_server.requests) == asked
        checkpoint.write_bytes(published[:-1])
        monkeypatch.setenv("OSNET_OFFLINE", "1")
        with pytest.raises(ValueError, match="offline; the file is kept"):
            hub.load(str(installed), source="local")


def _digest(network) -> tuple[int, str]:
    whole = hashlib.sha256()
    for name, parameter in sorted(network.parameters_dict().items()):
        whole.update(name.encode() + parameter.asnumpy().tobytes())
    return len(network.parameters_dict()), whole.hexdigest()


def _without_the_package() -> str:
    """Python lines that add the installed packages, but neither this checkout nor its editable install."""
    installed = [p for p in sys.path if "site-packages" in p]
    return f"import sys\nsys.path[:] = [p for p in sys.path if p]\nsys.path.extend({installed!r})\n"

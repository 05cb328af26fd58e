"""`osnet hub install` lays out card, folder and checkpoint for mindspore_hub; `remove` takes only what it laid out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from osnet.errors import CacheError, CardError, OfflineError, UnknownModelError
from osnet.hub.card import Card, read_card
from osnet.mshub.check import check
from osnet.mshub.install import install, remove
from tests.conftest import CardMaker
from tests.mshub.conftest import DATA, FILE, UID, notes, tree
from tests.servers import Server


class TestInstall:
    def test_lays_out_card_folder_and_checkpoint(self, card: Card, hub_dir: Path) -> None:
        home = hub_dir / "mindspore/1.6"
        assert install(card, hub_dir=hub_dir) == (home / "osnet_dukemtmc.md", home / "osnet", home / FILE)
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
        install(card, hub_dir=hub_dir)
        before, asked = tree(hub_dir), len(https_server.requests)
        install(str(card.path), hub_dir=hub_dir, offline=True)
        assert tree(hub_dir) == before
        assert len(https_server.requests) == asked
        assert remove(card, hub_dir=hub_dir)
        assert tree(hub_dir) == {}

    def test_uses_the_usual_cache_offline(self, card: Card, hub_dir: Path) -> None:
        from osnet.hub.fetch import fetch

        cached = fetch(card)
        _, _, checkpoint = install(card, hub_dir=hub_dir, offline=True)
        assert checkpoint.read_bytes() == cached.read_bytes()

    @pytest.mark.parametrize("cached", [False, True])
    def test_a_damaged_checkpoint_is_replaced(self, cached: bool, card: Card, hub_dir: Path) -> None:
        from osnet.hub.fetch import fetch

        _, _, checkpoint = install(card, hub_dir=hub_dir)
        if cached:
            fetch(card)
        checkpoint.write_bytes(DATA[:-1] + b"?")
        install(card, hub_dir=hub_dir)
        assert checkpoint.read_bytes() == DATA

    def test_nothing_is_laid_out_when_the_checkpoint_cannot_be_had(self, card: Card, hub_dir: Path) -> None:
        with pytest.raises(OfflineError):
            install(card, hub_dir=hub_dir, offline=True)
        assert tree(hub_dir) == {}

    def test_a_published_card_by_its_uid(self, catalogue: Path, hub_dir: Path) -> None:
        install(UID, hub_dir=hub_dir)
        assert (hub_dir / f"{UID}.md").read_bytes() == (catalogue / f"{UID}.md").read_bytes()

    def test_another_card_in_its_place_is_not_overwritten(self, publish: Callable[..., Card], hub_dir: Path) -> None:
        first = publish(DATA)
        install(first, hub_dir=hub_dir)
        before = tree(hub_dir)
        with pytest.raises(CacheError, match=r"osnet_dukemtmc\.md: expected the card of .*move it away"):
            install(publish(b"other bytes"), hub_dir=hub_dir)
        assert tree(hub_dir) == before

    def test_the_zoos_folder_is_kept_and_gets_the_entry_point(self, card: Card, hub_dir: Path) -> None:
        zoo = hub_dir / "mindspore/1.6/osnet/src/osnet.py"
        zoo.parent.mkdir(parents=True)
        zoo.write_text("pass")
        install(card, hub_dir=hub_dir)
        assert all(finding.good for finding in check(card, hub_dir=hub_dir))
        remove(card, hub_dir=hub_dir)
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
            install(card, hub_dir=hub_dir)
        assert tree(hub_dir) == before
        assert notes(check(card, hub_dir=hub_dir))[1] == ("osnet", False)

    @pytest.mark.parametrize("kind", ["a folder", "a link", "a file", "a file in the copy", "a changed file"])
    def test_what_others_put_where_the_copy_belongs_is_refused(self, kind: str, card: Card, hub_dir: Path) -> None:
        copy = hub_dir / "mindspore/1.6/osnet/standalone"
        precious = hub_dir / "precious.txt"
        if "in the copy" in kind or "changed" in kind:
            install(card, hub_dir=hub_dir)
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
            install(card, hub_dir=hub_dir)
        assert precious.read_text() == "mine"

    def test_another_checkpoint_in_its_place_is_not_overwritten(self, card: Card, hub_dir: Path) -> None:
        path = hub_dir / "mindspore/1.6" / FILE
        path.parent.mkdir(parents=True)
        path.write_bytes(b"trained for a week")
        with pytest.raises(CacheError, match="that `osnet hub install` did not put there; move it away"):
            install(card, hub_dir=hub_dir)
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
            install(card, hub_dir=hub_dir)
        assert message in str(caught.value)
        assert not hub_dir.exists()

    def test_cards_that_mindspore_hub_refuses(self, card: Card, publish: Callable[..., Card], hub_dir: Path) -> None:
        with pytest.raises(CardError, match="no ':' in 'summary'"):
            install(publish(DATA, summary="a: b"), hub_dir=hub_dir)
        with pytest.raises(CardError, match="True or False for 'fine-tunable', got 'perhaps'"):
            install(publish(DATA, fine_tunable="perhaps"), hub_dir=hub_dir)
        place = hub_dir / "mindspore/1.6/osnet_dukemtmc.md"
        place.parent.mkdir(parents=True)
        place.write_text(publish(DATA).path.read_text() + "\n---\n")
        with pytest.raises(CacheError, match=r"expects two lines that start with '---', got 3; move it away"):
            install(publish(DATA), hub_dir=hub_dir)
        assert notes(check(publish(DATA), hub_dir=hub_dir))[0] == ("osnet_dukemtmc.md", False)

    def test_what_a_card_need_not_have_is_left_out_where_mindspore_hub_refuses_it(
        self, publish: Callable[..., Card], hub_dir: Path
    ) -> None:
        path = publish(DATA, train_dataset="drawn people", note="a: b", evaluation="mAP67").path
        path.write_text(path.read_text() + "\n---\n")
        laid, *_ = install(path, hub_dir=hub_dir)
        card = read_card(laid)
        assert (card.dataset, card.evaluation, card.body) == ("drawn people", "mAP67", "")
        assert not {"train-dataset", "note"} & set(card.fields)
        assert all(finding.good for finding in check(path, hub_dir=hub_dir))

    @pytest.mark.slow
    def test_four_processes_at_once(self, card: Card, hub_dir: Path) -> None:
        code = f"from osnet.mshub.install import install; install({str(card.path)!r}, hub_dir={str(hub_dir)!r})"
        runs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
        assert [run.wait() for run in runs] == [0] * 4
        assert all(finding.good for finding in check(card, hub_dir=hub_dir))
        remove(hub_dir=hub_dir)
        assert tree(hub_dir) == {}

    def test_two_cards_that_want_other_bytes_under_one_name(self, publish: Callable[..., Card], hub_dir: Path) -> None:
        install(publish(DATA), hub_dir=hub_dir)
        before = tree(hub_dir)
        with pytest.raises(CacheError, match=r"but osnet_dukemtmc\.md beside it needs"):
            install(publish(b"other bytes", name="osnet_two"), hub_dir=hub_dir)
        assert tree(hub_dir) == before


class TestRemove:
    def test_leaves_what_stood_there_before(self, card: Card, hub_dir: Path) -> None:
        from osnet.hub.fetch import fetch

        fetch(card, cache_dir=hub_dir)
        (hub_dir / "mindspore/1.6/osnet_dukemtmc.md").write_bytes(card.path.read_bytes())
        before = tree(hub_dir)
        install(card, hub_dir=hub_dir)
        install(card, hub_dir=hub_dir)
        gone = remove(card, hub_dir=hub_dir)
        assert gone == (hub_dir / "mindspore/1.6/osnet",)
        assert tree(hub_dir) == before

    def test_a_shared_folder_and_file_stay_until_the_last_card_goes(
        self, publish: Callable[..., Card], hub_dir: Path
    ) -> None:
        one, two = publish(DATA), publish(DATA, name="osnet_two")
        install(one, hub_dir=hub_dir)
        install(two, hub_dir=hub_dir)
        assert remove(one, hub_dir=hub_dir) == (hub_dir / f"{UID}.md",)
        assert all(finding.good for finding in check(two, hub_dir=hub_dir))
        remove(hub_dir=hub_dir)
        assert list(hub_dir.iterdir()) == []

    def test_leaves_what_was_put_there_since(self, card: Card, hub_dir: Path) -> None:
        home = hub_dir / "mindspore/1.6"
        install(card, hub_dir=hub_dir)
        mine = [home / "osnet/standalone/notes.txt", home / "osnet/standalone/osnet/variants.py", home / FILE]
        mine += [home / "osnet_dukemtmc.md", home / "osnet/.mine.osnet-part/notes.txt"]
        mine[-1].parent.mkdir()
        for path in mine:
            path.write_text("mine")
        (home / "osnet/standalone/link").symlink_to(hub_dir)
        assert remove(card, hub_dir=hub_dir) == (home / "osnet/mindspore_hub_conf.py",)
        left = [path for path in hub_dir.rglob("*") if path.is_file()]
        assert sorted(left) == sorted(mine)
        assert (home / "osnet/standalone/link").is_symlink()

    def test_follows_no_link_in_place_of_the_copy(self, card: Card, hub_dir: Path, tmp_path: Path) -> None:
        home = hub_dir / "mindspore/1.6"
        install(card, hub_dir=hub_dir)
        (home / "osnet/standalone").rename(tmp_path / "moved")
        (home / "osnet/standalone").symlink_to(tmp_path / "moved")
        remove(card, hub_dir=hub_dir)
        assert (home / "osnet/standalone").is_symlink()
        assert (tmp_path / "moved/osnet/variants.py").is_file()

    def test_takes_what_python_compiled_and_a_killed_install_left(self, card: Card, hub_dir: Path) -> None:
        folder = hub_dir / "mindspore/1.6/osnet"
        install(card, hub_dir=hub_dir)
        (folder / "standalone/osnet/__pycache__").mkdir()
        (folder / "standalone/osnet/__pycache__/variants.cpython-311.pyc").write_bytes(b"")
        (folder / ".0123456789abcdef.osnet-part/osnet").mkdir(parents=True)
        assert folder in remove(card, hub_dir=hub_dir)
        assert list(hub_dir.iterdir()) == []

    def test_what_was_not_installed_is_an_error(self, card: Card, hub_dir: Path) -> None:
        with pytest.raises(UnknownModelError, match="expected an installed card"):
            remove(hub_dir=hub_dir)
        (hub_dir / "mindspore/1.6").mkdir(parents=True)
        (hub_dir / "mindspore/1.6/.osnet_dukemtmc.osnet-hub").write_text('{"card": "../../../x"}')
        with pytest.raises(UnknownModelError, match=f"expected {UID} to be installed"):
            remove(card, hub_dir=hub_dir)

    def test_a_receipt_reaches_nothing_outside_its_folder(self, card: Card, hub_dir: Path) -> None:
        install(card, hub_dir=hub_dir)
        (hub_dir / "precious").write_text("")
        receipt = hub_dir / "mindspore/1.6/.osnet_dukemtmc.osnet-hub"
        values = json.loads(receipt.read_text())
        receipt.write_text(json.dumps({**values, "checkpoint": "../../precious"}))
        with pytest.raises(UnknownModelError):
            remove(hub_dir=hub_dir)
        assert (hub_dir / "precious").exists()

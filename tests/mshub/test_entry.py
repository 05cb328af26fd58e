"""A stand-in for mindspore_hub loads what `osnet hub install` lays out, through the card folder's entry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from osnet.hub.card import Card
from osnet.mshub.check import check
from osnet.mshub.install import install, remove
from tests.mshub import mindspore_hub_standin
from tests.mshub.conftest import FILE, ROOT, UID, digest
from tests.servers import Server

DIGESTS = """
import hashlib, os, sys
from tests.mshub import mindspore_hub_standin as hub
def digest(network):
    whole = hashlib.sha256()
    for name, parameter in sorted(network.parameters_dict().items()):
        whole.update(name.encode() + parameter.asnumpy().tobytes())
    return len(network.parameters_dict()), whole.hexdigest()
"""


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
        installed, _, _ = install(card, hub_dir=hub_dir)
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
        links = ["/of.com/tree/master/research/cv/osnet", f"/files/osnet_dukemtmc/{FILE}"]
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
        install(card, hub_dir=hub_dir)
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
        remove(card, hub_dir=hub_dir)
        assert clone.exists() == (where == "a clone")

    def test_the_installed_package_is_preferred(
        self, publish: Callable[..., Card], published: bytes, hub_dir: Path
    ) -> None:
        install(publish(published), hub_dir=hub_dir)
        code = f"""{DIGESTS}
hub.load({UID!r})
import osnet
assert osnet.__file__ == {str(ROOT / "osnet" / "__init__.py")!r}, osnet.__file__
"""
        self.run(code, hub_dir.parent)


def _without_the_package() -> str:
    """Python lines that add the installed packages, but neither this checkout nor its editable install."""
    installed = [p for p in sys.path if "site-packages" in p]
    others = f"[p for p in sys.path if p not in ('', {str(ROOT)!r})]"
    return f"import sys\nsys.path[:] = {others}\nsys.path.extend({installed!r})\n"

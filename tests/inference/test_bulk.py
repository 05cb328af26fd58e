from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osnet.errors import ImageError
from osnet.inference.bulk import embed_files
from osnet.inference.embedder import Embedder
from osnet.inference.feature_files import read_features
from tests.recipe import recipe_weights


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(recipe_weights("osnet_x0_25"), precision="fp32", batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "crops"
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(rng.integers(0, 256, (128, 64, 3), np.uint8)).save(place / f"{i:02}.png")
    return place


def test_every_file_with_its_feature(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = embed_files(
        embedder, [folder], tmp_path / "o.npz", progress=lambda done, total: seen.append((done, total))
    )
    names, features, about = read_features(tmp_path / "o.npz")
    assert names == [str(path) for path in sorted(folder.iterdir())]
    np.testing.assert_allclose(features, embedder(names), atol=1e-6)
    assert (result.written, result.failed) == (11, ())
    assert seen[-1] == (11, 11)
    assert about["sha256"] == "0" * 64
    assert (about["precision"], about["normalized"], about["flip"]) == ("fp32", "True", "False")
    assert about["osnet_version"]


def test_unreadable_images_cost_only_themselves(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:90])
    (folder / "07.jpg").write_bytes(b"not a picture")
    told: list[str] = []
    result = embed_files(embedder, [folder], tmp_path / "o.npz", on_failure=told.append)
    names, features, _ = read_features(tmp_path / "o.npz")
    good = [str(path) for path in sorted(folder.iterdir()) if path.name not in ("03.png", "07.jpg")]
    assert names == good
    np.testing.assert_allclose(features, embedder(good), atol=1e-6)
    assert result.written == len(good)
    assert tuple(told) == result.failed
    assert "03.png" in told[0]
    assert "07.jpg" in told[1]


def test_strict_and_all_bad_write_nothing(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").write_bytes(b"bad")
    with pytest.raises(ImageError, match=r"03\.png"):
        embed_files(embedder, [folder], tmp_path / "o.npz", strict=True)
    with pytest.raises(ImageError, match="none of the 1 images could be read, nothing written"):
        embed_files(embedder, [folder / "03.png"], tmp_path / "o.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


PEAK = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.recipe import recipe_weights
from osnet.inference.bulk import embed_files
from osnet.inference.embedder import Embedder
embedder = Embedder(recipe_weights("osnet_x0_25"), precision="fp32")
paths = [{image!r}] * int(sys.argv[1])
embed_files(embedder, paths, {out!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_number_of_images(folder: Path, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    code = PEAK.format(root=root, image=str(folder / "00.png"), out=str(tmp_path / "o.npz"))

    def peak(count: int) -> float:
        run = subprocess.run([sys.executable, "-c", code, str(count)], capture_output=True, text=True, check=True)
        return int(run.stdout) / 1024

    few, many = peak(100), peak(1100)
    # 1,000 features alone are 2 MB, their decoded crops 98 MB
    assert many - few < 12, f"{few:.0f} MiB for 100 images, {many:.0f} MiB for 1,100"

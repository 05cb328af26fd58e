"""What a drawn data set looks like: python -m benchmarks.contact_sheet DATA OUT.png

A PNG with a row for each identity, its cameras side by side.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

from osnet.checks import check_integer
from osnet.drawn.plan import GALLERY, QUERY, TRAIN
from osnet.errors import DataError
from osnet.files import PathLike, atomic_file
from osnet.image_files import decoded

_NAME = re.compile(r"(\d+)_c(\d+)s\d+_.*\.(?:jpg|jpeg|png)")
_GAP, _MARGIN = 4, 44


def contact_sheet(
    data: PathLike, out_png: PathLike, *, identities: int = 8, images_per_camera: int = 2, zoom: int = 2
) -> Path:
    """Write a PNG of up to `identities` rows, test identities first, spread evenly over all of them.

    Args:
        data: root of the data set.
        images_per_camera: crops of each camera in a row.
        zoom: pixels of the sheet for one of a 64 x 128 crop.

    Raises:
        OptionError: a number below 1.
        DataError: no crop under `data`.
        ImageError: one of them cannot be read.
        DiskError: `out_png` cannot be written.
    """
    for name, value in (("identities", identities), ("images_per_camera", images_per_camera), ("zoom", zoom)):
        check_integer(name, value, least=1)
    found: dict[int, dict[int, list[Path]]] = {}
    for folders in ((QUERY, GALLERY), (TRAIN,)):
        found.update(_crops(Path(data), folders))
    if not found:
        raise DataError(f"no crops named like 0002_c1s1_000451_03.jpg in {str(data)!r}; expected Market-1501's folders")
    order = list(found)
    order = [order[i * len(order) // min(identities, len(order))] for i in range(min(identities, len(order)))]
    cameras = sorted({camera for identity in order for camera in found[identity]})
    wide, tall = 64 * zoom, 128 * zoom
    block = images_per_camera * (wide + _GAP) + _GAP
    sheet = Image.new("RGB", (_MARGIN + block * len(cameras), 18 + len(order) * (tall + _GAP)), (246, 246, 244))
    draw = ImageDraw.Draw(sheet)
    for column, camera in enumerate(cameras):
        draw.text((_MARGIN + column * block, 3), f"camera {camera}", fill=(60, 60, 60))
    for row, identity in enumerate(order):
        top = 18 + row * (tall + _GAP)
        draw.text((6, top + tall // 2), f"{identity:04d}", fill=(60, 60, 60))
        for column, camera in enumerate(cameras):
            for place, path in enumerate(found[identity].get(camera, [])[:images_per_camera]):
                with decoded(path) as image:
                    crop = image.resize((wide, tall), Image.Resampling.BICUBIC)
                sheet.paste(crop, (_MARGIN + column * block + place * (wide + _GAP), top))
    with atomic_file(out_png) as private:
        sheet.save(private, "PNG")
    return Path(out_png)


def _crops(root: Path, folders: tuple[str, ...]) -> dict[int, dict[int, list[Path]]]:
    """Identity → camera → files, without distractors."""
    found: dict[int, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        for path in sorted((root / folder).glob("*")):
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]):
                found[int(match[1])][int(match[2])].append(path)
    return {identity: dict(cameras) for identity, cameras in sorted(found.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--identities", type=int, default=8)
    parser.add_argument("--images-per-camera", type=int, default=2)
    options = parser.parse_args()
    contact_sheet(options.data, options.out, identities=options.identities, images_per_camera=options.images_per_camera)


if __name__ == "__main__":
    main()

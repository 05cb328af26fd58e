"""A data set of drawn pedestrians in Market-1501's layout, the same for the same seed.

What can be learnt from it is what re-identification is about: people who wear much the same colours, seen from other
sides by cameras with other light, height and sharpness. No person, photograph or foreign licence is involved.

`draw_contact_sheet` shows it: a row for each identity, its cameras side by side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Union

from PIL import Image, ImageDraw

from osnet.checks import check_integer
from osnet.drawn.camera import WORLDS
from osnet.drawn.plan import GALLERY, QUERY, TRAIN, Settings, draw_share, plan
from osnet.errors import DataError, DiskError, OptionError, OsnetError
from osnet.files import atomic_file, sync_folder
from osnet.image_files import decoded

PathLike = Union[str, "os.PathLike[str]"]

MAX_IDENTITIES, MAX_CAMERAS = 9999, 9
"""What Market-1501's file names have room for: four digits and one."""

RECORD = "drawn.json"
"""File beside the three folders that says how they were drawn."""

_WORTH_A_PROCESS = 250


@dataclass(frozen=True)
class DrawnSet:
    """What `draw_dataset` wrote.

    Attributes:
        root: folder with ``bounding_box_train``, ``query``, ``bounding_box_test`` and ``drawn.json``.
        settings: what it was drawn from.
        train, query, gallery: number of files in the three folders.
        pixels_sha256: of the SHA-256 of every crop's pixels, in the order of the plan. Equal pixels can become other
            JPEG bytes with another libjpeg; this stays.
    """

    root: Path
    settings: Settings
    train: int
    query: int
    gallery: int
    pixels_sha256: str

    @property
    def images(self) -> int:
        return self.train + self.query + self.gallery

    def as_dict(self) -> dict[str, object]:
        """For JSON; ``root`` as text."""
        return {**dataclasses.asdict(self), "root": str(self.root), "images": self.images}


def draw_dataset(
    out: PathLike,
    *,
    identities: int = 100,
    cameras: int = 6,
    images_per_camera: int = 4,
    seed: int = 0,
    world: str = "street",
    train_share: float = 0.5,
    distractors: int | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> DrawnSet:
    """Draw ``identities x cameras x images_per_camera`` crops, 128 high and 64 wide, and some of strangers, into `out`.

    Identities of training and test are disjoint. Of each test identity every camera gives one query, the rest of its
    pictures are the gallery. The folder appears whole or not at all.

    The same arguments give the same bytes with the same Pillow, whatever the number of workers and the versions of
    Python (3.9 to 3.11) and NumPy (1.22 to 2.4). Another Pillow may draw or round in another way (between 10.4 and
    11.3 and between 12.0 and 13.0 it changed), and another libjpeg writes other bytes for equal pixels.

    Args:
        out: folder that does not exist yet, or an empty one.
        identities: 2 to 9999. The same seed draws the same people in every world, whatever their number.
        cameras: 1 to 9. A query needs a second camera to have a right answer.
        images_per_camera: pictures that each camera takes of each identity, at least 2.
        seed: any whole number from 0 on.
        world: ``street`` or ``indoor``: other cameras (height, light, sharpness), backgrounds and obstacles. Train in
            one and test in the other to see a domain gap.
        train_share: share of the identities that are for training, above 0 and below 1.
        distractors: further gallery pictures of strangers (identity 0000) and of boxes that missed (-1). Default: a
            fifth as many as the gallery has.
        workers: processes; default: one for each processor, fewer for a small set.
        progress: show a bar on stderr; default: when stderr is a terminal.

    Raises:
        OptionError: a value out of range, or `out` is a file or a folder with something in it; nothing was drawn.
        DiskError: `out` cannot be written; nothing is left.
        OsnetError: a drawing process was killed; nothing is left.
    """
    settings = _checked(identities, cameras, images_per_camera, seed, world, train_share, distractors)
    if workers is not None:
        check_integer("workers", workers, least=1, most=256)
    final = _free_folder(out)
    crops = plan(settings)
    processes = workers or min(_processors(), 1 + len(crops) // _WORTH_A_PROCESS)
    # The private folder is a neighbour, so that a rename publishes it.
    private = final.parent / f".{final.name}.{secrets.token_hex(6)}.part"
    digests = [b""] * len(crops)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        for folder in (TRAIN, QUERY, GALLERY):
            (private / folder).mkdir(parents=True)
        with _bar(len(crops), progress) as advance:
            for number, digest in _drawn(settings, private, processes):
                digests[number] = digest
                advance()
        folders = [crop.folder for crop in crops]
        drawn = DrawnSet(
            final,
            settings,
            train=folders.count(TRAIN),
            query=folders.count(QUERY),
            gallery=folders.count(GALLERY),
            pixels_sha256=hashlib.sha256(b"".join(digests)).hexdigest(),
        )
        record = {**settings.as_dict(), "pixels_sha256": drawn.pixels_sha256}
        (private / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _publish(private, final)
    except OSError as error:
        if isinstance(error, OsnetError):
            raise
        raise DiskError(
            f"cannot draw into {str(final)!r}: {error.strerror or error}; expected a folder with room to write in"
        ) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return drawn


def _checked(
    identities: int, cameras: int, images: int, seed: int, world: str, train_share: float, distractors: int | None
) -> Settings:
    check_integer("identities", identities, least=2, most=MAX_IDENTITIES)
    check_integer("cameras", cameras, least=1, most=MAX_CAMERAS)
    check_integer("images_per_camera", images, least=2, most=1000)
    check_integer("seed", seed, least=0, most=2**63 - 1)
    if world not in WORLDS:
        raise OptionError(f"unknown world {world!r}; known: {', '.join(WORLDS)}")
    if isinstance(train_share, bool) or not isinstance(train_share, (int, float)) or not 0 < train_share < 1:
        raise OptionError(f"train_share must be a number above 0 and below 1, got {train_share!r}")
    train = min(identities - 1, max(1, round(identities * train_share)))
    if distractors is None:
        distractors = (identities - train) * cameras * (images - 1) // 5
    check_integer("distractors", distractors, least=0, most=49_999 * cameras)
    return Settings(
        identities=int(identities),
        train_identities=train,
        cameras=int(cameras),
        images_per_camera=int(images),
        distractors=int(distractors),
        seed=int(seed),
        world=world,
    )


def _free_folder(out: PathLike) -> Path:
    final = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow the link that `out` may be
    try:
        if final.is_dir():
            if any(final.iterdir()):
                raise OptionError(f"{str(out)!r} is not empty; name a new folder, or empty this one")
        elif os.path.lexists(final):
            raise OptionError(f"{str(out)!r} is a file; name a folder that does not exist yet")
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{str(out)!r} cannot be used as a folder: {error}; name another") from error
    return final


def _publish(private: Path, final: Path) -> None:
    if os.name == "nt" and final.is_dir():
        final.rmdir()
    try:
        private.rename(final)  # onto an empty folder too, but never onto one that was filled meanwhile
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OptionError(f"{str(final)!r} was filled by somebody else meanwhile; name a new folder") from error
        raise
    sync_folder(final.parent)


def _processors() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _bar(total: int, show: bool | None) -> Iterator[Any]:
    from tqdm import tqdm

    # disable=None: silent unless stderr is a terminal.
    disable = None if show is None else not show
    with tqdm(total=total, desc="drawing", unit="crop", file=sys.stderr, disable=disable, leave=False, delay=1) as bar:
        yield bar.update


def _drawn(settings: Settings, root: Path, processes: int) -> Iterator[tuple[int, bytes]]:
    if processes == 1 or not sys.executable:
        return draw_share(settings, root)
    return _drawn_by(processes, settings, root)


def _drawn_by(processes: int, settings: Settings, root: Path) -> Iterator[tuple[int, bytes]]:
    """As `draw_share` for all shares, each in a process of its own, in the order in which they come."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    command = [sys.executable, "-m", "osnet.drawn.worker", json.dumps(settings.as_dict()), str(root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    workers: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryFile("w+") as complaints:
        try:
            for share in range(processes):
                workers.append(
                    subprocess.Popen(  # noqa: S603 - this interpreter, this package
                        [*command, str(share), str(processes)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=complaints,
                        text=True,
                        env=environment,
                    )
                )
                threading.Thread(target=_listen, args=(workers[-1].stdout, lines), daemon=True).start()
            busy = processes
            while busy:
                line = lines.get()
                word, _, rest = line.partition(" ")
                if word == "done":
                    busy -= 1
                elif word.isdigit():
                    yield int(word), bytes.fromhex(rest)
                elif word == "failed":
                    number, _, reason = rest.partition(" ")
                    raise OSError(int(number) if number.isdigit() else errno.EIO, reason)
                else:
                    complaints.seek(0)
                    last = (complaints.read().strip().splitlines() or ["no reason given"])[-1]
                    raise OsnetError(f"a drawing process ended early: {last}; draw with workers=1 to see where")
        finally:
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.wait()


def _listen(stdout: IO[str], lines: queue.SimpleQueue[str]) -> None:
    finished = False
    with stdout:
        for line in stdout:
            text = line.strip()
            finished = finished or text == "done"
            lines.put(text)
    if not finished:
        lines.put("ended")


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

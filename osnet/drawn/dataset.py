"""A data set of drawn pedestrians in Market-1501's layout, the same for the same seed.

It has what makes re-identification hard: people who wear much the same colours, seen from other sides by cameras that
differ in light, height and sharpness. It contains no real people, photographs or material under other licences.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from osnet.checks import check_choice, check_integer, check_number
from osnet.drawn.camera import WORLDS
from osnet.drawn.folder import free_folder, new_folder
from osnet.drawn.plan import GALLERY, QUERY, TRAIN, Settings, draw_share, plan
from osnet.errors import OsnetError
from osnet.files import PathLike
from osnet.progress import Progress

MAX_IDENTITIES, MAX_CAMERAS = 9999, 9
"""The largest numbers that fit Market-1501's file names: four digits and one."""

MOST_CAMERAS = 500
"""Largest number of cameras of which each identity passes some only; this package reads file names with more digits."""

RECORD = "drawn.json"
"""File beside the three folders that records how they were drawn."""

_WORTH_A_PROCESS = 250
"""Crops for which it pays to start another process."""


@dataclass(frozen=True)
class DrawnSet:
    """What `draw_dataset` wrote.

    Attributes:
        root: folder with ``bounding_box_train``, ``query``, ``bounding_box_test`` and ``drawn.json``.
        settings: what it was drawn from.
        train, query, gallery: number of files in the three folders.
        pixels_sha256: digest of the SHA-256 digests of every crop's pixels, in the order of the plan. It does not
            depend on libjpeg, whose versions write different bytes for equal pixels.
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
    train_fraction: float = 0.5,
    distractors: int | None = None,
    cameras_per_identity: int | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> DrawnSet:
    """Draw ``identities x cameras x images_per_camera`` crops, 64x128 pixels, and some distractors, into `out`.

    Training and test have different identities. Each camera gives one query of each test identity; its other pictures
    are the gallery. The folder appears complete or not at all.

    The same arguments give the same bytes with the same Pillow, whatever the number of workers and the versions of
    Python (3.9 to 3.11) and NumPy (1.22 to 2.4). Pixels changed between Pillow 10.4 and 11.3 and between 12.0 and 13.0,
    and another libjpeg writes different bytes for equal pixels.

    Args:
        out: folder that does not exist yet, or an empty one.
        identities: 2 to 9999. The same seed draws the same people in every world, however many are drawn.
        cameras: 1 to 9, with `cameras_per_identity` at most 500. With one camera no query has a correct answer.
        images_per_camera: pictures that each camera takes of each identity, at least 2.
        seed: integer of at least 0.
        world: ``street`` or ``indoor``: they differ in cameras (height, light, sharpness), backgrounds and obstacles.
            Train in one and test in the other to see a domain gap.
        train_fraction: fraction of the identities that are for training, above 0 and below 1.
        distractors: further gallery pictures of people who are nobody's match (identity 0000) and of boxes that missed
            (-1). Default: a fifth of the gallery.
        cameras_per_identity: each identity is seen by this many cameras, drawn for each of them. Many cameras that see
            few people each train networks that work on new cameras. Default: every camera sees everybody. With more
            than 9 cameras their numbers have two or three digits in the file names (``c117s1``), which programs that
            expect one digit misread.
        workers: processes; default: one for each processor, fewer for a small set.
        progress: show a bar on stderr, or a line now and then if that is no terminal; default: only a bar.

    Raises:
        OptionError: a value is out of range, or `out` is a file or a folder that is not empty; nothing was drawn.
        DiskError: `out` cannot be written; nothing is left.
        OsnetError: a drawing process was killed; nothing is left.
    """
    settings = _checked(
        identities, cameras, images_per_camera, seed, world, train_fraction, distractors, cameras_per_identity
    )
    if workers is not None:
        check_integer("workers", workers, least=1, most=256)
    final = free_folder(out)
    crops = plan(settings)
    processes = workers or min(_processors(), 1 + len(crops) // _WORTH_A_PROCESS)
    digests = [b""] * len(crops)
    with new_folder(final) as private:
        for folder in (TRAIN, QUERY, GALLERY):
            (private / folder).mkdir()
        with Progress("drawing", "pictures", show=progress) as show:
            done = itertools.count(1)

            def drawn_crop(number: int, digest: bytes) -> None:
                digests[number] = digest
                show(next(done), len(crops))

            _draw(settings, private, processes, drawn_crop)
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
    return drawn


def _checked(
    identities: int, cameras: int, images: int, seed: int, world: str, train_fraction: float, distractors: int | None,
    each: int | None,
) -> Settings:  # fmt: skip
    check_integer("identities", identities, least=2, most=MAX_IDENTITIES)
    check_integer("cameras", cameras, least=1, most=MAX_CAMERAS if each is None else MOST_CAMERAS)
    if each is not None:
        check_integer("cameras_per_identity", each, least=1, most=cameras)
    check_integer("images_per_camera", images, least=2, most=1000)
    check_integer("seed", seed, least=0, most=2**63 - 1)
    check_choice("world", world, WORLDS)
    check_number("train_fraction", train_fraction, above=0, below=1)
    train = min(identities - 1, max(1, round(identities * train_fraction)))
    if distractors is None:
        distractors = (identities - train) * (each or cameras) * (images - 1) // 5
    check_integer("distractors", distractors, least=0, most=49_999 * cameras)
    return Settings(
        identities=int(identities),
        train_identities=train,
        cameras=int(cameras),
        images_per_camera=int(images),
        distractors=int(distractors),
        seed=int(seed),
        world=world,
        cameras_per_identity=None if each is None else int(each),
    )


def _processors() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_Done = Callable[[int, bytes], None]
"""Called with the number of each crop in the plan and the digest of its pixels."""


def _draw(settings: Settings, root: Path, processes: int, done: _Done) -> None:
    if processes == 1 or not sys.executable:
        for number, digest in draw_share(settings, root):
            done(number, digest)
        return
    command = [sys.executable, "-m", "osnet.drawn.worker", json.dumps(settings.as_dict()), str(root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    workers: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(processes) as listeners:
        try:
            workers.extend(
                subprocess.Popen(  # noqa: S603 - this interpreter, this package
                    [*command, str(share), str(processes)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
                for share in range(processes)
            )
            for listening in as_completed([listeners.submit(_listen, worker, done) for worker in workers]):
                listening.result()
        finally:
            for worker in workers:
                worker.kill()


def _listen(worker: subprocess.Popen[str], done: _Done) -> None:
    with worker:
        for line in worker.stdout or ():
            number, digest = line.split()
            done(int(number), bytes.fromhex(digest))
        reasons = worker.stderr.read().strip().splitlines() if worker.stderr else []
    if worker.returncode:
        last = reasons[-1] if reasons else "no reason given"
        refusal = re.fullmatch(r"errno (\d+)", last)  # of the disk
        if refusal:
            raise OSError(int(refusal[1]), os.strerror(int(refusal[1])))
        raise OsnetError(f"a drawing process ended early: {last}; draw with workers=1 to see where")

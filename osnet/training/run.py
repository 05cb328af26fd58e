"""The folder of a run: configuration, metrics, checkpoints. One process writes it at a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osnet.errors import DiskError, LockError, OptionError
from osnet.files import atomic_write, is_private, open_regular
from osnet.training.config import TrainConfig, read_config

CONFIG, METRICS, LAST, BEST, CURVES, ORIGIN = (
    "config.yaml", "metrics.jsonl", "last.ckpt", "best.ckpt", "curves.png", "origin.json",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        root: the folder, with ``config.yaml`` (complete), ``origin.json`` (data and base checkpoint),
            ``metrics.jsonl``, ``last.ckpt`` (all state), ``best.ckpt`` (the result: of the best evaluation, or of the
            last epoch where nothing is held out) and ``curves.png``.
    """

    root: Path

    @classmethod
    def create(cls, root: str | os.PathLike[str], config: TrainConfig, origin: dict[str, Any]) -> Run:
        """Begin a run in a folder that does not exist, or is empty.

        Raises:
            OptionError: it is not empty.
            DiskError: it cannot be written.
        """
        run = cls(Path(root))
        try:
            run.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot make the run folder {str(root)!r}: {error.strerror or error}") from error
        cls.refuse_taken(root)
        atomic_write(run.root / ORIGIN, (json.dumps(origin, indent=2) + "\n").encode())
        config.save(run.root / CONFIG)
        return run

    @staticmethod
    def refuse_taken(root: str | os.PathLike[str]) -> None:
        """Check that a new run can begin in `root`; nothing is changed.

        Raises:
            OptionError: it is not empty.
            DiskError: it is not a folder, or cannot be read or written.
        """
        folder = Path(root)
        try:
            if not os.path.lexists(folder):
                return
            held = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise DiskError(f"cannot use the run folder {str(root)!r}: {error.strerror or error}") from error
        if held and held != [ORIGIN]:  # killed between the two files that `create` writes, it had not begun
            hint = f"osnet train --resume {root} resumes it" if CONFIG in held else "choose a new folder"
            raise OptionError(f"{str(root)!r} is not empty (it holds {held[0]}); {hint}")

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> Run:
        """Open an existing run.

        Raises:
            OptionError: there is no run in that folder.
        """
        run = cls(Path(root))
        if not (run.root / CONFIG).is_file() or not (run.root / ORIGIN).is_file():
            raise OptionError(f"no run in {str(root)!r}: expected a folder with {CONFIG} that osnet train wrote")
        return run

    @property
    def config(self) -> TrainConfig:
        return read_config(self.root / CONFIG)

    @property
    def origin(self) -> dict[str, Any]:
        """Where the run began: data set, its fingerprint, base checkpoint and its SHA-256.

        Raises:
            OptionError: it cannot be read, or is not what `create` wrote.
        """
        found = _read_object(self._read(ORIGIN), f"{str(self.root / ORIGIN)!r}")
        _check_fields(found, _ORIGIN_FIELDS, f"{str(self.root / ORIGIN)!r}")
        return found

    @property
    def last(self) -> Path:
        return self.root / LAST

    @property
    def best(self) -> Path:
        return self.root / BEST

    @property
    def result(self) -> Path:
        """``best.ckpt``, or ``last.ckpt`` until there is one."""
        return self.best if self.best.is_file() else self.last

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut short by a kill is left out.

        Raises:
            OptionError: it cannot be read, or a line is not what a run writes.
        """
        if not os.path.lexists(self.root / METRICS):
            return []
        found = []
        for number, text in enumerate(self._read(METRICS).split(b"\n")[:-1], 1):
            where = f"{str(self.root / METRICS)!r}, line {number}"
            line = _read_object(text, where)
            _check_fields(line, _METRICS_FIELDS.get(str(line.get("kind")), {"step": _NUMBER}), where)
            found.append(line)
        return found

    def _read(self, name: str) -> bytes:
        try:
            with open_regular(self.root / name) as file:
                return file.read()
        except OSError as error:
            raise OptionError(f"cannot read {str(self.root / name)!r}: {error.strerror or error}") from error

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Raises:
            DiskError: it cannot be written.
        """
        try:
            with open(self.root / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DiskError(f"cannot write {str(self.root / METRICS)!r}: {error.strerror or error}") from error

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps that a resumed run will repeat."""
        kept = [line for line in self.metrics() if line.get("step", 0) <= step]
        atomic_write(self.root / METRICS, "".join(json.dumps(line) + "\n" for line in kept).encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, and remove the private files that a killed process left in it.

        Raises:
            LockError: another process trains into it.
            DiskError: it cannot be written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(str(self.root / _LOCK), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise LockError(
                f"another process trains into {str(self.root)!r}; wait for it, or choose another folder"
            ) from error
        except OSError as error:
            raise DiskError(f"cannot write into {str(self.root)!r}: {error.strerror or error}") from error
        try:
            for left in filter(is_private, self.root.glob(".*.part")):  # by a process that was killed while it saved
                left.unlink()
            yield
        finally:
            lock.release()


_LOCK = ".lock"

_NUMBER = (int, float)
_TEXT = (str,)
_ORIGIN_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("data", "fingerprint", "base"), _TEXT),
    **dict.fromkeys(("images", "identities", "ranks"), _NUMBER),
    "base_sha256": (str, type(None)),
}
_EVALUATION_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("step", "epoch", "mAP", "rank1", "mINP", "valid_queries"), _NUMBER),
    **dict.fromkeys(("protocol", "held_out"), _TEXT),
}
_METRICS_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "step": dict.fromkeys(("step", "epoch", "loss", "accuracy", "learning_rate"), _NUMBER),
    "evaluation": _EVALUATION_FIELDS,
    "other_evaluation": _EVALUATION_FIELDS,
}
"""What is read again of each kind of line."""


def _read_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise OptionError(f"{where}: expected a JSON object as osnet train writes it, got {data[:40]!r}; bring it back")
    return found


def _check_fields(found: dict[str, Any], fields: dict[str, tuple[type, ...]], where: str) -> None:
    for key, types in fields.items():
        value = found.get(key)
        if not isinstance(value, types) or isinstance(value, bool):
            expected = "a number" if types is _NUMBER else "text"
            raise OptionError(f"{where}: expected {expected} for {key!r}, got {value!r:.80}; bring the file back")

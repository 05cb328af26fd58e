"""Real processes for tests: start one that runs a piece of Python with arguments, and small disks for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def start(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A new interpreter that runs `code` with `arguments` in ``sys.argv[1:]``; its output is captured."""
    return run_module("-c", code, *arguments, **options)


def run_module(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A new interpreter with these arguments."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)


def finish(process: subprocess.Popen[str], seconds: float = 60) -> tuple[str, str]:
    """Output and errors of `process`, which must end well."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out, err


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """``mount`` with these options at `folder`; the test skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        done = subprocess.run([*prefix, "mount", *options, str(folder)], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"needs root to mount: {error}")
    if done.returncode:
        pytest.skip(f"needs root to mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([*prefix, "umount", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own at `folder`, with room for `size`."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs"):
        yield folder


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """`folder` refuses every write: by its permissions, or for root, whom they do not bind, by a read-only mount."""
    if os.geteuid() != 0:
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        try:
            yield folder
        finally:
            for path in folders:
                path.chmod(0o755)
        return
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder

"""Small files that ask for much: refused, or read, in a few times their size and a constant."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from osnet.checkpoint.mindspore import read_ckpt
from osnet.checkpoint.torch import read_torch
from osnet.errors import CheckpointError
from tests.checkpoint.test_torch import overlapping, zipped
from tests.oracles.ckpt import entry

MANY = 1_000_000


def pickled(steps: bytes) -> bytes:
    return zipped(b"\x80\x04" + steps + b".")


DEVICE = b"ctorch\ndevice\nq\0(" + b"U\x28" + b"a" * 40 + b"q\1" + b"h\1" * 1000 + b"tq\2"

ASKING: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "lists": (read_torch, pickled(b"]" * MANY)),
    "dictionaries": (read_torch, pickled(b"}" * MANY)),
    "memo": (read_torch, pickled(b"N" + b"\x94" * MANY)),
    "lists-in-a-stream": (
        read_torch,
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + b"\x80\x02" + b"]" * MANY,
    ),
    "devices": (read_torch, pickled(DEVICE + b"h\0h\2R" * 2000)),
    "overlapping-entries": (read_torch, overlapping(400)),
    "tiny-tensors": (read_ckpt, b"".join(entry(b"%05x" % index, (0,), content=b"") for index in range(40_000))),
}


@pytest.mark.parametrize("name", ASKING)
def test_memory_is_bounded(name: str) -> None:
    read, data = ASKING[name]
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data) + 30_000_000


HEADERS = {
    "tensors": b",".join(b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % index for index in range(60_000)),
    "shape": b'"a":{"dtype":"U8","shape":[' + b"0," * 2 * MANY + b'0],"data_offsets":[0,0]}',
    "metadata": b'"__metadata__":{' + b",".join(b'"%x":""' % index for index in range(300_000)) + b"}",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADERS)
def test_memory_is_bounded_for_a_header(name: str, tmp_path: Any) -> None:
    """In a process of its own: tracemalloc does not see the package's."""
    header = b"{" + HEADERS[name] + b"}"
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    program = (
        "import pathlib, resource, sys, safetensors\n"
        "from osnet.checkpoint.safetensors import read_safetensors\n"
        "from osnet.errors import CheckpointError\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_safetensors(data)\n"
        "except CheckpointError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    assert int(result.stdout) * 1024 < 4 * len(header) + 10_000_000


def test_a_safetensors_shape_of_many_dimensions() -> None:
    from osnet.checkpoint.safetensors import read_safetensors

    header = b'{"a":{"dtype":"U8","shape":[' + b"0," * 99 + b'0],"data_offsets":[0,0]}}'
    with pytest.raises(CheckpointError, match="a has more than 8 dimensions"):
        read_safetensors(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize("name", ["", "a\\u001b[31m", "a" * 600])
def test_a_safetensors_name_that_cannot_be_shown(name: str) -> None:
    from osnet.checkpoint.safetensors import read_safetensors

    header = f'{{"{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}'.encode()
    with pytest.raises(CheckpointError, match=r"a tensor of the \.safetensors file has a") as caught:
        read_safetensors(len(header).to_bytes(8, "little") + header)
    assert str(caught.value).isprintable()

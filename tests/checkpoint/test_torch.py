"""torch's files without torch: committed ones that torch wrote, ones made to do harm, and torch where it is."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osnet.checkpoint.torch import find_state_dict, read_torch, write_torch
from osnet.checkpoint.weights import weights_from_bytes
from osnet.errors import CheckpointError
from tests.checkpoint.test_mindspore import same

FILES = Path(__file__).parents[1] / "fixtures" / "torch"
ZIP, STREAM = (FILES / "zip.pth").read_bytes(), (FILES / "stream.pth").read_bytes()
BOTH = pytest.mark.parametrize("data", [ZIP, STREAM], ids=["zip", "stream"])


def expected() -> dict[str, np.ndarray]:
    with np.load(FILES / "expected.npz") as file:
        return dict(file)


@BOTH
def test_tensors_are_those_of_torch(data: bytes) -> None:
    tensors, _ = find_state_dict(read_torch(data), len(data))
    assert same(tensors, expected())
    assert not any(array.flags.writeable for array in tensors.values())


@BOTH
def test_tensors_are_views_of_the_bytes(data: bytes) -> None:
    tensors, _ = find_state_dict(read_torch(data), len(data))
    whole = np.frombuffer(data, np.uint8)
    copied = [name for name, array in tensors.items() if array.size and not np.shares_memory(array, whole)]
    assert copied == ["bfloat16"]


@BOTH
def test_what_stands_beside_the_state_dict(data: bytes) -> None:
    _, beside = find_state_dict(read_torch(data), len(data))
    adam = beside.pop("optimizer")
    schedule = beside.pop("scheduler")
    assert beside == {
        "epoch": 12,
        "rank1": 0.625,
        "counts": [-3, 1.5, True],
        "size": (2, 3),
        "device": "cpu",
        "dtype": "torch.float32",
        "bytes": b"\x00\xff",
        "text": "Zürich",
        "large": 2**70,
        "nothing": None,
    }
    assert isinstance(beside["rank1"], np.float64)
    assert adam["state"][0]["exp_avg"].tolist() == pytest.approx([0.1, 0.1])
    assert adam["param_groups"][0]["betas"] == (0.9, 0.999)
    assert schedule["milestones"] == {3: 1, 5: 2}


@BOTH
def test_every_cut_is_found(data: bytes) -> None:
    for length in range(0, len(data), 7):
        with pytest.raises(CheckpointError) as caught:
            read_torch(data[:length])
        assert str(caught.value).isprintable()


@BOTH
def test_trailing_bytes_are_found(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        read_torch(data + b"PK")


@settings(max_examples=300)
@given(st.sampled_from([ZIP, STREAM]), st.data())
def test_damaged_files_are_read_or_refused(data: bytes, drawn: st.DataObject) -> None:
    raw = bytearray(data)
    for _ in range(drawn.draw(st.integers(1, 3))):
        raw[drawn.draw(st.integers(0, len(raw) - 1))] = drawn.draw(st.integers(0, 255))
    try:
        find_state_dict(read_torch(bytes(raw)), len(raw))
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017


def test_a_flipped_bit_in_a_storage_is_found() -> None:
    raw = bytearray(ZIP)
    weight = expected()["double"].tobytes()
    raw[raw.index(weight) + 3] ^= 1
    with pytest.raises(CheckpointError, match=r"CRC-32 of the entry 'zip/data/.*' is wrong"):
        read_torch(bytes(raw))


def zipped(pickle: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickle)
        for name, content in records.items():
            archive.writestr("a/" + name.replace("__", "/"), content)
    return output.getvalue()


def tensor(
    kind: str = "FloatStorage",
    count: bytes = b"K\x02",
    key: bytes = b"U\x010",
    offset: bytes = b"K\0",
    size: bytes = b"K\x02\x85",
    stride: bytes = b"K\x01\x85",
    function: str = "_rebuild_tensor_v2",
) -> bytes:
    """A pickle of {"w": tensor}; the parts are opcodes."""
    storage = b"(U\x07storagectorch\n" + kind.encode() + b"\n" + key + b"U\x03cpu" + count + b"tQ"
    call = b"ctorch._utils\n" + function.encode() + b"\n(" + storage + offset + size + stride + b"\x89}tR"
    return b"\x80\x02}U\x01w" + call + b"s."


TWO = struct.pack("<2f", 1, 2)


def test_the_smallest_file() -> None:
    assert read_torch(zipped(tensor(), data__0=TWO))["w"].tolist() == [1, 2]
    old = tensor(function="_rebuild_tensor").replace(b"\x89}tR", b"tR")
    assert read_torch(zipped(old, data__0=TWO))["w"].tolist() == [1, 2]


def test_big_endian_storages() -> None:
    data = zipped(tensor(), data__0=struct.pack(">2f", 1, 2), byteorder=b"big")
    assert read_torch(data)["w"].tolist() == [1, 2]


LARGE = b"\x8a\x08" + (2**50).to_bytes(8, "little")
ENDLESS = b")" + b"q\0h\0\x86" * 60  # nested tuples whose text has 2**60 parts
REFUSED: dict[str, tuple[bytes, str]] = {
    "code": (zipped(b"\x80\x02cos\nsystem\nU\x02ls\x85R."), r"asks for 'os\.system'.*refused"),
    "builtin-code": (zipped(b"\x80\x02cbuiltins\neval\nU\x011\x85R."), r"asks for 'builtins\.eval'"),
    "torch-code": (zipped(b"\x80\x02ctorch.hub\nload\nU\x011\x85R."), r"asks for 'torch\.hub\.load'"),
    "attribute-walk": (zipped(b"\x80\x04\x8c\x05torch\x8c\x0a_utils.sys\x93."), r"asks for 'torch\._utils\.sys'"),
    "numpy-objects": (zipped(b"\x80\x02cnumpy\ndtype\nU\x02O8\x85R."), "numpy dtype 'O8'"),
    "numpy-arrays": (zipped(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R."), "_reconstruct"),
    "whole-model": (zipped(b"\x80\x02ctorchreid.models.osnet\nOSNet\n)\x81."), "OSNet.*save only its state_dict"),
    "numpy-scalar-size": (
        zipped(b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8\x85RU\x011\x86R."),
        "wrong size",
    ),
    "hostile-name": (zipped(b"\x80\x02ca\x1b[31m\nb\n)R."), r"'a\\x1b\[31m\.b'"),
    "storage-of-1e15": (zipped(tensor(count=LARGE), data__0=TWO), r"expected 4,503,599,627,370,496 bytes, got 8"),
    "storage-too-long": (zipped(tensor(), data__0=TWO * 2), "expected 8 bytes, got 16"),
    "storage-missing": (zipped(tensor()), "no entry 'a/data/0'"),
    "storage-elsewhere": (zipped(tensor(key=b"U\x0b../data.pkl"), data__0=TWO), "no entry"),
    "storage-unknown": (zipped(tensor(kind="Size"), data__0=TWO), "unknown kind"),
    "storage-of-quantised": (zipped(tensor(kind="QInt8Storage"), data__0=TWO), "QInt8Storage"),
    "storage-negative": (zipped(tensor(count=b"J\xff\xff\xff\xff"), data__0=TWO), "unknown kind"),
    "storage-bool-of-2": (zipped(tensor(kind="BoolStorage"), data__0=b"\1\2"), "other than 0 and 1"),
    "size-too-large": (zipped(tensor(size=b"K\x03\x85"), data__0=TWO), "does not fit its storage of 2 items"),
    "size-absurd": (zipped(tensor(size=LARGE + b"\x85", stride=b"K\0\x85"), data__0=TWO), "does not fit"),
    "size-negative": (zipped(tensor(size=b"J\xff\xff\xff\xff\x85"), data__0=TWO), "impossible size"),
    "size-endless": (zipped(tensor(size=ENDLESS, stride=b"NN\x86"), data__0=TWO), "impossible size"),
    "size-of-text": (zipped(tensor(size=b"U\x012\x85"), data__0=TWO), "impossible size"),
    "size-list": (zipped(tensor(size=b"]"), data__0=TWO), "other values than storage, size and stride"),
    "stride-negative": (zipped(tensor(stride=b"J\xff\xff\xff\xff\x85"), data__0=TWO), "impossible size"),
    "stride-too-long": (zipped(tensor(stride=b"K\x02\x85"), data__0=TWO), "does not fit"),
    "stride-missing": (zipped(tensor(stride=b")"), data__0=TWO), "1 sizes and 0 strides"),
    "stride-expanded": (zipped(tensor(size=b"K\x64K\x64\x86", stride=b"K\0K\0\x86"), data__0=TWO), "does not fit"),
    "offset-too-large": (zipped(tensor(offset=b"K\x01"), data__0=TWO), "does not fit"),
    "offset-negative": (zipped(tensor(offset=b"J\xff\xff\xff\xff"), data__0=TWO), "impossible size"),
    "no-storage": (zipped(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\0))\x89}tR."), "other values than storage"),
    "module-source": (zipped(b"\x80\x02(U\x06moduleNNNtQ."), "not a storage; refused"),
    "text-encoded-large": (
        zipped(b"\x80\x02c_codecs\nencode\nX\x00\x02\0\0" + b"a" * 512 + b"U\x06latin1\x86R."),
        "256",
    ),
    "dictionary-of-tuples": (
        zipped(b"\x80\x02ccollections\nOrderedDict\n](" + ENDLESS + b"N\x86e\x85R."),
        "something other than keys",
    ),
    "after-the-pickle": (zipped(b"\x80\x02N.N."), "2 bytes are left over"),
    "compressed": (zipped(tensor() + bytes(99), zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "byte-order": (zipped(tensor(), data__0=TWO, byteorder=b"middle"), "unknown byte order b'middle'"),
    "torchscript": (zipped(b"\x80\x02N.", **{"constants.pkl": b""}), "TorchScript.*state_dict"),
    "numpy-archive": ((FILES / "expected.npz").read_bytes(), r"numpy \.npz"),
    "no-checkpoint": (b"\x93NUMPY", "not a torch checkpoint"),
    "zip-cut-off": (b"PK\x03\x04", "cut off, or has bytes after its end"),
    "tar": (bytes(257) + b"ustar\x0000", "tar archive.*load it in torch"),
    "another-pickle": (b"\x80\x02K\x01.", "a pickle, but not a torch checkpoint"),
    "stream-protocol": (STREAM[:16] + STREAM[16:].replace(b"M\xe9\x03", b"M\xe8\x03", 1), "protocol 1001, got 1000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, message = REFUSED[name]
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as caught:
        read_torch(data)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000 + 4 * len(data)
    tracemalloc.stop()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_two_entries_of_one_name_are_refused() -> None:
    output = io.BytesIO(zipped(tensor(), data__0=TWO))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(output, "a") as archive:
        archive.writestr("a/data/0", TWO)
    with pytest.raises(CheckpointError, match="two entries of one name"):
        read_torch(output.getvalue())


def test_a_cap_on_the_entries_of_an_archive() -> None:
    data = zipped(tensor(), data__0=b"PK\x01\x02" * 10_200)
    with pytest.raises(CheckpointError, match=r"more than 10,16. entries, the most that its size allows"):
        read_torch(data)


def overlapping(count: int) -> bytes:
    """A whole archive whose directory has the same bytes under `count` names."""
    half = b"J\0\0\x08\0"  # 2**19 items
    one = tensor("BFloat16Storage", half, b"U\x040000", b"K\0", half + b"\x85")[3:-2].replace(b"U\1w", b"U\5w0000")
    pickle = b"\x80\x02}(" + b"".join(one.replace(b"0000", b"%04d" % index) for index in range(count)) + b"u."
    data = zipped(pickle, data__0000=bytes(1 << 20))
    start = data.index(b"PK\x01\x02")
    last = data.rindex(b"PK\x01\x02")
    entry, end = data[last : data.index(b"PK\x05\x06")], data[data.index(b"PK\x05\x06") :]
    directory = data[start:last] + b"".join(entry.replace(b"0000", b"%04d" % index) for index in range(count))
    sizes = struct.pack("<2H2L", count + 1, count + 1, len(directory), start)
    return data[:start] + directory + end[:8] + sizes + end[20:]


def test_overlapping_entries_are_refused() -> None:
    assert find_state_dict(read_torch(overlapping(1)), 1 << 20)[0]["w0000"].nbytes == 2 << 20
    data = overlapping(200)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.infolist()) == 201
    with pytest.raises(CheckpointError, match="entries 'a/data/0000' and 'a/data/0001' of the zip archive overlap"):
        read_torch(data)


def test_storages_shared_without_end_are_refused() -> None:
    shared = np.zeros(1000, np.float32)
    twice = {"state_dict": {"a": shared, "b": shared}, "best": shared}
    assert find_state_dict(twice, 4000)[1]["best"] is shared
    with pytest.raises(CheckpointError, match="share their storages: written out they take 36,000 bytes, more than 8"):
        find_state_dict({"state_dict": {str(index): shared for index in range(8)}, "best": shared}, 4000)


def test_a_dictionary_of_python_2() -> None:
    pickle = b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01e](U\x01bK\x02ee\x85R."
    assert read_torch(zipped(pickle)) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("value", "inner", "beside"),
    [
        ({"state_dict": {"a": np.zeros(1)}, "epoch": 1}, ["a"], {"epoch": 1}),
        ({"model": {"a": np.zeros(1)}, "state_dict": 3}, ["a"], {"state_dict": 3}),
        ({"a": np.zeros(1), "model": "x1_0"}, ["a", "model"], {}),
    ],
)
def test_the_state_dict_is_found(value: Any, inner: list[str], beside: dict[str, Any]) -> None:
    found, rest = find_state_dict(value, 1000)
    assert list(found) == inner
    assert rest == beside


@pytest.mark.parametrize("value", [[1], {}, {"state_dict": {}, "epoch": 3}, np.zeros(3)])
def test_no_state_dict(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"state.dict"):
        find_state_dict(value, 1000)


def test_what_is_written_is_read() -> None:
    arrays = expected()
    data = write_torch(arrays)
    assert same(read_torch(data), arrays)
    assert data == write_torch(arrays)


def test_written_storages_are_aligned() -> None:
    data = write_torch({"n" * length: np.ones(length, "u1") for length in range(1, 130)})
    whole = np.frombuffer(data, np.uint8).ctypes.data
    assert {(array.ctypes.data - whole) % 64 for array in read_torch(data).values()} == {0}


def test_what_torch_has_no_storage_for_is_not_written() -> None:
    with pytest.raises(CheckpointError, match="a is uint64; torch has storages for"):
        write_torch({"a": np.zeros(1, "u8")})


def test_torch_reads_what_is_written() -> None:
    torch = pytest.importorskip("torch")
    arrays = expected()
    loaded = torch.load(io.BytesIO(write_torch(arrays)), weights_only=True)
    assert same({name: tensor.numpy() for name, tensor in loaded.items()}, arrays)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_writes_is_read(new: bool, protocol: int) -> None:
    torch = pytest.importorskip("torch")
    from tests.data.torch.make import tensors, value

    file = io.BytesIO()
    torch.save(value(), file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    found, _ = find_state_dict(read_torch(file.getvalue()), 10_000)
    assert same(
        found, {n: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for n, t in tensors().items()}
    )


def test_the_real_checkpoint(shared: Path) -> None:
    path = shared / "data" / "real" / "osnet_x0_25_msmt17.pth.tar"
    ours = weights_from_bytes(path.read_bytes(), path.name)
    zoo = weights_from_bytes(path.with_name("osnet_x0_25_msmt17.ckpt").read_bytes(), "zoo.ckpt")
    assert ours.variant.name == "osnet_x0_25"
    assert ours.extras["epoch"] == 1
    assert same(dict(ours.without_classifier().arrays), dict(zoo.arrays))

"""Checkpoints of torch and torchreid (``.pth``, ``.pth.tar``, ``.pt``), read and written without torch.

torch has written two formats, and both are read: a zip archive with a pickle and one uncompressed entry for each
storage (torch 1.6 and later), and before that a stream of pickles followed by the storages. No code from a file is ever
run: `osnet.checkpoint.pickles` makes plain values, and allows only the names that are listed below.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from osnet.checkpoint.arrays import BFLOAT16, MAX_DIMS, Array, array_from, most_entries
from osnet.checkpoint.pickles import Built, read_pickle
from osnet.errors import CheckpointError

MAX_RAW_BYTES = 256
MAX_SHARING = 8
"""Tensors may share storages, but written out they may take at most this many times the size of the file."""

_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": BFLOAT16,
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_PROTOCOL = 1001
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""The first bytes of the stream format, and of every other pickle."""


def read_torch(data: bytes) -> Any:
    """The value that ``torch.save`` wrote into a file of these bytes.

    Tensors become read-only numpy arrays, views of `data` where the type allows: bfloat16, which numpy does not have,
    is widened to float32 (exact). Parameters become their tensors; ordered and counting dictionaries become plain
    ones, ``torch.Size`` a tuple, devices and dtypes their names, numpy scalars themselves.

    Raises:
        CheckpointError: a damaged file, one of another kind, or a pickle that names anything else.
    """
    if data[:2] == b"PK":
        return _read_zip(data)
    if data.startswith(PICKLE_STARTS):
        return _read_stream(data)
    if data[257:262] == b"ustar":
        raise CheckpointError(
            "the file is a tar archive as torch before 0.1.10 wrote it; load it in torch and save it again"
        )
    raise CheckpointError(
        f"not a torch checkpoint: expected a zip archive or torch's older stream, the file starts with {data[:8]!r}"
    )


def find_state_dict(value: Any, file_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dict inside what `read_torch` returned for a file of `file_bytes`, and everything beside it.

    It is the entry ``state_dict`` (torchreid's), ``model_state_dict``, ``model`` or ``net``, or the value itself.

    Raises:
        CheckpointError: there is none; the message lists the keys that are there. Or its tensors share their storages
            so often that a converted file would be many times as large as this one.
    """
    if not isinstance(value, dict):
        raise CheckpointError(f"expected a state dict in the file, got a {type(value).__name__}")
    for key in ("state_dict", "model_state_dict", "model", "net"):
        inner = value.get(key)
        if isinstance(inner, dict) and any(isinstance(item, np.ndarray) for item in inner.values()):
            break
    else:
        inner = value
    tensors = [item for item in inner.values() if isinstance(item, np.ndarray)]
    if not tensors:
        keys = ", ".join(ascii(key)[:40] for key in list(value)[:8]) or "none"
        raise CheckpointError(f"no state dict in the file; expected tensors under 'state_dict', got the keys {keys}")
    beside = {} if inner is value else {name: item for name, item in value.items() if name != key}
    tensors += [item for item in beside.values() if isinstance(item, np.ndarray)]
    total = sum(tensor.nbytes for tensor in tensors)
    if total > MAX_SHARING * file_bytes:
        raise CheckpointError(
            f"the tensors in the file share their storages: written out they take {total:,} bytes, more than "
            f"{MAX_SHARING} times the file; refused"
        )
    return inner, beside


@dataclass(frozen=True)
class _Storage:
    """A flat run of items. `items` is None in the first pass over a stream, before the storages are reached."""

    items: Array | None
    count: int


class _Dtype(Built):
    """A numpy dtype of plain numbers, named in a pickle."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise CheckpointError(f"the pickle in the file asks for the numpy dtype {_shown(code)}; refused")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def build(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise CheckpointError("the pickle in the file has a numpy dtype with an unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Array | None:
    """``torch._utils._rebuild_tensor_v2``: a view of `storage`; offset and strides count items."""
    if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise CheckpointError("the pickle in the file builds a tensor from other values than storage, size and stride")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > MAX_DIMS:
        raise CheckpointError(
            f"a tensor has {len(size)} sizes and {len(stride)} strides; expected as many, up to {MAX_DIMS}"
        )
    if any(type(number) is not int or not 0 <= number < 1 << 62 for number in numbers):
        raise CheckpointError(f"a tensor has an impossible size, stride or offset: {', '.join(map(_shown, numbers))}")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride)) if count else offset
    # A tensor expanded by strides of 0 is larger than its storage: such a file could ask for any amount of memory.
    if (count and last >= storage.count) or last > storage.count or count > max(storage.count, 1):
        raise CheckpointError(
            f"a tensor of size {size}, stride {stride} and offset {offset} does not fit its storage "
            f"of {storage.count:,} items"
        )
    if storage.items is None:
        return None
    width = storage.items.itemsize
    strides = tuple(step * width for step in stride)
    return np.ndarray(size, storage.items.dtype, storage.items, offset * width, strides)


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, str)) or len(raw) != dtype.dtype.itemsize:
        raise CheckpointError("the pickle in the file has a numpy scalar of the wrong size")
    return np.frombuffer(raw if isinstance(raw, bytes) else raw.encode("latin-1"), dtype.dtype)[0]


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """``_codecs.encode``, with which protocol 2 writes bytes."""
    # A pickle can encode one text again and again, each time into new memory.
    if type(text) is not str or encoding != "latin1" or len(text) > MAX_RAW_BYTES:
        raise CheckpointError(f"the pickle in the file encodes text unusually, or over {MAX_RAW_BYTES} bytes; refused")
    return text.encode("latin-1")


def _dictionary(items: Any = (), *_: Any) -> dict[Any, Any]:
    """OrderedDict() of Python 3, OrderedDict([[key, value], ...]) of Python 2, Counter({...}), defaultdict(type)."""
    if type(items) is dict:
        return items
    if type(items) is not list:
        return {}
    pairs = list(items)
    items.clear()  # moved, so that a pickle cannot copy one list again and again
    if any(type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) not in (str, int) for pair in pairs):
        raise CheckpointError("the pickle in the file has a dictionary of something other than keys and values")
    return dict(pairs)


def _shown(value: Any) -> str:
    """`value` for a message; of a container only its type: a small pickle can make one of endless text."""
    return ascii(value)[:40] if type(value) in (str, int, float, bool, bytes) else f"a {type(value).__name__}"


def _name_of(kind: Any, index: Any = None) -> str:
    """A device or layout, kept as text."""
    return ":".join(str(part)[:40] for part in (kind, index) if isinstance(part, (str, int)))


def _itself(value: Any = (), *_: Any) -> Any:
    return value


_NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _itself,
    ("torch", "Size"): _itself,
    ("torch", "device"): _name_of,
    ("torch.serialization", "_get_layout"): _name_of,
    ("collections", "OrderedDict"): _dictionary,
    ("collections", "Counter"): _dictionary,
    ("collections", "defaultdict"): _dictionary,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
    **{(module, name): name for module in ("builtins", "__builtin__") for name in ("dict", "list", "int", "float")},
}
_TORCH_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_NAMES.update({("torch", name): f"torch.{name}" for name in _TORCH_DTYPES})


def _find(module: str, name: str) -> Any:
    try:
        return _NAMES[module, name]
    except KeyError:
        raise CheckpointError(
            f"the pickle in the file asks for {ascii(f'{module}.{name}')[:200]}, which is neither a tensor nor a plain "
            "value; refused. Load the file in torch where you trust it, and save only its state_dict"
        ) from None


_Read = Callable[[str, "np.dtype[Any]", int], Optional[Array]]
"""From a storage's key, item type and number of items to the items."""


def _value(data: bytes, start: int, read: _Read, max_steps: int) -> tuple[Any, int]:
    """The value of the pickle at `start`, whose storages come from `read`, and where it ends."""

    def persistent(identity: Any) -> _Storage:
        # ('storage', type, key, location, number of items), before torch 0.4 also a view into another storage
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise CheckpointError("the pickle in the file refers to something that is not a storage; refused")
        _, dtype, key, _, count = identity[:5]
        if not isinstance(dtype, np.dtype) or type(key) is not str or type(count) is not int or count < 0:
            raise CheckpointError("the pickle in the file refers to a storage of an unknown kind; refused")
        if identity[5:] not in ((), (None,)):
            raise CheckpointError("a storage is a view of another, as before torch 0.4; save the file again with torch")
        return _Storage(read(key, dtype, count), count)

    return read_pickle(data, start, find=_find, persistent=persistent, max_steps=max_steps)


def _no_storage(*_: Any) -> None:
    raise CheckpointError("the file refers to a storage where none is allowed; it is damaged")


def _items(raw: memoryview, dtype: np.dtype[Any], key: str) -> Array:
    return array_from(raw, dtype, (len(raw) // dtype.itemsize,), f"storage {_shown(key)}")


def _most_steps(data: bytes) -> int:
    """Cap on the steps of a file's pickles: each costs up to 100 bytes of memory, and a real tensor takes about 30."""
    return 200_000 + len(data) // 16


def _read_zip(data: bytes) -> Any:
    view, entries = memoryview(data), _zip_entries(data)
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        what = "a numpy .npz archive" if any(name.endswith(".npy") for name in entries) else "not a torch checkpoint"
        raise CheckpointError(f"the zip archive holds {len(pickles)} entries data.pkl, expected one; it is {what}")
    prefix = pickles[0][: -len("data.pkl")]
    if f"{prefix}constants.pkl" in entries:
        raise CheckpointError(
            "the file is a TorchScript module, not a checkpoint; save its state_dict() in torch instead"
        )
    order = _record(view, entries, f"{prefix}byteorder") if f"{prefix}byteorder" in entries else b"little"
    if order not in (b"little", b"big"):
        raise CheckpointError(f"the file has the unknown byte order {bytes(order[:20])!r}")
    storages: dict[str, tuple[np.dtype[Any], Array]] = {}

    def read(key: str, dtype: np.dtype[Any], count: int) -> Array:
        if key not in storages:
            raw = _record(view, entries, f"{prefix}data/{key}")
            if len(raw) != count * dtype.itemsize:
                raise CheckpointError(
                    f"storage {_shown(key)} has {count:,} items of {dtype.itemsize} bytes: "
                    f"expected {count * dtype.itemsize:,} bytes, got {len(raw):,}; the file is damaged"
                )
            storages[key] = dtype, _items(raw, dtype.newbyteorder("<" if order == b"little" else ">"), key)
        stored, items = storages[key]
        if stored != dtype or len(items) != count:
            raise CheckpointError(f"storage {_shown(key)} is used with two types or sizes; refused")
        return items

    record = bytes(_record(view, entries, pickles[0]))
    value, end = _value(record, 0, read, _most_steps(data))
    if end != len(record):
        raise CheckpointError(f"{len(record) - end:,} bytes are left over after the pickle in the file; it is damaged")
    return value


def _zip_entries(data: bytes) -> dict[str, zipfile.ZipInfo]:
    # zipfile makes an object for every entry before they can be counted.
    most = most_entries(len(data))
    if data.count(b"PK\x01\x02") > most:
        raise CheckpointError(f"the zip archive has more than {most:,} entries, the most that its size allows")
    if data[-22:-18] != b"PK\x05\x06":  # zipfile would look for it further up
        raise CheckpointError("the zip archive is cut off, or has bytes after its end; fetch or copy the file again")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, OSError, struct.error) as error:
        raise CheckpointError(f"the zip archive is damaged ({error}); fetch or copy the file again") from error
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise CheckpointError("the zip archive has two entries of one name; refused")
    # Many entries over the same bytes would each be read, checked and widened.
    infos.sort(key=lambda info: info.header_offset)
    for info, following in zip(infos, infos[1:]):
        if info.header_offset + 30 + info.compress_size > following.header_offset:
            names = f"{_shown(info.filename)} and {_shown(following.filename)}"
            raise CheckpointError(f"the entries {names} of the zip archive overlap; refused")
    return entries


def _record(view: memoryview, entries: Mapping[str, zipfile.ZipInfo], name: str) -> memoryview:
    """The bytes of an uncompressed entry, without a copy."""
    info = entries.get(name)
    if info is None:
        raise CheckpointError(f"the zip archive has no entry {ascii(name)[:120]}; the file is damaged")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise CheckpointError(
            f"the entry {ascii(name)[:120]} is compressed or encrypted; torch never writes that; save it again in torch"
        )
    header = view[info.header_offset : info.header_offset + 30]
    if len(header) == 30 and bytes(header[:4]) == b"PK\x03\x04":
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))  # the lengths of name and extra field
        if info.file_size == info.compress_size and start + info.file_size <= len(view):
            record = view[start : start + info.file_size]
            if info.CRC not in (0, zlib.crc32(record)):  # torch writes 0 where it was told not to compute it
                raise CheckpointError(f"the CRC-32 of the entry {ascii(name)[:120]} is wrong; the file is damaged")
            return record
    raise CheckpointError(f"the entry {ascii(name)[:120]} does not lie inside the zip archive; the file is damaged")


def _read_stream(data: bytes) -> Any:
    view, position, header = memoryview(data), 0, []
    for _ in range(3):  # magic number, protocol, sizes of the writer's types
        value, position = _value(data, position, _no_storage, 1000)
        header.append(value)
        if header[0] != _STREAM_MAGIC:
            raise CheckpointError("the file is a pickle, but not a torch checkpoint; expected what torch.save writes")
    if header[1] != _STREAM_PROTOCOL:
        raise CheckpointError(f"expected torch's stream protocol {_STREAM_PROTOCOL}, got {_shown(header[1])}")
    # The storages stand after the pickle that uses them: the first pass finds where it ends and what they are.
    declared: dict[str, tuple[np.dtype[Any], int]] = {}

    def declare(key: str, dtype: np.dtype[Any], count: int) -> None:
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise CheckpointError(f"storage {_shown(key)} is used with two types or sizes; refused")

    start = position
    _, position = _value(data, start, declare, _most_steps(data))
    keys, position = _value(data, position, _no_storage, 1000 + 3 * len(declared))
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(declared):
        raise CheckpointError("the list of storages in the file differs from those of its tensors; the file is damaged")
    storages: dict[str, Array] = {}
    for key in keys:
        dtype, count = declared[key]
        size = count * dtype.itemsize
        stated, raw = view[position : position + 8], view[position + 8 : position + 8 + size]
        if len(stated) < 8 or len(raw) < size or int.from_bytes(stated, "little") != count:
            raise CheckpointError(
                f"storage {_shown(key)} should hold {count:,} items in {size:,} bytes at byte {position:,}, "
                f"{len(raw):,} are there; the file is cut off or damaged, fetch it again"
            )
        storages[key] = _items(raw, dtype, key)
        position += 8 + size
    if position != len(data):
        raise CheckpointError(f"{len(data) - position:,} bytes are left over at the end of the file; it is damaged")
    return _value(data, start, lambda key, *_: storages[key], _most_steps(data))[0]


def write_torch(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of a file from which ``torch.load(..., weights_only=True)`` gives `arrays` as an ordered state dict.

    The same arrays give the same bytes. Storages are aligned to 64 bytes, as torch aligns them for memory mapping.

    Raises:
        CheckpointError: a dtype that torch has no storage for.
    """
    codes = {dtype: name for name, dtype in _STORAGES.items() if dtype != BFLOAT16}
    pickle = bytearray(b"\x80\x02ccollections\nOrderedDict\n)R(")
    records: list[tuple[str, bytes | memoryview]] = []
    for index, (name, array) in enumerate(arrays.items()):
        array = np.asarray(array)
        little = array.dtype.newbyteorder("<")
        if little not in codes:
            raise CheckpointError(f"{name} is {array.dtype}; torch has storages for {', '.join(map(str, codes))}")
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        pickle += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n("
        pickle += b"(" + _text("storage") + f"ctorch\n{codes[little]}\n".encode() + _text(str(index)) + _text("cpu")
        pickle += _int(array.size) + b"tQ" + _int(0)
        pickle += b"(" + b"".join(map(_int, array.shape)) + b"t(" + b"".join(map(_int, strides)) + b"t"
        pickle += b"\x89ccollections\nOrderedDict\n)RtR"
        content = np.ascontiguousarray(array, dtype=little).reshape(-1).view(np.uint8)
        records.append((f"data/{index}", content.data))
    pickle += b"u."
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for name, record in (("data.pkl", bytes(pickle)), ("byteorder", b"little"), *records, ("version", b"3\n")):
            info = zipfile.ZipInfo(f"archive/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            padding = -(output.tell() + 30 + len(info.filename) + 4) % 64
            info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            archive.writestr(info, record)
    return output.getvalue()


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _int(number: int) -> bytes:
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)

"""``.safetensors`` files, read and written with the safetensors package."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from osnet.checkpoint.arrays import BFLOAT16, MAX_DIMS, Array, array_from, readable_name
from osnet.errors import CheckpointError

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_PLAIN = [dtype for dtype in _DTYPES.values() if dtype != BFLOAT16]


def read_safetensors(data: bytes) -> dict[str, Array]:
    """Every tensor of a ``.safetensors`` file, in the file's order.

    Raises:
        CheckpointError: a damaged file, a dtype that is not a plain number, or a header too large for its file.
    """
    from safetensors import SafetensorError, deserialize

    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise CheckpointError("the .safetensors file is cut off inside its header or damaged; fetch it again")
    most = _most_header_bytes(len(data))
    if length > most:
        raise CheckpointError(
            f"the .safetensors file has a header of {length:,} bytes, more than the {most:,} that its size allows"
        )
    try:
        tensors = deserialize(data)
    except SafetensorError as error:
        reason = ascii(str(error))[:200]
        raise CheckpointError(f"the .safetensors file is damaged ({reason}); fetch it again") from error
    arrays: dict[str, Array] = {}
    # The library returns them in the order of a hash table, which differs between processes.
    header = json.loads(data[8 : 8 + length])
    for name, tensor in sorted(tensors, key=lambda item: (header[item[0]]["data_offsets"], item[0])):
        readable_name(name.encode(), "a tensor of the .safetensors file")
        dtype = _DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise CheckpointError(f"{name} has the dtype {tensor['dtype']}; expected one of {', '.join(_DTYPES)}")
        if len(tensor["shape"]) > MAX_DIMS:
            raise CheckpointError(f"{name} has more than {MAX_DIMS} dimensions")
        arrays[name] = array_from(memoryview(tensor["data"]), dtype, tuple(tensor["shape"]), name)
    return arrays


def _most_header_bytes(file_bytes: int) -> int:
    """A header can take 40 times its size in memory; an entry has 100 bytes, and the entries of an OSNet 100 KB."""
    return 262_144 + file_bytes // 32


def write_safetensors(arrays: Mapping[str, Array]) -> bytes:
    """Return the ``.safetensors`` file with `arrays`. The same arrays give the same bytes.

    Raises:
        CheckpointError: a dtype that the format does not have.
    """
    from safetensors.numpy import save

    plain: dict[str, Array] = {}
    for name, array in arrays.items():
        little = np.asarray(array).dtype.newbyteorder("<")
        if little not in _PLAIN:
            raise CheckpointError(f"{name} is {little}; a .safetensors file holds {', '.join(map(str, _PLAIN))}")
        # The package takes the address of the data, which must be contiguous; a scalar must stay one.
        plain[name] = np.array(array, dtype=little, order="C")
    return bytes(save(plain, metadata={"format": "np"}))

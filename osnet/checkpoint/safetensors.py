"""``.safetensors`` files, read and written with the safetensors package.

The package has no numpy type for bfloat16; such tensors are widened to float32 (exact).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osnet.errors import CheckpointError

Array = NDArray[Any]

MAX_HEADER_BYTES = 16 << 20
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
    "BF16": np.dtype("<u2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


def read_safetensors(data: bytes) -> dict[str, Array]:
    """Every tensor of a ``.safetensors`` file, in the file's order.

    Raises:
        CheckpointError: a damaged file, or a dtype that is not a plain number.
    """
    from safetensors import SafetensorError, deserialize

    if len(data) < 8 or int.from_bytes(data[:8], "little") > min(MAX_HEADER_BYTES, len(data) - 8):
        raise CheckpointError("the .safetensors file is cut off inside its header, or is none; fetch it again")
    try:
        tensors = deserialize(data)
    except SafetensorError as error:
        raise CheckpointError(f"the .safetensors file is damaged ({error}); fetch it again") from error
    arrays: dict[str, Array] = {}
    # The library gives them in the order of a hash table, another one in each process.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    for name, tensor in sorted(tensors, key=lambda item: header[item[0]]["data_offsets"]):
        dtype = _DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise CheckpointError(f"{name} has the dtype {tensor['dtype']}; known are {', '.join(_DTYPES)}")
        raw = tensor["data"]
        array: Array = np.frombuffer(raw, dtype).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16":
            wide = array.astype("<u4")
            wide <<= 16
            array = wide.view("<f4")
        elif tensor["dtype"] == "BOOL" and (array.view(np.uint8) > 1).any():
            raise CheckpointError(f"{name} is BOOL and holds bytes other than 0 and 1")
        array.flags.writeable = False
        arrays[name] = array
    return arrays


def write_safetensors(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of a ``.safetensors`` file with `arrays`. The same arrays give the same bytes.

    Raises:
        CheckpointError: a dtype that the format does not have.
    """
    from safetensors.numpy import save

    plain: dict[str, Array] = {}
    for name, array in arrays.items():
        little = np.asarray(array).dtype.newbyteorder("<")
        if little not in _DTYPES.values():
            raise CheckpointError(
                f"{name} is {little}; a .safetensors file holds {', '.join(map(str, _DTYPES.values()))}"
            )
        # The package takes the address of the data: it must be contiguous, and a scalar stays one.
        plain[name] = np.array(array, dtype=little, order="C")
    return bytes(save(plain, metadata={"format": "np"}))

"""Writes the files beside it with torch (2.13 wrote the committed ones): python make.py

zip.pth and stream.pth hold the same value in torch's two formats; expected.npz the arrays that torch has for it.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def tensors() -> OrderedDict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    return OrderedDict(
        {
            "module.conv.weight": torch.nn.Parameter(torch.randn(2, 3, 1, 1, generator=generator)),
            "module.bn.num_batches_tracked": torch.tensor(7),
            "transposed": base.t(),
            "row": base[1],
            "column": base[:, 2],
            "block": base[1:3, 2:5],
            "stepped": base[::2, ::3],
            "last": base[3, 5],
            "empty": torch.zeros(0, 3),
            "half": torch.randn(3, generator=generator).half(),
            "bfloat16": torch.randn(3, generator=generator).bfloat16(),
            "double": torch.randn(3, generator=generator).double(),
            "long": torch.arange(-2, 3),
            "int": torch.arange(-2, 3, dtype=torch.int32),
            "short": torch.arange(-2, 3, dtype=torch.int16),
            "char": torch.arange(-2, 3, dtype=torch.int8),
            "byte": torch.arange(5, dtype=torch.uint8),
            "bool": torch.tensor([True, False, True]),
        }
    )


def value() -> dict[str, object]:
    named = tensors()
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1, amsgrad=True)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5])
    parameter.grad = torch.ones(2)
    optimizer.step()
    scheduler.step()
    return {
        "state_dict": named,
        "epoch": 12,
        "rank1": np.float64(0.625),
        "counts": [np.int64(-3), np.float32(1.5), np.bool_(True)],
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "bytes": b"\x00\xff",
        "text": "Zürich",
        "large": 2**70,
        "nothing": None,
    }


def main() -> None:
    for name, new in (("zip.pth", True), ("stream.pth", False)):
        torch.save(value(), HERE / name, _use_new_zipfile_serialization=new)
    plain = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in tensors().items()
    }
    np.savez(HERE / "expected.npz", **plain)


if __name__ == "__main__":
    main()

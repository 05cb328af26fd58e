"""Damage to files, the same for the same random numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence


def damaged(raw: bytes, choose: random.Random, pieces: Sequence[bytes]) -> bytes:
    """`raw` after one to six changes: bits, bytes, cuts, copies, and `pieces` that may mean something there."""
    data = bytearray(raw)
    for _ in range(choose.choice((1, 1, 1, 2, 3, 6))):
        place = choose.randrange(len(data) + 1)
        action = choose.randrange(7)
        if action == 0 and place < len(data):
            data[place] ^= 1 << choose.randrange(8)
        elif action == 1 and place < len(data):
            data[place] = choose.randrange(256)
        elif action == 2:
            del data[place : place + choose.choice((1, 1, 2, 4, 8, 30))]
        elif action == 3:
            data[place:place] = choose.choice(pieces)
        elif action == 4:
            piece = choose.choice(pieces)
            data[place : place + len(piece)] = piece
        elif action == 5:
            start = choose.randrange(len(data) + 1)
            data[place:place] = data[start : start + choose.choice((1, 4, 16, 64))]
        elif choose.randrange(4) == 0:
            del data[place:]
    return bytes(data)

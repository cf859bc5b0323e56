"""Seeds and permutations: the only randomness of the data path, all hashed from names."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

ORDER_VERSION = 1
"""Version of the row order, part of every seed and state; increased whenever the order changes."""


def hash_seed(*parts: str | int) -> int:
    """A 128-bit seed from names and numbers, never from a position in a list.

    So adding or reordering sources does not change the order inside each source.
    """
    text = json.dumps([ORDER_VERSION, *parts], ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def permutation(length: int, *parts: str | int) -> NDArray[np.int64]:
    """A permutation of `range(length)` that is a pure function of `parts`: int64 [length].

    It sorts raw PCG64 output, which numpy guarantees to be stable. `Generator.permutation` may
    change between numpy versions (NEP 19), and nodes may have different versions.
    """
    draws = np.random.PCG64(hash_seed(*parts)).random_raw(length)
    return np.argsort(draws, kind="stable").astype(np.int64)

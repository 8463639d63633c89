"""Counter-based random numbers: every draw is a pure function of (seed, index, purpose).

Resuming, the number of workers and the number of processes therefore cannot change what is drawn.
"""

from __future__ import annotations

import zlib

import numpy as np


def rng_for(seed: int, index: int, purpose: str) -> np.random.Generator:
    """An independent numpy generator for one purpose ("pair", "noise" ...) of one sample.

    Args:
        seed: the run's seed, any non-negative integer.
        index: the global sample index (0, 1, 2 ... over the whole run).
        purpose: a name; different names give independent streams.
    """
    key = np.array([seed, zlib.crc32(purpose.encode())], np.uint64)
    counter = np.array([0, 0, 0, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))

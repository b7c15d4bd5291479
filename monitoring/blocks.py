"""Weekly blocks: whole weeks counted back from an end, and seeded samples of them, all of one size.

A block is the unit of every alarm. What follows from blocks stands in `limits` and `thresholds`.
"""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.statistics import Values
from perennial.spec.operations import Monitoring

PROBABILITY = "probability"
START = "block"
"""Column of the stored blocks that holds the begin of a row's block."""


def blocks_of(time: NDArray[np.datetime64], end: datetime, spec: Monitoring, seed: int) -> dict[datetime, NDArray[np.intp]]:
    """A sample of each whole block, counted back from the end, that has rows enough; by the block's begin, oldest first.

    Args:
        time: UTC time of each row, microseconds.
        end: end of the newest block, exclusive.
        spec: length of a block and rows of a sample.
        seed: of the samples.

    Returns:
        Positions of `block_rows` rows, increasing.
    """
    length = timedelta(days=spec.window_days)
    newest = np.datetime64(end.replace(tzinfo=None), "us")
    number = (newest - np.timedelta64(1, "us") - time) // np.timedelta64(length)
    found: dict[datetime, NDArray[np.intp]] = {}
    for back in sorted(set(number.tolist()), reverse=True):
        rows = np.flatnonzero(number == back)
        if back >= 0 and len(rows) >= spec.block_rows:
            found[end - (back + 1) * length] = sample(rows, spec.block_rows, seed, int(back))
    return found


def sample(rows: NDArray[np.intp], size: int, *seed: int) -> NDArray[np.intp]:
    """`size` of the rows, drawn without replacement, in their order.

    >>> sample(np.arange(10), 3, 0).tolist() == sample(np.arange(10), 3, 0).tolist()
    True
    """
    return np.sort(np.random.default_rng(seed).choice(rows, size=size, replace=False))


def values_of(frame: pd.DataFrame, name: str) -> Values:
    """A dataset's column as the statistics read it."""
    series = frame[name]
    if series.dtype == object:
        return np.array(series.where(series.notna(), None), dtype=object)
    return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def joined(samples: list[Values]) -> Values:
    """The samples as one."""
    if samples[0].dtype == object:
        return np.concatenate([np.asarray(sample, dtype=np.object_) for sample in samples])
    return np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples])

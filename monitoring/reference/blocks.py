"""Weekly blocks: whole weeks counted back from an end, and seeded samples of them, all of one size.

A block is the unit of every alarm. What follows from blocks stands in `limits` and `thresholds`.
"""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.reference.statistics import Values
from perennial.spec.operations import Monitoring

PROBABILITY = "probability"
START = "block"
"""Column of the stored blocks that holds the begin of a row's block."""


MAX_ROWS = 1000
"""Rows of a block where the traffic allows it: more make no limit tighter, weeks differ more than such samples do."""
MIN_ROWS = 50
"""Rows below which shares and distances say nothing."""
ROOM = 0.8
"""Share of a weak window's rows that a block takes: a window with somewhat fewer is judged all the same."""
WEAK = 0.2
"""Share of the training's windows that have fewer rows than a weak one."""


def block_rows(time: NDArray[np.datetime64], start: datetime, end: datetime, spec: Monitoring) -> int:
    """Rows of a block: what the spec says, else what most windows of the training had; never fewer than 50.

    Args:
        time: UTC time of each row that is labelled, microseconds.
        start: begin of the first day.
        end: end of the last day, exclusive.
        spec: length of a window, and rows of a block where the team decides.
    """
    if spec.block_rows is not None:
        return spec.block_rows
    length = timedelta(days=spec.window_days)
    whole = int((end - start) // length)
    if not whole:
        return MIN_ROWS
    newest = np.datetime64(end.replace(tzinfo=None), "us")
    number = (newest - np.timedelta64(1, "us") - time) // np.timedelta64(length)
    rows = np.bincount(number[(number >= 0) & (number < whole)].astype(np.intp), minlength=whole)
    return int(np.clip(ROOM * np.quantile(rows, WEAK), MIN_ROWS, MAX_ROWS))


def blocks_of(time: NDArray[np.datetime64], end: datetime, days: int, size: int, seed: int) -> dict[datetime, NDArray[np.intp]]:
    """A sample of each whole block, counted back from the end, that has rows enough; by the block's begin, oldest first.

    Args:
        time: UTC time of each row, microseconds.
        end: end of the newest block, exclusive.
        days: length of a block.
        size: rows of a sample.
        seed: of the samples.

    Returns:
        Positions of `size` rows, increasing.
    """
    length = timedelta(days=days)
    newest = np.datetime64(end.replace(tzinfo=None), "us")
    number = (newest - np.timedelta64(1, "us") - time) // np.timedelta64(length)
    samples: dict[datetime, NDArray[np.intp]] = {}
    for back in sorted(set(number.tolist()), reverse=True):
        rows = np.flatnonzero(number == back)
        if back >= 0 and len(rows) >= size:
            samples[end - (back + 1) * length] = sample(rows, size, seed, int(back))
    return samples


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

"""Labels that are spoilt on purpose, to see what the gates make of it."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.spec.model import Model


def shuffle_labels(sources: Path, model: Model, start: datetime, end: datetime, seed: int) -> int:
    """Shuffle the labels of requests in [start, end) among these, in place; returns how many.

    What the labels of a broken join look like: every value plausible, none where it belongs.

    Args:
        sources: folder of the sources; its labels are written anew.
        model: names requests and labels.
        start: begin, UTC.
        end: end, exclusive.
        seed: of the shuffle.
    """
    spec = model.spec
    labels, requests = (pd.read_parquet(sources / f"{source}.parquet") for source in (spec.label.source, spec.requests.source))
    is_inside = requests["event_timestamp"].between(start, end, inclusive="left")
    is_shuffled = labels[spec.requests.id].isin(requests.loc[is_inside, spec.requests.id]).to_numpy()
    values = labels[spec.label.column].to_numpy().copy()
    values[is_shuffled] = np.random.default_rng(seed).permutation(values[is_shuffled])
    shuffled = labels.assign(**{spec.label.column: values})
    shuffled.to_parquet(sources / f"{spec.label.source}.parquet", index=False, coerce_timestamps="us")
    return int(is_shuffled.sum())

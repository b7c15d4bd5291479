"""Whether the traffic of a model is enough for its windows to be judged, before anything is trained."""

from datetime import datetime, timedelta
from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute

from feature_repo.sources import TIME, opened
from monitoring.reference.blocks import MIN_ROWS, ROOM, WEAK
from monitoring.reference.limits import MIN_BLOCKS
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.settings import Settings
from perennial.spec.model import Model

LOOKED_AT = 26
"""Newest windows of the requests that are counted: half a year of weeks."""


def blindness(settings: Settings, model: Model, now: datetime) -> tuple[str, ...]:
    """What no window of the model could be judged by, by the traffic that its requests show; a sentence each.

    None where the traffic is enough, and where there are no requests yet. That requests cannot be read is a sentence too: nothing
    is known of their traffic.

    Args:
        settings: where the requests are.
        model: the spec.
        now: the real time; no request from after it is counted.
    """
    spec = model.spec.monitoring
    if not spec.columns:
        return ("monitoring.columns names no column: no drift can be seen",)
    try:
        rows = rows_by_window(settings, model, now)
    except (DataError, PlatformError) as error:
        return (f"not known: whether the traffic is enough for windows of {spec.window_days} days to be judged: {error}",)
    if rows is None:
        return ()
    sentences = []
    weak, days = float(np.quantile(rows, WEAK)), spec.window_days
    needed = MIN_ROWS if spec.block_rows is None else spec.block_rows
    if weak < needed:
        whole = ceil(days * needed / ROOM / weak) if weak else None
        longer = f"monitoring.window_days: {whole}" if whole else "longer windows"
        smaller = f", or leave monitoring.block_rows out ({spec.block_rows} is set)" if weak >= MIN_ROWS else ""
        sentences.append(
            f"one of five windows of {days} days has at most {weak:,.0f} requests, and {needed:,} are needed to "
            f"judge its columns; write {longer}{smaller}"
        )
    if len(rows) < MIN_BLOCKS:
        sentences.append(
            f"the requests cover {len(rows)} whole windows of {days} days; with fewer than {MIN_BLOCKS} in the training no "
            "false alarm rate can be claimed, and no column alarms"
        )
    return tuple(sentences)


def rows_by_window(settings: Settings, model: Model, now: datetime) -> list[int] | None:
    """Requests in each of the newest whole windows of the source, newest first; None where there are none until `now`.

    Raises:
        DataError: the source cannot be read.
        PlatformError: it does not answer.
    """
    try:
        with opened(settings.source(model.spec.requests.source)) as dataset:
            until = pyarrow.compute.field(TIME) <= pa.scalar(now, pa.timestamp("us", "UTC"))
            times = dataset.to_table(columns=[TIME], filter=until).column(TIME)
            newest = pyarrow.compute.max(times).as_py()
    except NotFoundError:
        return None
    if newest is None:
        return None
    moments = np.asarray(times.drop_null().cast("timestamp[us]", safe=False).to_numpy(), dtype="datetime64[us]")
    length = np.timedelta64(timedelta(days=model.spec.monitoring.window_days))
    back = (moments.max() - moments) // length
    counts = np.bincount(back[back <= LOOKED_AT].astype(np.intp), minlength=1)
    whole = counts[: max(1, len(counts) - 1)]  # the oldest is cut by the begin of the source
    return [int(count) for count in whole]

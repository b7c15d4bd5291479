"""Checks of a window's data: what broken data looks like. Each has its own limit and needs no statistics.

A column that differs is drift (`drift`); one that is gone, empty, out of range or full of new categories is broken, and so is a
window with too few rows or stale views. Broken data trains no model.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal

import numpy as np

from monitoring.reference.acceptance import ROOM, widened
from monitoring.reference.statistics import Values, present
from monitoring.windows import LoggedWindow
from perennial.loop.decision import AcceptedCheck
from perennial.loop.window import Check
from perennial.prediction_log.rows import STALE
from perennial.versions.contract import Contract
from perennial.versions.thresholds import ColumnLimits, Thresholds

MIN_ROWS = 50
"""Rows from which shares are judged: three nulls of ten say nothing."""
EMPTY = 0.999
"""Share of nulls from which a column that is not watched counts as lost. Most are missing now and then, with the season."""
SLACK = 0.5
"""How far beyond the training's range values may lie, as a share of its width. A season's growth goes a little beyond, and is
drift; another unit goes far beyond, and is broken."""
MIN_WINDOWS = 2
"""Windows that a volume is held against at least."""

NOTHING: Mapping[tuple[str, str], Sequence[AcceptedCheck]] = {}

Name = Literal["missing column", "nulls", "new categories", "range", "volume", "stale"]


def check(
    logged: LoggedWindow,
    usual_rows: Sequence[int],
    contract: Contract,
    thresholds: Thresholds | None,
    *,
    min_volume_share: float,
    max_stale_share: float,
    accepted: Mapping[tuple[str, str], Sequence[AcceptedCheck]] = NOTHING,
) -> tuple[Check, ...]:
    """The checks of a window that failed, and that of its volume.

    Args:
        logged: the window.
        usual_rows: predictions of the newest windows before it that were not broken.
        contract: of the version that answered most of it.
        thresholds: of that version; without them no column is checked for its values.
        min_volume_share: fewest rows, as a share of the median of the windows before.
        max_stale_share: largest share of rows for which a view was stale.
        accepted: by check and subject, what a person said is no fault.
    """
    checks = [volume(logged, usual_rows, min_volume_share, [check.value for check in accepted.get(("volume", ""), ())])]
    if len(logged.frame) >= MIN_ROWS:
        texts = {column.name for column in contract.columns if column.dtype == "string"}
        watched = set() if thresholds is None else {column.column for column in thresholds.columns}
        limits = {} if thresholds is None else {limit.column: widened(limit, accepted) for limit in thresholds.limits}
        names = [*(column.name for column in contract.columns), *limits]
        for name in dict.fromkeys(names):
            if ("missing column", name) in accepted:
                continue
            limit = limits.get(name)
            is_text = name in texts or (limit is not None and limit.categories is not None)
            checks += check_column(name, logged.values(name, is_text), limit, name in watched)
        for view in views_of(logged):
            most = max([max_stale_share, *(check.value + ROOM for check in accepted.get(("stale", view), ()))])
            checks += [stale for stale in [stale_view(logged, view, most)] if stale.failed]
    return tuple(checks)


def check_column(name: str, values: Values | None, limits: ColumnLimits | None, is_watched: bool) -> list[Check]:
    """The checks of a column that failed; one that is not watched must only be there and not be empty.

    >>> limits = ColumnLimits(column="a", max_null_share=0.2, low=0.0, high=1.0, categories=None, max_new_share=0.05)
    >>> [failed.name for failed in check_column("a", np.array([50.0, 70.0, np.nan]), limits, True)]
    ['nulls', 'range']
    >>> check_column("a", np.array([0.5, 0.7]), limits, True)
    []
    >>> check_column("a", np.array([1.2, 1.4]), limits, True)
    []
    >>> [bool(check_column("a", np.array([0.5, *[np.nan] * empty]), limits, False)) for empty in (9, 9999)]
    [False, True]

    Args:
        name: of the column.
        values: of the window; None when the log has no such column.
        limits: what is allowed; None when nothing is known.
        is_watched: whether its nulls and values are checked, and not only that it is there and not empty.
    """
    if values is None:
        return [_check("missing column", name, 1.0, 0.0, f"{name} is not in the log any more")]
    if limits is None:
        return []
    held = present(values)
    checks = []
    nulls = 1 - len(held) / len(values)
    allowed = limits.max_null_share if is_watched else max(limits.max_null_share, EMPTY)
    if nulls > allowed:
        sentence = f"{nulls:.1%} of {name} are missing, at most {allowed:.1%} are allowed"
        checks.append(_check("nulls", name, nulls, allowed, sentence))
    if not is_watched or not len(held):
        return checks
    name_of: Name
    if limits.categories is not None:
        categories = set(limits.categories)
        new = [str(value) for value in held if str(value) not in categories]
        share, name_of, what = len(new) / len(held), "new categories", f"were never seen in the training, as {_most(new)}"
    elif limits.low is not None and limits.high is not None and held.dtype != object:
        numbers = np.asarray(held, dtype=np.float64)
        slack = SLACK * (limits.high - limits.low)
        share = float(np.mean((numbers < limits.low - slack) | (numbers > limits.high + slack)))
        what = f"are far outside {limits.low:g} to {limits.high:g}, the range of the training"
        name_of = "range"
    else:
        return checks
    if share > limits.max_new_share:
        sentence = f"{share:.1%} of {name} {what}; at most {limits.max_new_share:.1%} are allowed"
        checks.append(_check(name_of, name, share, limits.max_new_share, sentence))
    return checks


def _most(values: Sequence[str]) -> str:
    """The most frequent value, quoted; empty without values."""
    return repr(max(sorted(set(values)), key=values.count)) if values else ""


def volume(logged: LoggedWindow, usual_rows: Sequence[int], min_share: float, accepted: Sequence[float] = ()) -> Check:
    """Whether the window has rows enough. One with gaps never fails: its rows were there and are lost.

    Args:
        logged: the window.
        usual_rows: predictions of the newest windows before it that were not broken: a broken one says nothing of what is usual.
        min_share: fewest rows, as a share of their median, or of fewer rows that a person accepted.
        accepted: rows that a person said are no fault.
    """
    rows = len(logged.frame)
    usual = median(usual_rows) if len(usual_rows) >= MIN_WINDOWS else 0.0
    limit = min_share * min([usual, *accepted])
    failed = rows < limit and not logged.has_gaps
    against = (
        f"the median of the {len(usual_rows)} windows before is {usual:g}" if usual else "too few windows lie before it to say"
    )
    against += f"; {min(accepted):g} were accepted" if accepted else ""
    sentence = f"{rows:,} predictions; {against}"
    if rows < limit:
        because = f"{logged.lost:,} rows are known to be lost" if logged.lost else "segments of its time are damaged"
        sentence += f", at least {limit:g} are expected" + (f", but {because}" if logged.has_gaps else "")
    return _check("volume", "", float(rows), float(limit), sentence, failed)


def views_of(logged: LoggedWindow) -> list[str]:
    """The views that were not fresh for some row."""
    return [str(name).removeprefix(STALE) for name in logged.frame.columns if str(name).startswith(STALE)]


def stale_view(logged: LoggedWindow, view: str, max_share: float) -> Check:
    """Whether a view was stale for too many rows: a source or its materialisation has stopped. Unknown keys are not stale."""
    staleness = logged.frame[STALE + view]
    share = float((staleness.notna() & (staleness != "missing")).mean())
    sentence = f"view {view} was stale for {share:.1%} of the predictions, at most {max_share:.1%} are allowed"
    return _check("stale", view, share, max_share, sentence, share > max_share)


def _check(name: Name, subject: str, value: float, limit: float, sentence: str, failed: bool = True) -> Check:
    return Check(name=name, subject=subject, value=value, limit=limit, failed=failed, sentence=sentence + ".")

"""Pictures of a model in service, window by window, as PNG on one common time axis. How a picture is made stands in `plots`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from perennial.evaluation.estimate import Estimate
from perennial.loop.window import WindowRecord
from perennial.reports.run_plots import BLUE, GREY, INK, LEGEND, ORANGE, png

if TYPE_CHECKING:
    from perennial.reports.service_page import History

GREEN, PALE = "#009E73", "#BBBBBB"
PANELS = {"auc": "AUC", "log_loss": "log loss", "utility": "utility"}
"""Metrics of the first picture, with the label of each panel."""
MAX_MARKS = 10
"""Most dates along an axis: more would touch each other."""
MAX_RATIO = 2.0
"""From here on drift is as dark as can be: so many times its threshold."""
CELLS = ListedColormap(["#F4F8FB", "#D6E6F2", "#A9CBE4", "#6FA8D3", "#2F7FB8", "#08519C"])
"""Drift from none to `MAX_RATIO` times the threshold; equally light for all eyes, printed in grey too."""

TITLES = {
    "performance": "How good it was, window by window",
    "decisions": "Who had the traffic, and what was decided",
    "columns": "What differed from the four weeks before",
    "labels": "How much was asked, and how much never got a label",
}
"""Title of each picture, in plain words, by name."""


def draw(history: "History") -> dict[str, bytes]:
    """PNG bytes by name; a picture that has nothing to show is left out.

    Args:
        history: a model with at least one window.
    """
    pictures: dict[str, bytes] = {}
    if any(record.performance and record.performance.metrics for record in history.windows):
        pictures["performance"] = performance(history)
    pictures["decisions"] = decisions(history)
    if any(record.measurement.columns for record in history.windows):
        pictures["columns"] = columns(history)
    pictures["labels"] = labels(history)
    return pictures


def performance(history: "History") -> bytes:
    """AUC, log loss and utility of what was served with intervals, beside the frozen baseline."""

    def paint(panels: Sequence[Axes]) -> None:
        for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
            served = [(record, record.performance.metrics.get(name)) for record in history.windows if record.performance]
            frozen = [(record, record.performance.frozen.get(name)) for record in history.windows if record.performance]
            _series(axes, frozen, ORANGE, "D", "the frozen baseline", shift=0.5)
            _series(axes, served, BLUE, "o", "what was served", shift=0.0)
            axes.set_ylabel(f"{label}\nper 1,000" if name == "utility" else label)
            _changes(axes, history)
        _time(panels, history)
        panels[0].legend(loc="best", ncols=2, **LEGEND)

    return png(TITLES["performance"], paint, (9.0, 7.2), panels=len(PANELS))


def _series(
    axes: Axes, found: Sequence[tuple[WindowRecord, Estimate | None]], colour: str, marker: str, label: str, shift: float
) -> None:
    """Estimates with their intervals at the middle of their windows, moved by so many days."""
    points = [(record, estimate) for record, estimate in found if estimate is not None]
    if not points:
        return
    positions = [_middle(record) + shift for record, _ in points]
    values = [estimate.value for _, estimate in points]
    low = [max(0.0, estimate.value - estimate.low) for _, estimate in points]
    high = [max(0.0, estimate.high - estimate.value) for _, estimate in points]
    axes.errorbar(
        positions,
        values,
        yerr=[low, high],
        color=colour,
        fmt=marker,
        markersize=4,
        capsize=2,
        elinewidth=0.9,
        linewidth=0,
        label=label,
    )
    for begin, end in _runs(positions, (points[0][0].end - points[0][0].start).days):
        axes.plot(positions[begin:end], values[begin:end], color=colour, linewidth=1.2, alpha=0.6)


def _runs(places: Sequence[float], days: int) -> list[tuple[int, int]]:
    """Stretches of neighbouring windows, as [begin, end) of positions: a line over a gap would claim what was not measured.

    >>> _runs([0.0, 7.0, 21.0], 7)
    [(0, 2), (2, 3)]
    """
    breaks = [at for at in range(1, len(places)) if places[at] - places[at - 1] > 1.5 * days]
    edges = [0, *breaks, len(places)]
    return list(pairwise(edges))


def decisions(history: "History") -> bytes:
    """Champions as bars, incidents as hatched bars, decisions as marks, on one time axis."""
    lanes = ["champion", "incident", "retrain", "fix data", "leave"]
    marks = {"retrain": ("^", BLUE), "fix data": ("X", ORANGE), "leave": ("o", GREY)}

    def paint(panels: Sequence[Axes]) -> None:
        (axes,) = panels
        for at, reign in enumerate(history.reigns):
            begin, end = max(reign.since, history.begin), reign.until or history.until
            if begin >= end:
                continue
            axes.barh(
                0, (end - begin).total_seconds() / 86400, left=_number(begin), height=0.6, color=(BLUE, GREEN)[at % 2], alpha=0.35
            )
            axes.text(_number(begin) + 0.5, 0, f"version {reign.number}", va="center", fontsize=8, color=INK)
        for incident in history.incidents:
            begin, end = incident.opened, incident.closed or history.until
            length = max((end - begin).total_seconds() / 86400, 1.0)
            axes.barh(1, length, left=_number(begin), height=0.6, color="white", edgecolor=ORANGE, hatch="///")
        for kind, (marker, colour) in marks.items():
            decisions_of_kind = [
                decision for decision in history.decisions if decision.kind == kind and decision.made >= history.begin
            ]
            positions = [_number(decision.made) for decision in decisions_of_kind]
            axes.plot(
                positions,
                [lanes.index(kind)] * len(decisions_of_kind),
                marker,
                color=colour,
                markersize=8,
                linestyle="none",
                clip_on=False,
            )
            for decision, position in zip(decisions_of_kind, positions, strict=True):
                if decision.reason:
                    axes.text(
                        position, lanes.index(kind) - 0.28, decision.reason, ha="center", va="bottom", fontsize=8, color=INK
                    )
        axes.set_yticks(range(len(lanes)), lanes)
        axes.set_ylim(len(lanes) - 0.5, -0.6)
        _time(panels, history)

    return png(TITLES["decisions"], paint, (9.0, 3.4))


def columns(history: "History") -> bytes:
    """For each watched column and window, its drift as a share of the threshold: the darker, the larger; alarms have a mark."""
    names = list(dict.fromkeys(column.column for record in history.windows for column in record.measurement.columns))

    def paint(panels: Sequence[Axes]) -> None:
        (axes,) = panels
        axes.grid(visible=False)
        for record in history.windows:
            begin, end = _number(record.start), _number(record.end)
            broken = {check.subject for check in record.measurement.broken}
            alarms = {column.column for column in record.measurement.alarms}
            for column in record.measurement.columns:
                row = names.index(column.column)
                is_judged = column.window_over_window is not None and column.threshold
                share = min((column.window_over_window or 0.0) / column.threshold / MAX_RATIO, 1.0) if column.threshold else 0.0
                axes.barh(
                    row,
                    end - begin,
                    left=begin,
                    height=0.9,
                    color=CELLS(share) if is_judged else "white",
                    edgecolor="white" if is_judged else PALE,
                    hatch="" if is_judged else "....",
                    linewidth=0.5,
                )
                sign = "!" if column.column in alarms else "×" if column.column in broken else ""
                colour = "white" if sign == "!" else ORANGE
                axes.text((begin + end) / 2, row, sign, ha="center", va="center", fontsize=9, fontweight="bold", color=colour)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        shown = [(0.0, "no drift"), (0.5, "at the threshold"), (1.0, f"{MAX_RATIO:g} times it, or more")]
        keys = [Patch(facecolor=CELLS(share), edgecolor=GREY, label=label) for share, label in shown]
        keys.append(Patch(facecolor="white", edgecolor=PALE, hatch="....", label="not judged"))
        axes.legend(
            handles=keys, loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.3 / len(names)), ncols=4, fontsize=8, **LEGEND
        )
        _time(panels, history)

    return png(TITLES["columns"], paint, (9.0, 1.8 + 0.32 * max(len(names), 3)))


def labels(history: "History") -> bytes:
    """Predictions of each window, and the share of them without a label when it matured."""

    def paint(panels: Sequence[Axes]) -> None:
        count_axes, share_axes = panels
        for record in history.windows:
            middle, width = _middle(record), 0.9 * (record.end - record.start).days
            count_axes.bar(middle, record.measurement.rows, width, color=BLUE, alpha=0.7)
            count_axes.bar(middle, record.measurement.lost, width, record.measurement.rows, color=ORANGE, hatch="///")
            share = unlabelled(record)
            if share is not None:
                share_axes.bar(middle, 100 * share, width, color=GREY)
        count_axes.set_ylabel("predictions\n(hatched: lost)")
        share_axes.set_ylabel("without a label,\npercent")
        for axes in panels:
            axes.set_ylim(bottom=0)
            _changes(axes, history)
        _time(panels, history)

    return png(TITLES["labels"], paint, (9.0, 4.4), panels=2)


def unlabelled(record: WindowRecord) -> float | None:
    """Share of a matured window's predictions that had no label then; none before, and without predictions."""
    if record.performance is None:
        return None
    counts = record.performance.labels
    return counts.missing / (counts.arrived + counts.missing) if counts.arrived + counts.missing else None


def _changes(axes: Axes, history: "History") -> None:
    """A dotted line at every change of the champion."""
    for reign in history.reigns:
        if history.begin < reign.since < history.until:
            axes.axvline(_number(reign.since), color=INK, linestyle=":", linewidth=1)


def _time(panels: Sequence[Axes], history: "History") -> None:
    """The time axis is the same in every picture: a mark at each month, of a short time at each window."""
    marks = _months(history.begin, history.until)
    if len(marks) < 3:
        marks = [record.start for record in history.windows]
    marks = marks[:: 1 + len(marks) // MAX_MARKS]
    for axes in panels:
        axes.set_xlim(_number(history.begin), _number(history.until))
        axes.set_xticks([_number(mark) for mark in marks], [f"{mark:%Y-%m-%d}" for mark in marks], fontsize=8)


def _months(begin: datetime, end: datetime) -> list[datetime]:
    """The beginnings of months in [begin, end].

    >>> [f"{month:%m-%d}" for month in _months(datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC))]
    ['04-01', '05-01', '06-01']
    """
    firsts = [datetime(year, month, 1, tzinfo=UTC) for year in range(begin.year, end.year + 1) for month in range(1, 13)]
    return [first for first in firsts if begin <= first <= end]


def _middle(record: WindowRecord) -> float:
    return _number(record.start + (record.end - record.start) / 2)


def _number(moment: datetime) -> float:
    """A moment on the time axis: days since 1970."""
    return moment.timestamp() / 86400

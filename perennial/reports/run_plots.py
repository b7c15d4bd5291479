"""Pictures of a run's findings as PNG: from stored curves only, the same bytes when drawn again, readable by the colour-blind.

Drawn by matplotlib's objects, not by its process-wide state.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from perennial.evaluation.curves import Curve
from perennial.evaluation.estimate import Estimate
from perennial.evaluation.metrics import BlockEvaluation, ErrorAnalysis
from perennial.reports.formats import comparator, count, interval, percent
from perennial.reports.run_tables import ranked, worst
from perennial.training.recipe import ColumnImportance

if TYPE_CHECKING:
    from perennial.versions.findings import CandidateSummary, Findings, Judgement

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#222222"
"""Colours that the colour-blind tell apart (Okabe and Ito 2008); each series has a shape of its own too."""

LEGEND: dict[str, Any] = {"framealpha": 0.9, "edgecolor": "white"}
"""Style of every legend: what lies under it does not disturb."""

Corner = Literal["lower right", "upper right"]
"""Where a legend stands."""

LONGEST = 48
"""Most letters of a group's name in a picture."""

MAX_BARS = 20
"""Most columns or groups of one picture."""

TITLES = {
    "roc": "How well it ranks: true cases found against false alarms",
    "precision_recall": "How many of its alarms are true, as more true cases are found",
    "reliability": "Does it come true as often as it says?",
    "importance": "What it looks at: how much worse it gets when a column is shuffled",
    "segments": "Where it is better and where it is worse",
}
"""Title of each picture, in plain words, by name."""


def draw(judgement: "Judgement | None", candidate: "CandidateSummary | None") -> dict[str, bytes]:
    """PNG bytes by name; a picture that has nothing to show is left out.

    Args:
        judgement: what was found on the evaluation block, if the run came to it.
        candidate: what is stored of the candidate, if the run came to it.
    """
    pictures: dict[str, bytes] = {}
    if judgement is not None:
        evaluation, analysis = judgement.evaluation, judgement.analysis
        if evaluation.roc.x:
            pictures["roc"] = roc(evaluation)
        if evaluation.precision_recall.x:
            pictures["precision_recall"] = precision_recall(evaluation)
        if evaluation.reliability.x:
            pictures["reliability"] = reliability(evaluation)
        if analysis.declared or worst(analysis):
            pictures["segments"] = segments(analysis)
    if candidate is not None and candidate.search.importances:
        pictures["importance"] = importance(candidate.search.importances)
    return pictures


def write(findings: "Findings", folder: Path) -> dict[str, Path]:
    """The pictures are files `<name>.png` in a folder; their paths by their role in a version, `plot_<name>`.

    Args:
        findings: what a run found.
        folder: where; made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for name, content in draw(findings.judgement, findings.candidate).items():
        path = paths[f"plot_{name}"] = folder / f"{name}.png"
        path.write_bytes(content)
    return paths


def roc(evaluation: BlockEvaluation) -> bytes:
    """False alarms against true cases found, with the diagonal of a coin."""
    names = ("share of the other cases that raise a false alarm", "share of the true cases that are found")
    model = _model("AUC", evaluation.metrics.get("auc"))
    return _ranking(TITLES["roc"], evaluation.roc, names, model, ("by chance", (0.0, 1.0)), "lower right")


def precision_recall(evaluation: BlockEvaluation) -> bytes:
    """True cases found against the share of alarms that are true, with the line of a random order."""
    names = ("share of the true cases that are found (recall)", "share of the alarms that are true (precision)")
    model, rate = _model("average precision", evaluation.metrics.get("average_precision")), evaluation.label_rate
    chance = (f"by chance: {percent(rate)}", (rate, rate))
    return _ranking(TITLES["precision_recall"], evaluation.precision_recall, names, model, chance, "upper right")


def _model(metric: str, estimate: Estimate | None) -> str:
    """What the legend calls the model's curve."""
    return "the model" if estimate is None else f"the model: {metric} {interval(estimate)}"


def _ranking(
    title: str, curve: Curve, names: tuple[str, str], model: str, chance: tuple[str, tuple[float, float]], legend: Corner
) -> bytes:
    """A curve of shares in the unit square, with the line of chance.

    Args:
        title: of the picture.
        curve: of the model.
        names: of the axes, horizontal first.
        model: name of the model's curve.
        chance: name of the line of chance, and its heights at 0 and at 1.
        legend: corner of the legend.
    """
    name, heights = chance

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], heights, color=GREY, linestyle="--", label=name)
        axes.plot(curve.x, curve.y, color=BLUE, linewidth=2, label=model)
        axes.set(xlabel=names[0], ylabel=names[1], xlim=(0, 1), ylim=(0, 1.005))
        axes.set_aspect("equal")
        axes.legend(loc=legend, **LEGEND)

    return _png(title, paint)


def reliability(evaluation: BlockEvaluation) -> bytes:
    """Stated probability against what came true in equally filled bins, with the decision threshold."""

    def paint(axes: Axes) -> None:
        curve = evaluation.reliability
        largest = max((*curve.x, *curve.y, evaluation.threshold), default=1.0)
        limit = min(1.0, 1.1 * largest)
        axes.plot([0, limit], [0, limit], color=GREY, linestyle="--", label="as often as it says")
        axes.axvline(evaluation.threshold, color=ORANGE, linestyle=":", label=f"it acts from {percent(evaluation.threshold)} on")
        axes.plot(curve.x, curve.y, color=BLUE, marker="o", linewidth=1.5, label="the model, a tenth of the cases each")
        axes.set(xlabel="probability that it says", ylabel="share of positives", xlim=(0, limit), ylim=(0, limit))
        axes.set_aspect("equal")
        axes.legend(loc="upper left", **LEGEND)

    return _png(TITLES["reliability"], paint)


def importance(importances: tuple[ColumnImportance, ...]) -> bytes:
    """Increase of the log loss when a column is shuffled, largest first, with two standard errors."""
    shown = ranked(importances)[:MAX_BARS]

    def paint(axes: Axes) -> None:
        for selected, colour, marker, label in ((True, BLUE, "o", "kept"), (False, ORANGE, "X", "left out")):
            positions = [position for position, column in enumerate(shown) if column.selected is selected]
            if positions:
                means = [shown[position].mean for position in positions]
                errors = [2 * shown[position].standard_error for position in positions]
                axes.errorbar(means, positions, xerr=errors, color=colour, fmt=marker, markersize=6, capsize=3, label=label)
        axes.axvline(0, color=GREY, linewidth=1)
        _names(axes, [column.column for column in shown])
        axes.set_xlabel("increase of the log loss, ± 2 standard errors")
        axes.legend(loc="lower right", **LEGEND)

    note = f"the first {MAX_BARS} of {len(importances)} columns" if len(importances) > MAX_BARS else ""
    return _png(TITLES["importance"], paint, bars=len(shown), note=note)


def segments(analysis: ErrorAnalysis) -> bytes:
    """Excess of the log loss over the comparator's by group: declared ones first, then those that the search found worse."""
    declared = sorted(analysis.declared, key=lambda group: (-group.excess.value, group.name))
    searched = [(group, True) for group in worst(analysis)]
    shown = [(group, False) for group in declared[: MAX_BARS - len(searched[:MAX_BARS])]] + searched[:MAX_BARS]

    def paint(axes: Axes) -> None:
        for from_search, colour, marker, label in (
            (False, BLUE, "o", "named in the spec"),
            (True, ORANGE, "D", "found by searching"),
        ):
            positions = [position for position, (_, by_search) in enumerate(shown) if by_search is from_search]
            if not positions:
                continue
            excess = [shown[position][0].excess for position in positions]
            low = [100 * max(0.0, estimate.value - estimate.low) for estimate in excess]
            high = [100 * max(0.0, estimate.high - estimate.value) for estimate in excess]
            values = [100 * estimate.value for estimate in excess]
            against = f"{label}, against {comparator(shown[positions[0]][0].comparator)}"
            axes.errorbar(values, positions, xerr=[low, high], color=colour, fmt=marker, markersize=6, capsize=3, label=against)
        axes.axvline(0, color=GREY, linewidth=1)
        _names(axes, [f"{_short(group.name)}  ({count(group.rows)} rows)" for group, _ in shown])
        axes.set_xlabel("difference of the log loss in the same rows, in percent\nleft of 0 is better, right of 0 is worse")
        axes.legend(loc="best", **LEGEND)

    groups = len(declared) + len(searched)
    note = f"the worst {len(shown)} of {groups} groups" if len(shown) < groups else ""
    return _png(TITLES["segments"], paint, bars=len(shown), note=note)


def _names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _png(title: str, paint: Callable[[Axes], None], bars: int | None = None, note: str = "") -> bytes:
    size = (6.4, 5.6) if bars is None else (8.0, 1.8 + 0.3 * max(bars, 3))

    def paint_one(axes: Sequence[Axes]) -> None:
        paint(axes[0])
        if note:
            axes[0].set_title(note, color=INK, fontsize=9)

    return png(title, paint_one, size)


def png(title: str, paint: Callable[[Sequence[Axes]], None], size: tuple[float, float], panels: int = 1) -> bytes:
    """A picture of panels one below the other on a common horizontal axis, as PNG.

    Args:
        title: stands above all.
        paint: draws on the panels, from the top.
        size: width and height in inches.
        panels: how many.
    """
    figure = Figure(figsize=size, dpi=120, facecolor="white", layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    FigureCanvasAgg(figure)
    all_axes = [axes for row in figure.subplots(panels, 1, sharex=True, squeeze=False) for axes in row]
    for axes in all_axes:
        axes.grid(color="#E3E3E3", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    paint(all_axes)
    figure.suptitle(title, color=INK, fontsize=11, fontweight="bold")
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()

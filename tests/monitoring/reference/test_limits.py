"""The step's alarm rate is the stated one: simulated on independent references, with and without week effects.

The simulation computes Evidently's statistics for many references at once; that they are Evidently's is shown here too.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from monitoring.reference.limits import MIN_BLOCKS, POWERS, drift_limit, neighbours, prediction_limit, rate_per_test
from monitoring.reference.statistics import Method, statistic

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int, float], Floats]

REFERENCES = 240
"""Independent references of each cell: windows that share one share its error."""
WINDOWS = 4
"""Windows that are held against each reference."""
ROWS = 500
"""Of each sample."""
COLUMNS = 20
STATED = 1 / 13
"""One window a quarter, over all columns and the loss."""


def normal(random: np.random.Generator, references: int, blocks: int, effect: float) -> Floats:
    weeks = random.normal(0, effect, (references, blocks, 1))
    drawn: Floats = random.standard_normal((references, blocks, ROWS), dtype=np.float32) + weeks
    return drawn


def heavy(random: np.random.Generator, references: int, blocks: int, effect: float) -> Floats:
    """Log-normal: a week effect multiplies."""
    drawn: Floats = np.exp(normal(random, references, blocks, effect))
    return drawn


def categories(random: np.random.Generator, references: int, blocks: int, effect: float) -> Floats:
    """Counts of twelve categories, the rarest 1/37: [references, blocks, categories]."""
    logits = np.log(1 / np.arange(1, 13)) + random.normal(0, effect, (references, blocks, 12))
    share = np.exp(logits)
    return random.multinomial(ROWS, share / share.sum(axis=-1, keepdims=True)).astype(np.float64)


def wasserstein(now: Floats, before: Floats) -> Floats:
    """Of samples [references, rows] and pools [references, k · rows], sorted: the mean distance of their quantiles."""
    times = before.shape[-1] // now.shape[-1]
    distance: Floats = np.abs(np.repeat(now, times, axis=-1) - np.sort(before, axis=-1)).mean(axis=-1) / before.std(axis=-1)
    return distance


def mean(now: Floats, before: Floats) -> Floats:
    distance: Floats = np.abs(now.mean(axis=-1) - before.mean(axis=-1)) / before.std(axis=-1)
    return distance


def jensenshannon(now: Floats, before: Floats) -> Floats:
    """Of counts [references, categories]."""
    p, q = now / now.sum(axis=-1, keepdims=True), before / before.sum(axis=-1, keepdims=True)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(p > 0, p * np.log(p / middle), 0) + np.where(q > 0, q * np.log(q / middle), 0)
    distance: Floats = np.sqrt(np.maximum(total.sum(axis=-1), 0) / 2)
    return distance


def psi(now: Floats, before: Floats) -> Floats:
    """Of counts [references, categories]."""

    def filled(counts: Floats) -> Floats:
        share = counts / counts.sum(axis=-1, keepdims=True)
        least = np.where(share > 0, share, 1.0).min(axis=-1, keepdims=True)
        return np.where(share == 0, np.where(least <= 0.0001, least / 10**6, 0.0001), share)

    p, q = filled(now), filled(before)
    index: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    return index


SIMULATED: dict[str, tuple[Method, Draw, Callable[[Floats, Floats], Floats]]] = {
    "wasserstein, normal": ("wasserstein", normal, wasserstein),
    "wasserstein, log-normal": ("wasserstein", heavy, wasserstein),
    "mean, normal": ("mean", normal, mean),
    "jensenshannon, categories": ("jensenshannon", categories, jensenshannon),
    "psi, categories": ("psi", categories, psi),
}
"""Each stands for four of the twenty columns."""


def steps(name: str, blocks: int, effect: float, seed: int) -> tuple[Floats, Floats]:
    """Steps between the blocks of references, and steps of windows after them: [blocks, references], [windows, references]."""
    method, draw, compute = SIMULATED[name]
    random = np.random.default_rng(seed)
    drawn = draw(random, REFERENCES, blocks + WINDOWS, effect)
    if method == "wasserstein":
        drawn = np.sort(drawn, axis=-1)

    def step(place: int, others: list[int]) -> Floats:
        if draw is categories:
            return compute(drawn[:, place], drawn[:, others].sum(axis=1))
        return compute(drawn[:, place], drawn[:, others].reshape(REFERENCES, -1))

    reference = [step(place, neighbours(place)) for place in range(blocks)]
    after = [step(place, list(range(place - 4, place))) for place in range(blocks, blocks + WINDOWS)]
    return np.stack(reference), np.stack(after)


@pytest.mark.parametrize("rows", [50, 100])
def test_small_blocks_carry_their_limits(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setitem(globals(), "ROWS", rows)
    test_the_realised_alarm_rate_is_near_the_stated_one(13, 0.05)


@pytest.mark.parametrize("blocks", [8, 13, 26])
@pytest.mark.parametrize("effect", [0.0, 0.05, 0.1], ids=["rows alone", "small week effects", "week effects"])
def test_the_realised_alarm_rate_is_near_the_stated_one(blocks: int, effect: float) -> None:
    rate = rate_per_test(1.0, 7, COLUMNS + 1)
    alarmed = np.zeros((WINDOWS, REFERENCES), dtype=bool)
    for number in range(COLUMNS):
        name = list(SIMULATED)[number % len(SIMULATED)]
        reference, after = steps(name, blocks, effect, 1000 * blocks + number)
        alarmed |= after > drift_limit(reference, SIMULATED[name][0], rate)
    realised = float(alarmed.mean()) / STATED
    assert 0.5 <= realised <= 1.5, f"{realised:.2f} times the stated rate"


def test_a_test_of_rows_alarms_in_nearly_every_window() -> None:
    """What the blocks are for: a threshold from independent rows knows nothing of weeks."""
    rate = rate_per_test(1.0, 7, COLUMNS + 1)
    rows, _ = steps("mean, normal", 200, 0.0, 1)
    limit = np.quantile(rows, 1 - rate)
    _, after = steps("mean, normal", 8, 0.1, 2)
    assert (after > limit).mean() > 20 * rate


@pytest.mark.parametrize("name", SIMULATED)
def test_the_simulated_statistic_is_evidentlys(name: str) -> None:
    method, draw, compute = SIMULATED[name]
    drawn = draw(np.random.default_rng(3), 1, 5, 0.1)[0]
    if draw is categories:
        samples = [np.repeat(np.array(list("abcdefghijkl"), dtype=object), counts.astype(int)) for counts in drawn]
        found = statistic(samples[0], np.concatenate(samples[1:]), method)
        expected = float(compute(drawn[0], drawn[1:].sum(axis=0)))
    else:
        found = statistic(drawn[0].astype(np.float64), drawn[1:].ravel().astype(np.float64), method)
        expected = float(compute(np.sort(drawn[0].astype(np.float64)), drawn[1:].ravel().astype(np.float64)))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_limit_is_higher_with_fewer_blocks_and_with_a_lower_rate() -> None:
    few, many = (steps("mean, normal", blocks, 0.1, 5)[0] for blocks in (MIN_BLOCKS, 26))
    assert np.median(drift_limit(few, "mean", 0.004)) > np.median(drift_limit(many, "mean", 0.004))
    assert (drift_limit(many, "mean", 0.001) > drift_limit(many, "mean", 0.01)).all()


@pytest.mark.parametrize("method", ["wasserstein", *POWERS])
def test_a_column_that_never_changes_has_a_limit(method: Method) -> None:
    assert 0 <= float(drift_limit(np.zeros(8), method, 0.004)) < 1e-6


def test_a_prediction_limit_is_kept_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).normal(0, 1, (10, 200_000))
    assert float((drawn[9] > prediction_limit(drawn[:9], 0.05)).mean()) == pytest.approx(0.05, abs=0.002)

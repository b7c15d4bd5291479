"""What is to be done about a model: leave it, train it again, or have its data repaired. Pure: everything it rests on is given.

Broken data comes first, because a training on it would be worse than none. A reason to train may be held back: by an open
incident, a run in flight, the time since the last training, or the budget. A decision always says what would have changed it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring.unjudged import late_labels, unjudged, unlimited
from perennial.loop.decision import DecisionDraft, DecisionState, Fact, Incident, Reason
from perennial.loop.window import SAME_FINDINGS, WindowRecord, lasting_findings
from perennial.spec.model import Model

QUARTER = timedelta(days=91)
SHOWN_GAPS = 3
"""Things that were not judged, of which a decision's sentence speaks; its facts have all."""


@dataclass(frozen=True)
class ServingVersion:
    """What has the traffic."""

    digest: str
    number: int
    trained_until: datetime


@dataclass(frozen=True)
class Trained:
    """A training that came to its end, whatever it found."""

    now: datetime
    """The time for which it trained."""
    is_manual: bool
    """Whether a person asked for it: such a training holds no other back."""


@dataclass(frozen=True)
class Situation:
    """Everything that a decision rests on."""

    model: Model
    windows: tuple[WindowRecord, ...]
    """Every window that was ever measured, newest first, the new ones included."""
    measured: frozenset[datetime]
    """Begins of those that were measured for this decision."""
    judged: frozenset[datetime]
    """Begins of those whose performance was judged for this decision."""
    champion: ServingVersion | None
    trainings: tuple[Trained, ...]
    incidents: tuple[Incident, ...]
    """The open ones."""
    in_flight: str
    """What is being trained, or is about to be; empty when nothing is."""
    now: datetime
    set_aside: str = ""
    """What of the log was set aside for its time, in a sentence; empty where nothing was."""


@dataclass(frozen=True)
class Broken:
    """What an incident is to say: a new one, or more of one that is open."""

    seen: str
    subjects: tuple[str, ...]
    excluded_from: datetime
    excluded_until: datetime


@dataclass(frozen=True)
class Conclusion:
    """A decision, and what becomes of incidents."""

    draft: DecisionDraft
    state: DecisionState
    broken: Broken | None
    """Opens an incident, or extends the open ones; None when no new window was broken."""
    clean: int
    """Clean windows since the last broken one, of the incidents that are open or opened now."""
    closes: bool
    """Whether these are enough to close them."""


@dataclass(frozen=True)
class Finding:
    """A reason that holds, or does not, in words."""

    holds: bool
    sentence: str
    lacks: str
    """What would make it hold; empty when it does, and when it never can."""
    without: str
    """What would keep it from holding; empty when it does not."""
    facts: tuple[Fact, ...]


def decide(situation: Situation) -> Conclusion:
    """What is to be done.

    Order: broken data; then the first reason of *degraded*, *drift*, *scheduled* that holds and that the spec lists, unless
    something holds it back; else nothing.
    """
    broken = broken_in(situation)
    clean = clean_windows(situation)
    needed = situation.model.spec.monitoring.clean_windows
    closes = (broken is not None or bool(situation.incidents)) and clean >= needed
    if broken is not None:
        return Conclusion(with_gaps(situation, _fix(situation, broken)), "done", broken, clean, closes)
    held_by_incident = bool(situation.incidents) and not closes
    draft, state = _train_or_leave(situation, held_by_incident)
    return Conclusion(with_gaps(situation, draft), state, None, clean, closes)


def with_gaps(situation: Situation, draft: DecisionDraft) -> DecisionDraft:
    """The decision, and what it does not rest on: what could not be judged is never taken for quiet."""
    records = [record for record in reversed(situation.windows) if record.start in situation.judged]
    gaps = [*unjudged(_new(situation)), *unlimited(records), *late_labels(records)]
    if situation.set_aside:
        gaps.append(Fact(name="set aside", value=None, limit=None, sentence=f"{situation.set_aside}."))
    if not gaps:
        return draft
    sentences = " ".join(gap.sentence for gap in gaps[-SHOWN_GAPS:])
    more = f" So it is in {len(gaps) - SHOWN_GAPS} more cases." if len(gaps) > SHOWN_GAPS else ""
    return draft.model_copy(
        update={"sentence": f"{draft.sentence} Not judged: {sentences}{more}", "facts": (*draft.facts, *gaps)}
    )


def broken_in(situation: Situation) -> Broken | None:
    """What was broken in the new windows."""
    windows = [record for record in _new(situation) if record.measurement.broken]
    if not windows:
        return None
    failed = [check for record in windows for check in record.measurement.broken]
    first = windows[0]
    sentences = list(dict.fromkeys(check.sentence for check in first.measurement.broken))
    more = f" So were {len(windows) - 1} later windows." if len(windows) > 1 else ""
    return Broken(
        seen=f"In the window of {_day(first.start)}: {' '.join(sentences)}{more}",
        subjects=tuple(sorted({check.subject for check in failed})),
        excluded_from=first.start,
        excluded_until=windows[-1].end,
    )


def clean_windows(situation: Situation) -> int:
    """Windows without a failed check since the last broken one. One without a prediction shows nothing and does not count."""
    count = 0
    for record in situation.windows:
        if record.measurement.broken:
            break
        count += record.measurement.rows > 0
    return count


def _new(situation: Situation) -> list[WindowRecord]:
    """The new windows, oldest first."""
    return [record for record in reversed(situation.windows) if record.start in situation.measured]


def _fix(situation: Situation, broken: Broken) -> DecisionDraft:
    failed = [check for record in _new(situation) for check in record.measurement.broken]
    facts = tuple(Fact(name=check.title, value=check.value, limit=check.limit, sentence=check.sentence) for check in failed)
    subjects = ", ".join(subject or "volume" for subject in broken.subjects)
    span = f"{_day(broken.excluded_from)} to {_day(broken.excluded_until)}"
    beside, more = _beside(situation)
    sentence = f"Fix the data ({subjects}): {broken.seen} Requests of {span} train no model."
    return DecisionDraft(
        kind="fix data",
        reason=None,
        sentence=" ".join([sentence, *_standing(situation), *beside]),
        otherwise=f"No failed check in the new windows; the nearest was {_nearest(facts)}.",
        facts=(*facts, *more),
    )


def _standing(situation: Situation) -> list[str]:
    """How old the incident is, what closing it does, and whether its finding looks like a change rather than a fault."""
    name, sentences = situation.model.name, []
    for incident in situation.incidents:
        days = (situation.now - incident.opened).days
        sentences.append(f"Incident {incident.number} is open since {_day(incident.opened)}: {days} days.")
    number = f" {situation.incidents[0].number}" if situation.incidents else ""
    accept = f"`perennial decisions accept-change {name}{number} --reason '…'`"
    if lasting := lasting_findings(situation.windows):
        sentences.append(
            f"The newest {SAME_FINDINGS} windows show the same ({', '.join(lasting)}), which looks like a change rather than a "
            f"fault: if the data are like this now, {accept} closes the incident, takes its requests in and makes a training due."
        )
    else:
        sentences.append(f"Closing the incident lets trainings begin and keeps its requests out of them; {accept} takes them in.")
    return sentences


def _beside(situation: Situation) -> tuple[list[str], tuple[Fact, ...]]:
    """What else holds while the data are broken, and its facts."""
    champion = situation.champion
    if champion is None:
        return [], ()
    findings = {reason: FINDINGS[reason](situation, champion) for reason in REASONS}
    holding = [f"{reason}: {finding.sentence}" for reason, finding in findings.items() if finding.holds]
    performances = (record.performance for record in situation.windows if record.measurement.champion == champion.digest)
    losses = [performance.loss for performance in performances if performance is not None and performance.loss is not None]
    degraded = sum(loss.degraded for loss in losses)
    if degraded:
        holding.append(f"the champion was degraded in {degraded} of its {len(losses)} judged windows.")
    facts = tuple(fact for finding in findings.values() if finding.holds for fact in finding.facts)
    return ([f"What else holds: {' '.join(holding)}"] if holding else []), facts


def _nearest(facts: Sequence[Fact]) -> str:
    """The failed check that was least beyond its limit."""

    def excess(fact: Fact) -> float:
        return abs((fact.value or 0.0) - (fact.limit or 0.0))

    nearest = min(facts, key=excess)
    return f"{nearest.name} with {nearest.value:g} where {nearest.limit:g} is the limit"


REASONS: tuple[Reason, ...] = ("degraded", "drift", "scheduled")


def _train_or_leave(situation: Situation, held_by_incident: bool) -> tuple[DecisionDraft, DecisionState]:
    spec = situation.model.spec.retraining
    if situation.champion is None:
        fact = Fact(name="champion", value=None, limit=None, sentence="No version has the traffic.")
        sentence = "Leave it: no version has the traffic, so there is nothing to judge."
        draft = DecisionDraft(kind="leave", reason=None, sentence=sentence, otherwise="A champion.", facts=(fact,))
        return draft, "done"
    findings = {reason: FINDINGS[reason](situation, situation.champion) for reason in REASONS}
    facts = tuple(fact for finding in findings.values() for fact in finding.facts)
    listed = [reason for reason in REASONS if reason in spec.reasons]
    reason = next((reason for reason in listed if findings[reason].holds), None)
    if reason is None:
        unlisted = [findings[other].sentence for other in REASONS if other not in listed and findings[other].holds]
        beside = f" Seen, but no reason to train by the policy: {' '.join(unlisted)}" if unlisted else ""
        sentence = f"Leave it: {_all_quiet(situation, listed)}{beside}"
        otherwise = (
            " ".join(findings[other].lacks for other in listed) or "A person asking: no other reason is listed in the spec."
        )
        return DecisionDraft(kind="leave", reason=None, sentence=sentence, otherwise=otherwise, facts=facts), "done"
    hold, until = _hold(situation, held_by_incident)
    if hold:
        fact = Fact(name="held", value=None, limit=None, sentence=hold)
        sentence = f"Leave it for now: it would be trained again ({reason}): {findings[reason].sentence} Held back: {hold}"
        return DecisionDraft(kind="leave", reason=None, sentence=sentence, otherwise=until, facts=(*facts, fact)), "done"
    draft = DecisionDraft(
        kind="retrain",
        reason=reason,
        sentence=f"Train again ({reason}): {findings[reason].sentence}",
        otherwise=f"It would have been left with {findings[reason].without}.",
        facts=facts,
    )
    return draft, "waits for a person" if spec.mode == "advisory" else "open"


def _all_quiet(situation: Situation, listed: Sequence[Reason]) -> str:
    windows = len(situation.measured)
    what = f"{windows} new windows, {len(situation.judged)} newly judged"
    return f"{what}; no reason ({', '.join(listed)}) holds." if listed else f"{what}; the policy trains only by hand."


def _degraded(situation: Situation, champion: ServingVersion) -> Finding:
    """Whether a newly judged window of the champion lost more than is usual."""
    losses = [
        (record, record.performance.loss)
        for record in situation.windows
        if record.start in situation.judged
        and record.measurement.champion == champion.digest
        and record.performance is not None
        and record.performance.loss is not None
    ]
    facts = tuple(
        Fact(name=f"log loss {_day(record.start)}", value=loss.value, limit=loss.bound, sentence=loss.sentence)
        for record, loss in losses
    )
    degraded = [(record, loss) for record, loss in losses if loss.degraded]
    if degraded:
        record, loss = degraded[0]
        sentence = f"in the window of {_day(record.start)} the model is degraded. {loss.sentence}"
        return Finding(True, sentence, "", f"a mean log loss of at most {loss.bound:.4f}", facts)
    bounded = [(loss.bound - loss.value, record, loss) for record, loss in losses if loss.bound is not None]
    if not bounded:
        lacks = "A training would be due with a judged window of the champion whose log loss is above its limit; none is new."
        return Finding(False, "", lacks, "", facts)
    _, record, loss = min(bounded, key=lambda found: found[0])
    nearest = f"the nearest is {loss.value:.4f} ({_day(record.start)})"
    return Finding(False, "", f"A training would be due with a mean log loss above {loss.bound:.4f}; {nearest}.", "", facts)


def _drift(situation: Situation, champion: ServingVersion) -> Finding:
    """Whether m of the newest n windows alarmed, one of them new. Windows that the champion was trained on do not count."""
    spec = situation.model.spec.retraining
    looked_at = [record for record in situation.windows if record.end > champion.trained_until][: spec.windows_considered]
    alarming = [record for record in looked_at if record.measurement.alarms]
    facts = tuple(
        Fact(
            name=f"drift {alarm.column} {_day(record.start)}",
            value=alarm.window_over_window,
            limit=alarm.threshold,
            sentence=alarm.sentence,
        )
        for record in alarming
        for alarm in record.measurement.alarms
    )
    lacks = (
        f"A training would be due with alarms in {spec.windows_required} of the newest {spec.windows_considered} windows; "
        f"there are alarms in {len(alarming)} of {len(looked_at)}."
    )
    is_new = any(record.start in situation.measured for record in alarming)
    holds = len(alarming) >= spec.windows_required and is_new
    columns = list(dict.fromkeys(alarm.column for record in alarming for alarm in record.measurement.alarms))
    sentence = f"{len(alarming)} of the newest {len(looked_at)} windows alarm ({', '.join(columns)})."
    if not holds:
        return Finding(False, "", lacks, "", facts)
    return Finding(True, sentence, "", f"alarms in fewer than {spec.windows_required} of them", facts)


def _scheduled(situation: Situation, champion: ServingVersion) -> Finding:
    """Whether the champion is as old as the spec allows."""
    most = situation.model.spec.retraining.max_age_days
    age = (situation.now - champion.trained_until) / timedelta(days=1)
    age_sentence = (
        f"The champion, version {champion.number}, was trained on data up to {_day(champion.trained_until)}: {age:.0f} days ago."
    )
    fact = Fact(
        name="age of the champion", value=round(age, 3), limit=None if most is None else float(most), sentence=age_sentence
    )
    if most is None:
        return Finding(False, "", "", "", (fact,))
    if age >= most:
        sentence = f"the champion is {age:.0f} days old; from {most} days on a new one is wanted."
        return Finding(True, sentence, "", f"a champion younger than {most} days", (fact,))
    due = champion.trained_until + timedelta(days=most)
    return Finding(False, "", f"A training would be due with an age of {most} days: on {_day(due)}.", "", (fact,))


FINDINGS: dict[Reason, Callable[[Situation, ServingVersion], Finding]] = {
    "degraded": _degraded,
    "drift": _drift,
    "scheduled": _scheduled,
}


def _hold(situation: Situation, held_by_incident: bool) -> tuple[str, str]:
    """What holds a training back, and what would have to change; empty when nothing does."""
    spec, now = situation.model.spec.retraining, situation.now
    if held_by_incident:
        numbers = ", ".join(str(incident.number) for incident in situation.incidents)
        closing = (
            "It closes after clean windows, or by `perennial decisions close`; then the training would be due. If the data are "
            "like this now: `perennial decisions accept-change`."
        )
        return f"incident {numbers} is open.", f"Broken data trains no model: incident {numbers} is open. {closing}"
    if situation.in_flight:
        return f"{situation.in_flight}.", "Its end: one training at a time."
    times = sorted(training.now for training in situation.trainings if not training.is_manual and training.now <= now)
    free = times[-1] + timedelta(days=spec.cool_down_days) if times else now
    if free > now:
        hold = f"the last training was on {_day(times[-1])}, and {spec.cool_down_days} days must pass: until {_day(free)}."
        return hold, f"A cool-down of less than {(now - times[-1]).days + 1} days, or waiting until {_day(free)}."
    recent = [time for time in times if time > now - QUARTER]
    if len(recent) >= spec.per_quarter:
        free = sorted(recent)[len(recent) - spec.per_quarter] + QUARTER
        hold = f"{len(recent)} trainings in the last 91 days, at most {spec.per_quarter} are allowed: until {_day(free)}."
        return hold, f"A budget of more than {spec.per_quarter} a quarter, or waiting until {_day(free)}."
    return "", ""


def _day(time: datetime) -> str:
    """A date.

    >>> from datetime import UTC
    >>> _day(datetime(2013, 4, 2, tzinfo=UTC))
    '2013-04-02'
    """
    return f"{time:%Y-%m-%d}"

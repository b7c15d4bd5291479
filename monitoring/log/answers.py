"""What a version answered before, by request: how a champion is judged that cannot be scored on new rows any more."""

from datetime import datetime
from functools import partial
from pathlib import Path

from monitoring.log.collect import collect_model, has_log, identifiers, load
from perennial.data import dataset
from perennial.data.dataset import DatasetInfo
from perennial.lifecycle.candidate import TrainedCandidate
from perennial.lifecycle.judgement import judge_candidate
from perennial.prediction_log.rows import FIELDS
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.versions.findings import Judgement


def judge(folder: Path, model: Model, trained: TrainedCandidate, settings: Settings, champion: str) -> Judgement:
    """Judge a candidate on the evaluation block; a champion that cannot be scored there by what it answered before.

    Args:
        folder: of the dataset.
        model: the spec.
        trained: the candidate.
        settings: where versions and the log are.
        champion: digest of the champion's version folder; empty when there is none.
    """
    answers = partial(answers_of, settings, model, champion)
    return judge_candidate(dataset.load(folder), model, trained, settings, champion, answers)


def answers_of(settings: Settings, model: Model, digest: str, info: DatasetInfo) -> dict[int | str, float]:
    """Probabilities that a version gave to requests of a dataset's evaluation block, by id; its first answers count.

    Args:
        settings: where the log is.
        model: the spec.
        digest: of the version.
        info: what the dataset is.

    Raises:
        PlatformError: the log cannot be read.
    """
    if not has_log(settings, model.name):
        return {}
    start, end, now = (datetime.fromisoformat(time) for time in (info.evaluation_start, info.end, info.now))
    collect_model(settings, model.name, now)
    frame = load(settings.prediction_tables(model.name), start, end)
    name = FIELDS + model.spec.requests.id
    if name not in frame:
        return {}
    answers = frame[(frame["version"] == digest) & frame["probability"].notna() & frame[name].notna()]
    probabilities: dict[int | str, float] = {}
    for identifier, probability in zip(identifiers(answers[name]), answers["probability"].tolist(), strict=True):
        if identifier is not None:
            probabilities.setdefault(identifier, float(probability))
    return probabilities

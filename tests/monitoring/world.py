"""A model that is served and watched: trained on fourteen weeks, then asked for more. Made by what makes real ones."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring.reference.thresholds import make_thresholds, write
from monitoring.windows import LoggedWindow, WindowLog
from perennial.data.dataset import Dataset, DatasetInfo, values_digest
from perennial.ledger import Ledger
from perennial.lifecycle.candidate import TrainedCandidate, train_candidate
from perennial.lifecycle.refit import Refitted, refit_candidate
from perennial.loop.rollout import Observation
from perennial.loop.window import Window
from perennial.prediction_log import LogRow, LogWriter
from perennial.settings import Settings
from perennial.spec.columns import Column
from perennial.spec.model import Model
from perennial.spec.read import read_text
from perennial.training.recipe import Recipe
from perennial.training.side_by_side import Power
from perennial.versions.contract import Contract
from perennial.versions.folder import publish

NAME = "parcel-late"
START = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday."""
END = START + timedelta(weeks=14)
PER_DAY = 60
WEEK = timedelta(weeks=1)
COLUMNS = (
    Column(name="road_speed", dtype="float", view="road"),
    Column(name="road_kind", dtype="string", view="road"),
    Column(name="weight", dtype="float", view=None),
    Column(name="express", dtype="bool", view=None),
)
RECIPE = Recipe(kind="logistic", parameters={"c": 0.1}, columns=tuple(column.name for column in COLUMNS))
SPEC = """
apiVersion: perennial.dev/v1alpha1
kind: Model
metadata: {name: parcel-late}
spec:
  owner: depot team
  description: Says which parcels will be late.
  objective:
    question: Will this parcel be late?
    action: Its customer is told.
    utility: {unit: points, true_positive: 3.0, false_positive: -1.0}
    success_criteria:
      - {name: ranks-well, metric: auc, at_least: 0.6, margin: 0.05, why: Below this nobody looks at it.}
  requests:
    source: parcels
    id: parcel_id
    fields: [{name: weight, dtype: float}, {name: express, dtype: bool}]
  features: {service: parcel_late}
  label: {source: arrivals, column: late, maturity_hours: 48, never: It was lost.}
  training:
    window: {kind: expanding}
    folds: {count: 2}
    candidates: [{kind: logistic, c: [0.1]}]
    calibration: {kind: sigmoid}
    seed: 3
  gates: {criteria: [ranks-well]}
  monitoring:
    criteria: [ranks-well]
    columns:
      - {name: road_speed, method: wasserstein}
      - {name: road_kind, method: jensenshannon}
      - {name: weight, method: wasserstein}
      - {name: express, method: mean}
      - {name: probability, method: wasserstein}
    block_rows: 300
    false_alarms_per_quarter: 0.25
  retraining: {reasons: [degraded, drift, scheduled, manual], max_age_days: 61}
"""


def model(**retraining: Any) -> Model:
    found = read_text(SPEC)
    changed = found.spec.retraining.model_copy(update=retraining)
    return found.model_copy(update={"spec": found.spec.model_copy(update={"retraining": changed})})


def requests_of(first: datetime, days: int, seed: int, per_day: int = PER_DAY) -> pd.DataFrame:
    """Requests with their features and what will come true; each week has an effect of its own."""
    random = np.random.default_rng(seed)
    rows = days * per_day
    time = pd.Timestamp(first) + pd.to_timedelta(np.sort(random.uniform(0, days * 86400, rows)).round(3), unit="s")
    week = np.asarray((time - pd.Timestamp(START)) // pd.Timedelta(WEEK), dtype=int)
    effect = random.normal(0, 0.05, week.max() + 1)[week]
    speed, weight = random.normal(50 + 10 * effect, 10), random.lognormal(1 + effect, 0.5)
    kind = random.choice(np.array(["city", "land", "motorway"], dtype=object), rows, p=[0.5, 0.3, 0.2])
    express = (random.uniform(size=rows) < 0.2).astype(float)
    logit = -1.2 - 0.1 * (speed - 50) + 0.8 * (kind == "city") - 0.9 * express + random.normal(0, 0.1, week.max() + 1)[week]
    return pd.DataFrame(
        {
            "parcel_id": np.arange(rows) + round(first.timestamp()),
            "event_timestamp": time.as_unit("us"),
            "road_speed": speed,
            "road_kind": kind,
            "weight": weight,
            "express": express,
            "late": random.uniform(size=rows) < 1 / (1 + np.exp(-logit)),
        }
    )


@dataclass(frozen=True)
class World:
    """A version, published and champion, and where its log is."""

    settings: Settings
    model: Model
    contract: Contract
    digest: str
    refitted: Refitted
    trained: TrainedCandidate
    frame: pd.DataFrame
    info: DatasetInfo

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.settings.ledger)

    def answer(self, requests: pd.DataFrame, version: str | None = None) -> None:
        """The requests are answered by the model and logged, with their ids."""
        write_log(self.settings.prediction_log(NAME), log_rows(self, requests, version or self.digest))

    def at(self, folder: Path) -> "World":
        """The same world in a copy of its folder, to be changed."""
        shutil.copytree(self.settings.project, folder, dirs_exist_ok=True)
        return replace(self, settings=Settings.from_environment({"PERENNIAL_PROJECT": str(folder)}))

    def publish_labels(self, requests: pd.DataFrame, hours: float = 10.0) -> None:
        """Labels known some hours after their request, added to those that are there."""
        path = Path(self.settings.source("arrivals"))
        path.parent.mkdir(parents=True, exist_ok=True)
        made = pd.DataFrame(
            {
                "parcel_id": requests["parcel_id"],
                "event_timestamp": requests["event_timestamp"] + pd.Timedelta(hours=hours),
                "late": requests["late"],
            }
        )
        before = [pd.read_parquet(path)] if path.exists() else []
        pd.concat([*before, made]).to_parquet(path, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)

    def window(self, number: int) -> Window:
        """The window of a week after the training, from 0."""
        return Window(start=END + number * WEEK, end=END + (number + 1) * WEEK)

    def logged(self, number: int) -> tuple[LoggedWindow, tuple[LoggedWindow, ...]]:
        """What the log holds of a week, and of the four before it."""
        window = self.window(number)
        log = WindowLog.read(self.settings, self.model, [window], window.end)
        return log.window(window), log.before(window)


def write_log(folder: Path, rows: Sequence[LogRow]) -> None:
    """One finished segment with these rows."""
    writer = LogWriter(folder, lambda: END.timestamp())
    writer.append(rows)
    writer.close()


def log_rows(world: World, requests: pd.DataFrame, version: str, stale: float = 0.0) -> list[LogRow]:
    """The rows that a server would log."""
    from perennial.data.matrix import to_matrix

    columns = [column for column in COLUMNS if column.name in requests]
    seen = requests.reindex(columns=[column.name for column in COLUMNS])
    seen["road_kind"] = seen["road_kind"].astype(object).where(seen["road_kind"].notna(), None)
    raw = world.refitted.model.predict_proba(to_matrix(seen, world.contract.columns))[:, 1]
    probability = world.contract.calibrator.apply(raw)
    random = np.random.default_rng(0)

    def given(row: Any, names: list[str]) -> dict[str, Any]:
        return {name: None if row[name] is None or row[name] != row[name] else row[name] for name in names}

    views, fields = ([column.name for column in columns if bool(column.view) == is_feature] for is_feature in (True, False))
    return [
        LogRow(
            prediction_id=f"{version[:4]}-{place}",
            time=row["event_timestamp"].timestamp(),
            version=version,
            keys={"road": 1},
            fields={**given(row, fields), "parcel_id": int(row["parcel_id"])},
            features=given(row, views),
            observed_at={"road": row["event_timestamp"].timestamp() - 60},
            stale={"road": "stale"} if random.uniform() < stale else {},
            probability=float(value),
            decision=bool(value >= world.contract.threshold),
        )
        for place, (row, value) in enumerate(zip(requests.to_dict("records"), probability, strict=True))
    ]


def make_world(folder: Path, spec: Model | None = None, per_day: int = PER_DAY) -> World:
    """The world, with one champion and nothing served yet."""
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})
    spec = spec or model()
    requests = requests_of(START, (END - START).days, 1, per_day)
    frame = requests.drop(columns="late")
    frame["label"] = requests["late"].astype("boolean")
    frame["label_known_at"] = frame["event_timestamp"] + pd.Timedelta(hours=10)
    info = DatasetInfo(
        digest=values_digest(frame),
        model=NAME,
        id_column="parcel_id",
        join_keys=("road",),
        columns=COLUMNS,
        service="parcel_late",
        service_digest="5" * 64,
        definitions_digest="6" * 64,
        now=(END + timedelta(days=2)).isoformat(),
        start=START.isoformat(),
        evaluation_start=(END - timedelta(days=28)).isoformat(),
        end=END.isoformat(),
        rows=len(frame),
        labelled=len(frame),
        rejected=0,
        views=(),
    )
    trained = train_candidate(Dataset(frame, info), spec, RECIPE.model_dump_json(), Power(), lambda _: None)
    refitted = refit_candidate(Dataset(frame, info), spec, trained, "1" * 64, 1)
    digest = publish_version(settings, spec, frame, info, trained, refitted)
    return World(settings, spec, refitted.contract, digest, refitted, trained, frame, info)


def publish_version(
    settings: Settings, spec: Model, frame: pd.DataFrame, info: DatasetInfo, trained: TrainedCandidate, refitted: Refitted
) -> str:
    """The version is in its folder, in the ledger, and champion."""
    made, name = settings.state / "made", spec.name
    refitted.write(made)
    trained.summary.write(made / "candidate.json")
    write(*make_thresholds(Dataset(frame, info), spec, trained, refitted.contract), made)
    roles = {"model": ".skops", "contract": ".json", "candidate": ".json", "thresholds": ".json", "blocks": ".parquet"}
    files = {role: made / f"{role}{suffix}" for role, suffix in roles.items()}
    published = publish(files, name, refitted.contract.run_key, settings.versions)
    now = END + timedelta(days=2)
    with Ledger.open(settings.ledger) as ledger:
        run = f"run-{refitted.contract.run_key[:4]}"
        ledger.start_run(run_id=run, model=name, mode="search", started=now, now=now, spec="s" * 64, folder=str(settings.runs))
        number, _ = ledger.add_version(
            model=name,
            run_key=refitted.contract.run_key,
            digest=published.digest,
            created=now,
            run_id=run,
            recipe=RECIPE,
            searched_at=now,
            trained_until=END,
        )
        ledger.finish_run(run, finished=now, outcome="registered", reason="", run_key="k", dataset="d")
        promote(ledger, number, published.digest, now)
    return published.digest


def promote(ledger: Ledger, number: int, digest: str, now: datetime) -> None:
    """The version has the traffic."""
    rollout = ledger.request_rollout(model=NAME, number=number, now=now, reason="It passed its gates.")
    proved = Observation(seen="checked", digest=digest, loaded=True, passed=True, time=now, reason="It was loaded.")
    rollout = ledger.move_rollout(rollout, proved)
    assert ledger.move_rollout(rollout, proved.model_copy(update={"seen": "promoted"})).state == "champion"

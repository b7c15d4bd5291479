"""What both servers of `benchmarks.serving` serve: 50,000 customers, 2 views, 20 features, gradient boosting of 100 trees.

The project is written into a folder, applied with Feast and filled; the version is registered as training would do it.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from feast import FeatureStore
from feast.repo_config import RepoConfig
from numpy.typing import NDArray

from feature_repo import store
from feature_repo.online_store.database import is_redis
from feature_repo.plan import resolve
from feature_repo.project import load
from perennial.data.rows import Rows
from perennial.evaluation.calibration import Calibrator
from perennial.settings import Settings
from perennial.spec.read import read
from perennial.training import model_file
from perennial.training.fitting import fit
from perennial.training.recipe import Recipe
from perennial.versions.contract import Contract
from perennial.versions.folder import publish
from serving.deployers.local import deploy
from tests.second_project import SPEC

CUSTOMERS = 50_000
VIEWS = ("account", "recent")
FEATURES = 10
"""Of each view."""

DEFINITIONS = f"""
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, UnixTimestamp

from feature_repo.sources import path

customer = Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.INT64)


def view(name):
    fields = [Field(name=f"{{name}}_{{number}}", dtype=Float64) for number in range({FEATURES})]
    observed = Field(name=f"{{name}}_observed_at", dtype=UnixTimestamp, tags={{"role": "observed_at"}})
    source = FileSource(name=name, path=path(name), timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=[customer], source=source, schema=[*fields, observed])


account, recent = view("account"), view("recent")
chargeback = FeatureService(name="chargeback", features=[account, recent])
"""


@dataclass(frozen=True)
class Shop:
    """Where it is, and what must be answered."""

    settings: Settings
    current: Path
    columns: tuple[str, ...]
    probability: NDArray[np.float64]
    """The model's answer by customer, from the values as they were written."""


def settings_of(folder: Path, online: str | None) -> Settings:
    """Settings of the project in a folder; its online store is a file unless the URL of a Redis is given."""
    return Settings.from_environment(
        {"PERENNIAL_PROJECT": str(folder)} | ({} if online is None else {"PERENNIAL_ONLINE_STORE": online})
    )


def make(folder: Path, online: str | None = None) -> Shop:
    """The project in `folder`, with the same online values in both stores and a version of its model."""
    now, random = pd.Timestamp.now(tz="UTC").floor("s"), np.random.default_rng(1)
    (folder / "models").mkdir(parents=True)
    spec = SPEC.replace("{view: pair,", "{view: recent,")
    (folder / "models" / "chargeback.yaml").write_text(spec.replace("segments: [shop_code]", "segments: []"))
    (folder / "feature_repo" / "definitions").mkdir(parents=True)
    (folder / "feature_repo" / "definitions" / "shop.py").write_text(DEFINITIONS)
    settings = settings_of(folder, online)
    Path(settings.sources).mkdir(parents=True)
    frames = {view: _frame(view, now, random) for view in VIEWS}
    for view, frame in frames.items():
        frame.head(10).to_parquet(settings.source(view), index=False, coerce_timestamps="us")
    store.apply(settings)
    for view, frame in frames.items():
        store.write_online(settings.online_store, view, frame)
    rival = feast_alone(settings)
    project = load(settings)
    rival.apply([*project.entities.values(), *project.views.values(), *project.services.values()])
    for view, frame in frames.items():
        rival.write_to_online_store(view, frame)
    values = np.concatenate([frames[view].filter(regex=r"_\d+$").to_numpy() for view in VIEWS], axis=1)
    return _register(settings, folder, values, random)


def feast_alone(settings: Settings) -> FeatureStore:
    """Feast with its own online store, SQLite or Redis as ours is: through its SDK it answers sooner than from our packed one.

    Ours is made to be read without Feast. A registry of its own, because a view belongs to one online store.
    """
    folder = settings.state / "feast-alone"
    folder.mkdir(exist_ok=True)
    online = {"type": "sqlite", "path": str(folder / "online.db")}
    if is_redis(settings.online_store):
        server = urlsplit(settings.online_store).netloc
        online = {"type": "redis", "connection_string": f"{server},db=1"}
    return FeatureStore(
        config=RepoConfig(
            project=settings.name,
            provider="local",
            registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}"},
            offline_store={"type": "feature_repo.asof.AsofOfflineStore"},
            online_store=online,
            entity_key_serialization_version=3,
            repo_path=settings.definitions.parent,
        )
    )


def _frame(view: str, now: pd.Timestamp, random: np.random.Generator) -> pd.DataFrame:
    values = {f"{view}_{number}": random.normal(size=CUSTOMERS) for number in range(FEATURES)}
    times = {f"{view}_observed_at": now, "event_timestamp": now}
    return pd.DataFrame({"customer_id": np.arange(CUSTOMERS), **values, **times})


def _register(settings: Settings, folder: Path, values: NDArray[np.float64], random: np.random.Generator) -> Shop:
    model = read(settings.models / "chargeback.yaml")
    plan = resolve(settings, model)
    columns = plan.features
    matrix = values[:20_000].astype(object)
    label = values[:20_000, :5].sum(axis=1) + random.normal(size=20_000) > 0
    time = np.datetime64("2024-01-01", "us") + np.arange(20_000)
    parameters = {"learning_rate": 0.1, "iterations": 100, "max_leaf_nodes": 31, "min_samples_leaf": 20, "l2": 0.0}
    recipe = Recipe(kind="gradient_boosting", parameters=parameters, columns=tuple(column.name for column in columns))
    fitted = fit(Rows(np.arange(20_000), matrix, label, time, time), recipe, columns, 1, 1)
    contract = Contract(
        model="chargeback",
        run_key="0" * 64,
        service=plan.service,
        service_digest=plan.service_digest,
        join_keys=tuple(key.name for key in plan.keys),
        columns=columns,
        freshness=model.spec.features.freshness,
        recipe=recipe,
        calibrator=Calibrator(kind="none"),
        threshold=0.5,
        dataset="0" * 64,
        trained_from="2024-01-01T00:00:00+00:00",
        trained_until="2024-02-01T00:00:00+00:00",
        seed=1,
        plan=plan,
    )
    files = {"model": folder / "model.skops", "contract": folder / "contract.json"}
    model_file.dump(fitted, files["model"])
    contract.write(files["contract"])
    version = publish(files, "chargeback", contract.run_key, settings.versions)
    deploy(folder / "current", version.path, 1)
    probability = fitted.predict_proba(values.astype(object))[:, 1]
    return Shop(settings, folder / "current", recipe.columns, np.asarray(probability, dtype=np.float64))

"""The point-in-time join: our offline store beside Feast's DuckDB store and a plain polars `join_asof`, on the same tables.

    python -m benchmarks.join [--rows 1000000] [--five-million] [--repeats 5] [--feast-repeats 1]

Three views with 20 features: `a` 50,000 users x 30 rows, `b` 50,000 users x 10, `c` 5,000 merchants x 100; entity rows uniform
over 30 days. Each engine runs in a process of its own, from a pandas frame and Parquet files to an Arrow table in the frame's
order; what it found is compared by a digest over the row ids and all 20 columns. Feast's own store is run once unless asked
otherwise: it takes minutes.
"""

import argparse
import gc
import hashlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

DAYS = 30
THREADS = 2
TTL = timedelta(days=2)
SEED = 7
ENTITIES = "entities.parquet"


@dataclass(frozen=True)
class View:
    """Shape of one feature view."""

    name: str
    key: str
    keys: int
    rows_per_key: int
    features: int

    @property
    def columns(self) -> list[str]:
        """Names of its features."""
        return [f"{self.name}{number}" for number in range(self.features)]


VIEWS = (View("a", "user_id", 50_000, 30, 8), View("b", "user_id", 50_000, 10, 6), View("c", "merchant_id", 5_000, 100, 6))
FEATURES = [column for view in VIEWS for column in view.columns]
ENGINES = {"ours": "ours (ASOF)", "feast": "Feast's duckdb", "polars": "polars join_asof"}


def write_tables(folder: Path, rows: int) -> None:
    """The views' Parquet files and the entity rows are in `folder`."""
    random = np.random.default_rng(SEED)
    for view in VIEWS:
        count = view.keys * view.rows_per_key
        frame = pd.DataFrame(
            {view.key: np.repeat(np.arange(view.keys), view.rows_per_key), "event_timestamp": moments(random, count)}
        )
        for column in view.columns:
            frame[column] = random.normal(size=count)
        # Two rows of one key at one time would have no newest.
        frame = frame.drop_duplicates([view.key, "event_timestamp"]).sort_values("event_timestamp")
        frame.to_parquet(folder / f"{view.name}.parquet", index=False, coerce_timestamps="us")
    entities = {"row_id": np.arange(rows), "event_timestamp": moments(random, rows)}
    entities |= {"user_id": random.integers(0, 50_000, rows), "merchant_id": random.integers(0, 5_000, rows)}
    pd.DataFrame(entities).to_parquet(folder / ENTITIES, index=False, coerce_timestamps="us")


def moments(random: np.random.Generator, count: int) -> "pd.Series[pd.Timestamp]":
    """Times uniform over the days, in microseconds UTC."""
    offsets = random.integers(0, DAYS * 86_400_000_000, count).astype("timedelta64[us]")
    return pd.Series(pd.DatetimeIndex(np.datetime64("2024-01-01", "us") + offsets, tz="UTC"))


def feast_join(folder: Path, ttl: timedelta | None, offline_store: dict[str, object]) -> Callable[[pd.DataFrame], pa.Table]:
    """A join through Feast's API with this offline store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.repo_config import RepoConfig
    from feast.types import Float64

    config = RepoConfig(
        project="join",
        provider="local",
        registry={"registry_type": "file", "path": str(folder / f"registry-{os.getpid()}.db")},
        offline_store=offline_store,
        online_store={"type": "sqlite", "path": str(folder / f"online-{os.getpid()}.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entities = {key: Entity(name=key, value_type=ValueType.INT64) for key in ("user_id", "merchant_id")}
    views = [
        FeatureView(
            name=view.name,
            entities=[entities[view.key]],
            schema=[Field(name=column, dtype=Float64) for column in view.columns],
            source=FileSource(name=view.name, path=str(folder / f"{view.name}.parquet"), timestamp_field="event_timestamp"),
            ttl=ttl,
        )
        for view in VIEWS
    ]
    store.apply([*entities.values(), *views])
    refs = [f"{view.name}:{column}" for view in VIEWS for column in view.columns]
    return lambda frame: store.get_historical_features(entity_df=frame, features=refs).to_arrow()


def polars_join(folder: Path, ttl: timedelta | None) -> Callable[[pd.DataFrame], pa.Table]:
    """A join by polars alone."""
    import polars as pl

    def run(frame: pd.DataFrame) -> pa.Table:
        found = pl.from_pandas(frame).sort("event_timestamp")
        for view in VIEWS:
            right = pl.read_parquet(folder / f"{view.name}.parquet").sort("event_timestamp")
            found = found.join_asof(right, on="event_timestamp", by=view.key, tolerance=ttl, check_sortedness=False)
        return found.sort("row_id").to_arrow()

    return run


def measure(engine: str, folder: Path, ttl: timedelta | None, repeats: int) -> dict[str, object]:
    """Seconds of each repetition, peak memory, and the digest of what the engine found."""
    frame = pd.read_parquet(folder / ENTITIES)
    if engine == "polars":
        join = polars_join(folder, ttl)
    else:
        ours = {"type": "feature_repo.asof.AsofOfflineStore", "threads": THREADS}
        join = feast_join(folder, ttl, ours if engine == "ours" else {"type": "duckdb"})
    seconds, result = [], None
    for _ in range(repeats):
        del result
        gc.collect()
        begin = time.perf_counter()
        result = join(frame)
        seconds.append(time.perf_counter() - begin)
    # Linux counts kilobytes. Taken before the digest, which needs memory of its own.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": seconds, "peak_gb": peak, "digest": digest(result)}


def digest(table: pa.Table) -> str:
    """Digest over the row ids and all features, by row id; NaN and null are one."""
    total = hashlib.md5(usedforsecurity=False)
    ids = table.column("row_id").to_numpy()
    order = np.argsort(ids, kind="stable")
    total.update(ids[order].astype(np.int64).tobytes())
    for name in FEATURES:
        values = table.column(name).to_numpy().astype(np.float64)[order]
        total.update(np.where(np.isnan(values), -1e300, values).tobytes())
    return total.hexdigest()


def run(engine: str, folder: Path, ttl: bool, repeats: int, limit_seconds: int) -> dict[str, object] | str:
    """The engine's measurement in a process of its own, or the reason why there is none."""
    if engine == "feast" and importlib.util.find_spec("ibis") is None:
        return "not measured: ibis is not installed; `make setup` installs it"
    command = [sys.executable, "-m", "benchmarks.join", "--engine", engine, "--folder", str(folder), "--repeats", str(repeats)]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(THREADS)}
    try:
        found = subprocess.run(
            [*command, *(["--ttl"] if ttl else [])],
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {limit_seconds} s"
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or [f"exit code {found.returncode}"])[-1]
        return f"failed: {reason}"
    measured: dict[str, object] = json.loads(found.stdout.splitlines()[-1])
    return measured


def compare(folder: Path, rows: int, ttl: bool, repeats: dict[str, int], limit_seconds: int) -> None:
    """Measure the engines and print the table with the ratios."""
    print(f"\n{rows:,} entity rows, {'TTL of 2 days' if ttl else 'no TTL'}")
    medians: dict[str, float] = {}
    digests: dict[str, object] = {}
    for engine, title in ENGINES.items():
        found = run(engine, folder, ttl, repeats[engine], limit_seconds)
        if isinstance(found, str):
            print(f"  {title:18} {found}")
            continue
        seconds = [float(value) for value in found["seconds"]] if isinstance(found["seconds"], list) else []
        medians[engine], digests[engine] = statistics.median(seconds), found["digest"]
        print(f"  {title:18} {medians[engine]:7.2f} s (median of {len(seconds)})   peak {found['peak_gb']:.2f} GB")
    verdict = "identical" if len(set(digests.values())) == 1 else "DIFFERENT"
    print(f"  values: {verdict} ({', '.join(ENGINES[name] for name in digests)})")
    for engine in ("feast", "polars"):
        if engine in medians and "ours" in medians:
            times = medians[engine] / medians["ours"]
            words = f"{times:.1f} times faster" if times >= 1 else f"{1 / times:.1f} times slower"
            print(f"  ours is {words} than {ENGINES[engine]}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.join", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000, help="entity rows")
    parser.add_argument("--five-million", action="store_true", help="also 5,000,000 entity rows, once, without Feast's store")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of ours and polars")
    parser.add_argument("--feast-repeats", type=int, default=1, help="repetitions of Feast's store, which takes minutes")
    parser.add_argument("--limit-seconds", type=int, default=1_800, help="most seconds of one engine")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ttl", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        print(json.dumps(measure(given.engine, given.folder, TTL if given.ttl else None, given.repeats)))
        return
    repeats = {"ours": given.repeats, "feast": given.feast_repeats, "polars": given.repeats}
    for view in VIEWS:
        print(f"view {view.name}: {view.keys:,} {view.key} x {view.rows_per_key} rows, {view.features} features")
    print(f"threads: {THREADS}; Feast's store is repeated {given.feast_repeats} times, because it takes minutes")
    with tempfile.TemporaryDirectory(prefix="join-") as folder:
        write_tables(Path(folder), given.rows)
        for ttl in (False, True):
            compare(Path(folder), given.rows, ttl, repeats, given.limit_seconds)
        if given.five_million:
            write_tables(Path(folder), 5_000_000)
            ENGINES.pop("feast")
            for ttl in (False, True):
                compare(Path(folder), 5_000_000, ttl, dict.fromkeys(ENGINES, 1), given.limit_seconds)


if __name__ == "__main__":
    main()

"""A second project, written into a folder: another domain, two join keys (a string and an integer), a rare label.

Its folders carry the names of ours, with modules that fail when they are imported: a project is loaded by path, never by name.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

NAME = "chargeback"
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 100
NOW = FIRST_DAY + timedelta(days=DAYS + 3)
"""All labels of the hundred days have matured."""

ODD = "it's [a]* 50% #1? amount=7 ü"
"""Name of a folder for the project: a test in it shows that no sign of its path means anything to a library."""

SPEC = """\
apiVersion: perennial.dev/v1alpha1
kind: Model
metadata:
  name: chargeback
spec:
  owner: payments team
  description: Says which payments will be charged back, so that they are looked at before the goods leave.
  objective:
    question: Will this payment be charged back within three days?
    action: The payment is held and a person looks at it.
    utility: {unit: euros, true_positive: 40.0, false_positive: -4.0}
    success_criteria:
      - {name: ranks-well, metric: auc, at_least: 0.6, margin: 0.05, why: Below this a person finds as many by looking at random.}
    guard_rails:
      - {name: pays, metric: utility, at_least: 0.0, margin: 20.0, why: It must earn more than looking at all or at none.}
    segments: [shop_code]
  requests:
    source: payments
    id: payment_id
    fields:
      - {name: amount, dtype: float}
      - {name: method, dtype: string}
  features:
    service: chargeback
    freshness:
      - {view: pair, max_age_hours: 720, on_stale: last_known}
  label: {source: outcomes, column: charged_back, maturity_hours: 72, never: It was refunded first and counts as nothing.}
  training:
    window: {kind: expanding}
    folds: {count: 2}
    candidates:
      - {kind: logistic, c: [0.1]}
      - {kind: gradient_boosting, iterations: [40], learning_rate: [0.1], max_leaf_nodes: [8]}
    calibration: {kind: sigmoid}
  gates:
    criteria: [ranks-well]
    segments: {min_rows: 400}
  monitoring:
    criteria: [pays]
    columns:
      - {name: amount, method: wasserstein}
      - {name: method, method: jensenshannon}
      - {name: probability, method: wasserstein}
    block_rows: 300
  retraining: {reasons: [manual], mode: advisory}
"""

DEFINITIONS = '''\
"""Customers, and customers at a shop."""

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String, UnixTimestamp

from feature_repo.sources import path

customer = Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.INT64)
shop = Entity(name="shop_code", join_keys=["shop_code"], value_type=ValueType.STRING)


def source(name: str) -> FileSource:
    return FileSource(name=name, path=path(name), timestamp_field="event_timestamp")


account = FeatureView(
    name="account",
    entities=[customer],
    source=source("account"),
    schema=[
        Field(name="account_days", dtype=Int64),
        Field(name="account_vip", dtype=Bool),
        Field(name="account_country", dtype=String),
        Field(name="account_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"}),
    ],
)
pair = FeatureView(
    name="pair",
    entities=[shop, customer],
    source=source("pair"),
    schema=[
        Field(name="pair_orders", dtype=Int64),
        Field(name="pair_spend", dtype=Float64),
        Field(name="pair_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"}),
    ],
)
chargeback = FeatureService(name="chargeback", features=[account, pair])
'''

SAME_NAMES = ("perennial", "feature_repo", "components", "pipelines", "console", "monitoring", "serving")


def write_project(folder: Path, seed: int = 7, per_day: int = 130) -> Path:
    """Write the project with its sources (below `.perennial/sources`); returns the folder."""
    for name in SAME_NAMES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text(f'raise ImportError("the project\'s own {name} was imported by name")\n')
    (folder / "models").mkdir()
    (folder / "models" / "chargeback.yaml").write_text(SPEC)
    (folder / "feature_repo" / "definitions").mkdir()
    (folder / "feature_repo" / "definitions" / "payments.py").write_text(DEFINITIONS)
    sources = folder / ".perennial" / "sources"
    sources.mkdir(parents=True)
    for name, frame in sources_of(seed, per_day).items():
        frame.to_parquet(sources / f"{name}.parquet", index=False, coerce_timestamps="us")
    return folder


def sources_of(seed: int, per_day: int) -> dict[str, pd.DataFrame]:
    """The four sources: payments, outcomes, account, pair."""
    random = np.random.default_rng(seed)
    customers, shops = np.arange(1, 301), np.array([f"S{number:02d}" for number in range(12)])
    rows = DAYS * per_day
    start = pd.Timestamp(FIRST_DAY)
    time = start + pd.to_timedelta(np.sort(random.uniform(0, DAYS * 24 * 3600, rows)).round(), unit="s")
    customer, shop = random.choice(customers, rows), random.choice(shops, rows)
    risk = random.normal(0, 1, customers.size + 1)
    amount = random.lognormal(3.5, 0.8, rows).round(2)
    method = random.choice(np.array(["card", "debit", "wallet"]), rows, p=[0.6, 0.3, 0.1])
    logit = (
        -4.1
        + 1.2 * risk[customer]
        + 0.5 * (np.log(amount) - 3.5)
        + 0.8 * (method == "wallet")
        + np.repeat(random.normal(0, 0.1, DAYS), per_day)
    )
    label = random.uniform(size=rows) < 1 / (1 + np.exp(-logit))
    payments = pd.DataFrame(
        {
            "payment_id": np.arange(rows) + 1000,
            "event_timestamp": time,
            "customer_id": customer,
            "shop_code": shop,
            "amount": amount,
            "method": method,
        }
    )
    known = random.uniform(size=rows) < 0.98
    outcomes = pd.DataFrame(
        {
            "payment_id": payments["payment_id"][known],
            "event_timestamp": (time + pd.to_timedelta(random.uniform(1, 70, rows).round(), unit="h"))[known],
            "charged_back": label[known],
        }
    )
    return {"payments": payments, "outcomes": outcomes, "account": account_of(random, customers, risk), "pair": pair_of(payments)}


def account_of(random: np.random.Generator, customers: np.ndarray, risk: np.ndarray) -> pd.DataFrame:
    """What is known of a customer, published once before the first payment."""
    before = pd.Timestamp(FIRST_DAY) - pd.Timedelta(days=1)
    return pd.DataFrame(
        {
            "customer_id": customers,
            "event_timestamp": before,
            "account_days": (400 - 120 * risk[customers] + random.normal(0, 40, customers.size)).clip(1).astype("int64"),
            "account_vip": random.uniform(size=customers.size) < 0.1,
            "account_country": random.choice(np.array(["DE", "FR", "NL", None], dtype=object), customers.size),
            "account_observed_at": before,
        }
    )


def pair_of(payments: pd.DataFrame) -> pd.DataFrame:
    """Orders and spend of a customer at a shop so far, published at the midnight after each day with an order."""
    day = payments["event_timestamp"].dt.ceil("D")
    daily = payments.groupby(["shop_code", "customer_id", day])["amount"].agg(["size", "sum"]).reset_index()
    sums = daily.groupby(["shop_code", "customer_id"])[["size", "sum"]].cumsum()
    return pd.DataFrame(
        {
            "shop_code": daily["shop_code"],
            "customer_id": daily["customer_id"],
            "event_timestamp": daily["event_timestamp"],
            "pair_orders": sums["size"].astype("int64"),
            "pair_spend": sums["sum"],
            "pair_observed_at": daily["event_timestamp"],
        }
    )

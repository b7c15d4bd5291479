"""Sources of the small example, made up with a seed. `python -m examples.chargeback.sources` writes them where it looks."""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parent
"""The example's project."""
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 100
"""Days with payments, from the first one on."""
SEED, PER_DAY = 7, 130


def sources_of(seed: int = SEED, per_day: int = PER_DAY, first_day: datetime = FIRST_DAY) -> dict[str, pd.DataFrame]:
    """The four sources by name: payments, outcomes, account, pair.

    A risky customer, a large amount and a wallet make a charge-back likelier. Two payments of a hundred never get a label; the
    others get it within 70 hours.

    Args:
        seed: of everything that is drawn.
        per_day: payments of a day.
        first_day: the midnight that the hundred days begin with, UTC.
    """
    random = np.random.default_rng(seed)
    customers, shops = np.arange(1, 301), np.array([f"S{number:02d}" for number in range(12)])
    rows = DAYS * per_day
    start = pd.Timestamp(first_day)
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
    account = account_of(random, customers, risk, start)
    return {"payments": payments, "outcomes": outcomes, "account": account, "pair": pair_of(payments)}


def account_of(random: np.random.Generator, customers: np.ndarray, risk: np.ndarray, start: pd.Timestamp) -> pd.DataFrame:
    """What is known of a customer, published once before the first payment."""
    before = start - pd.Timedelta(days=1)
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


def write(folder: Path, seed: int = SEED, per_day: int = PER_DAY, first_day: datetime = FIRST_DAY) -> list[Path]:
    """Write the four sources into a folder; returns the files.

    Args:
        folder: made when absent.
        seed: of everything that is drawn.
        per_day: payments of a day.
        first_day: the midnight that the hundred days begin with, UTC.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, frame in sources_of(seed, per_day, first_day).items():
        written.append(folder / f"{name}.parquet")
        frame.to_parquet(written[-1], index=False, coerce_timestamps="us")
    return written


def main() -> None:
    """Write the sources, and say where."""
    parser = argparse.ArgumentParser(description="Make up the payments of the example, and what was known of them.")
    parser.add_argument("--folder", type=Path, default=FOLDER / ".perennial" / "sources", help="where the files go")
    parser.add_argument("--seed", type=int, default=SEED, help="of everything that is drawn")
    parser.add_argument("--per-day", type=int, default=PER_DAY, help="payments of a day")
    parser.add_argument("--recent", action="store_true", help="let the newest label have matured today, and not in April 2024")
    arguments = parser.parse_args()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first_day = today - timedelta(days=DAYS + 3) if arguments.recent else FIRST_DAY
    for path in write(arguments.folder, arguments.seed, arguments.per_day, first_day):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()

"""A table for those who have none at hand: made-up customers of a subscription, some of whom cancel."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from console.scaffold.roles import Roles
from console.scaffold.sizes import midnight

DAYS, PER_DAY, CUSTOMERS, SEED = 100, 40, 400, 7
FILE = "data.parquet"
ROLES = Roles(keys=("customer_id",), time="event_timestamp", label="churned", request_fields=("channel",), label_hours=72.0)
"""What the columns of the made-up table are."""


def made_up(now: datetime, seed: int = SEED) -> pa.Table:
    """A table of 4,000 contacts with customers in the 100 days before today; a quarter of them cancel within three days.

    Args:
        now: the real time; the rows end at its midnight.
        seed: of everything that is drawn.
    """
    random = np.random.default_rng(seed)
    rows, start = DAYS * PER_DAY, midnight(now) - timedelta(days=DAYS)
    moments = np.datetime64(start.replace(tzinfo=None), "s") + np.sort(random.choice(DAYS * 86_400, rows, replace=False))
    customer = random.integers(1, CUSTOMERS + 1, rows)
    loyalty = random.normal(0, 1, CUSTOMERS + 1)[customer]
    visits = random.poisson(np.exp(1.5 + 0.4 * loyalty))
    calls = random.poisson(np.exp(0.2 - 0.5 * loyalty))
    channel = random.choice(np.array(["app", "phone", "web"]), rows, p=[0.5, 0.2, 0.3])
    logit = -1.4 - 0.9 * loyalty + 0.4 * (calls - 1) - 0.05 * (visits - 4) + 0.6 * (channel == "phone")
    plans = np.array(["basic", "plus", "family"])
    return pa.table(
        {
            "customer_id": pa.array(customer),
            "event_timestamp": pa.array(moments, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
            "channel": pa.array(channel),
            "plan": pa.array(plans[(loyalty > -0.5).astype(int) + (loyalty > 1.0)]),
            "monthly_spend": pa.array((20 + 5 * loyalty + random.normal(0, 4, rows)).clip(5).round(2)),
            "visits_30d": pa.array(visits),
            "support_calls_30d": pa.array(calls),
            "churned": pa.array(random.uniform(size=rows) < 1 / (1 + np.exp(-logit))),
        }
    )

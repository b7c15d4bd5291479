"""The conditions of an installation: whether a controller is at work, and whether the stores answer."""

from collections.abc import Sequence
from datetime import datetime

from perennial.ledger import Lease
from perennial.status.condition import Condition, Reason, condition
from perennial.status.words import minute

START = "start `perennial watch`"


def controller_condition(lease: Lease | None, clock: datetime) -> Condition:
    """Whether a controller is at work.

    Args:
        lease: its lease, none when nobody ever took it.
        clock: the real time, UTC.
    """
    if lease is None or (lease.ticked is None and lease.expires <= clock):  # a command takes the lease too, and does not tick
        return condition(Reason.NO_CONTROLLER, "no controller has ticked yet", next=START)
    last = "it has not ticked yet" if lease.ticked is None else f"it last ticked for {minute(lease.ticked)}"
    if lease.ticked is not None and lease.ticked > clock:
        ahead = f"{lease.holder} ticked for {minute(lease.ticked)} already, and nothing is done before that"
        return condition(Reason.CLOCK_WENT_BACK, ahead, next="the platform team sets the clock right")
    if lease.expires <= clock:
        gone = f"{lease.holder} said nothing since its lease ran out at {minute(lease.expires)} ({last})"
        return condition(Reason.NO_CONTROLLER, gone, since=lease.expires, next=START)
    return condition(Reason.CONTROLLER_WATCHES, f"{lease.holder} is watching; {last}")


def stores_condition(faults: Sequence[str]) -> Condition:
    """Whether the stores answer.

    Args:
        faults: one sentence for each store that is there and does not.
    """
    if faults:
        return condition(Reason.STORE_FAILS, "; ".join(faults), next="the platform team brings it back")
    return condition(Reason.ALL_STORES_ANSWER, "no store fails")

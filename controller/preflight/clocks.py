"""Whether clocks agree: leases, the freshness of features and signed requests all rest on it."""

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from cluster.client import Client
from controller.preflight.row import NotShownError
from perennial.errors import DataError

MAX_SECONDS = 5.0
"""How far two clocks may be apart; HTTP tells the time to the second."""
WAIT_SECONDS = 5.0
SET = "set the clock of the machine that is wrong: NTP (chrony, systemd-timesyncd) on every node and here"


def of_cluster(client: Client, clock: Callable[[], datetime]) -> str:
    """How far the API server's clock is from ours.

    Raises:
        DataError: too far.
    """
    before = clock()
    return difference(client.server().time, before, clock())


def of_s3(environment: Mapping[str, str], clock: Callable[[], datetime]) -> str:
    """How far the object store's clock is from ours; asked without a signature, since a refusal tells the time too.

    Raises:
        DataError: too far.
        NotShownError: it does not answer, or does not tell the time.
    """
    region = environment.get("AWS_REGION", "us-east-1")
    endpoint = environment.get("AWS_ENDPOINT_URL", f"https://s3.{region}.amazonaws.com")
    before = clock()
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=WAIT_SECONDS) as answer:
            told = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        with error:
            told = error.headers["Date"]
    except (OSError, ValueError) as error:
        raise NotShownError(f"{endpoint}: does not answer: {error}") from error
    try:
        theirs = parsedate_to_datetime(told).astimezone(UTC)
    except (TypeError, ValueError) as error:
        raise NotShownError(f"{endpoint}: does not tell the time: {told!r}") from error
    return difference(theirs, before, clock())


def difference(theirs: datetime, before: datetime, after: datetime) -> str:
    """How far a clock that tells whole seconds is from ours, which was read before and after the question.

    >>> from datetime import timedelta
    >>> now = datetime(2026, 1, 2, tzinfo=UTC)
    >>> difference(now, now, now + timedelta(seconds=3))
    'agrees within a second'
    >>> difference(now + timedelta(seconds=40), now, now + timedelta(seconds=3))
    Traceback (most recent call last):
        ...
    perennial.errors.DataError: is 37 s ahead of ours; allowed: 5 s
    >>> difference(now - timedelta(seconds=40), now, now + timedelta(seconds=3))
    Traceback (most recent call last):
        ...
    perennial.errors.DataError: is 39 s behind ours; allowed: 5 s

    Raises:
        DataError: too far.
    """
    ahead = (theirs - after).total_seconds()
    behind = (before - theirs).total_seconds() - 1
    apart = max(ahead, behind)
    if apart > MAX_SECONDS:
        raise DataError(f"is {apart:.0f} s {'ahead of' if ahead > behind else 'behind'} ours; allowed: {MAX_SECONDS:g} s")
    return "agrees within a second" if apart <= 0 else f"is {apart:.0f} s {'ahead of' if ahead > behind else 'behind'} ours"

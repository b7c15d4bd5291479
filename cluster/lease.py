"""A lease: one of several processes acts, by a `coordination.k8s.io` Lease that changes hands by compare and swap.

Each write names the `resourceVersion` that it read, so of two that come at once one is refused. `token` counts the hands through
which the lease went: it fences what an earlier holder still writes elsewhere.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cluster.apply import get
from cluster.client import Client, Object, RefusedError
from perennial.errors import FencedError, NotFoundError

API = "coordination.k8s.io/v1"


@dataclass(frozen=True)
class Term:
    """The lease in somebody's hands."""

    namespace: str
    """Of the Lease."""
    name: str
    """Of the Lease."""
    holder: str
    """Who may act."""
    token: int
    """How often it changed hands."""
    until: datetime
    """When it may be taken by another one unless it is renewed, UTC."""
    resource_version: str
    """Of the Lease when it was written or read."""


def acquire(client: Client, namespace: str, name: str, holder: str, duration: timedelta, now: datetime) -> Term:
    """The lease, in the hands of `holder` or of the one who has it: compare the term's `holder`.

    Args:
        client: of the cluster.
        namespace: of the Lease.
        name: of the Lease; made when it is not there.
        holder: who wants to act; one that holds it already keeps it, with the same token.
        duration: after which it may be taken if it is not renewed, in whole seconds; longer than clocks may differ.
        now: UTC.

    Raises:
        PlatformError: the API server does not answer or refuses.
    """
    lease = get(client, API, "Lease", name, namespace)
    try:
        if lease is None:
            manifest = {"apiVersion": API, "kind": "Lease", "metadata": {"name": name, "namespace": namespace}}
            body = manifest | {"spec": _spec(holder, 1, duration, now)}
            return _term(client.call("POST", client.path(API, "Lease", namespace), body=body))
        term = _term(lease)
        if term.holder not in ("", holder) and now < term.until:
            return term
        token = term.token + (term.holder != holder)
        body = lease | {"spec": _spec(holder, token, duration, now)}
        return _term(client.call("PUT", client.path(API, "Lease", namespace, name), body=body))
    except RefusedError as error:
        if error.status != 409:
            raise
        current_lease = get(client, API, "Lease", name, namespace)  # another one was first
        if current_lease is None:
            raise
        return _term(current_lease)


def renew(client: Client, term: Term, duration: timedelta, now: datetime) -> Term:
    """The lease is the holder's for another while.

    Args:
        client: of the cluster.
        term: as it was acquired or renewed last.
        duration: as when it was acquired.
        now: UTC.

    Raises:
        FencedError: it was written by another one since, or deleted: nothing may be done under it any more.
        PlatformError: the API server does not answer or refuses.
    """
    return _write(client, term, _spec(term.holder, term.token, duration, now))


def release(client: Client, term: Term, now: datetime) -> None:
    """The lease is nobody's: another one need not wait for its end.

    Args:
        client: of the cluster.
        term: as it was acquired or renewed last.
        now: UTC.

    Raises:
        FencedError: it was written by another one since, or deleted.
        PlatformError: the API server does not answer or refuses.
    """
    _write(client, replace(term, holder=""), _spec("", term.token, timedelta(seconds=1), now))


def _write(client: Client, term: Term, spec: Object) -> Term:
    metadata = {"name": term.name, "namespace": term.namespace, "resourceVersion": term.resource_version}
    body = {"apiVersion": API, "kind": "Lease", "metadata": metadata, "spec": spec}
    try:
        return _term(client.call("PUT", client.path(API, "Lease", term.namespace, term.name), body=body))
    except NotFoundError as error:
        raise FencedError(f"lease {term.namespace}/{term.name}: was deleted: nothing may be done under it any more") from error
    except RefusedError as error:
        if error.status != 409:
            raise
        raise FencedError(
            f"lease {term.namespace}/{term.name}: another one wrote it since {term.holder or 'it was read'}: nothing may be done "
            "under it any more"
        ) from error


def _spec(holder: str, token: int, duration: timedelta, now: datetime) -> Object:
    return {
        "holderIdentity": holder,
        "leaseTransitions": token,
        "leaseDurationSeconds": int(duration.total_seconds()),
        "renewTime": _text(now),
    }


def _term(stored: Object) -> Term:
    metadata, spec = stored["metadata"], stored.get("spec", {})
    renew_time = datetime.fromisoformat(spec["renewTime"]) if spec.get("renewTime") else datetime.fromtimestamp(0, UTC)
    return Term(
        metadata["namespace"],
        metadata["name"],
        spec.get("holderIdentity") or "",
        int(spec.get("leaseTransitions") or 0),
        renew_time + timedelta(seconds=int(spec.get("leaseDurationSeconds") or 0)),
        metadata["resourceVersion"],
    )


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

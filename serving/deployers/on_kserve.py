"""The deployer of a cluster: one InferenceService per model, and what became of it.

Applied by server-side apply under one field owner: what others wrote beside it stays, what is ours returns with the next call,
and an object as it should be is left alone. Whether traffic has followed is read from the Deployment that KServe makes, from pods
and events: KServe itself never says that something will not come by waiting.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from cluster import apply, events, pods
from cluster.apply import AppliedObject
from cluster.client import Client, Object
from cluster.pods import PodReason
from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Run, Version
from perennial.loop.standing import Standing
from perennial.settings import Fetch
from perennial.spec.model import Model
from serving.deployers.inference_service import GROUP, RUNTIME, disruption_budget, inference_service
from serving.deployers.init_container import with_init_container

SERVICES = ("serving.kserve.io/v1beta1", "InferenceService")
RUNTIMES = ("serving.kserve.io/v1alpha1", "ServingRuntime")
POD_LABEL = "serving.kserve.io/inferenceservice"
"""KServe's label of an InferenceService's pods."""
INSTALL = "`perennial cluster check` says what the cluster lacks"


class KServeDeployer:
    """Deploys to the InferenceServices of one namespace."""

    def __init__(self, client: Client, namespace: str, fetch: Fetch = "storage-container") -> None:
        self._client, self._namespace, self._fetch = client, namespace, fetch

    def deployed(self, model: str) -> str | None:
        """Digest of the version that the InferenceService names."""
        service = self._service(model)
        return None if service is None else _digest(service)

    def deploy(self, model: Model, version: Version, run: Run, wall_clock: datetime) -> str | None:
        """The InferenceService and its PodDisruptionBudget are as wanted; a change leaves one event on the InferenceService."""
        try:
            applied = apply.apply(self._client, self._wanted(model, version, run))
        except NotFoundError as error:
            raise PlatformError(f"{error}; {INSTALL}") from error
        budget = apply.apply(self._client, disruption_budget(applied.object))
        if applied.change == "unchanged" and budget.change == "unchanged":
            return None
        reason, sentence = _what_changed(applied, version)
        severity: Literal["Normal", "Warning"] = "Warning" if reason == "Repaired" else "Normal"
        events.record(self._client, applied.object, reason, sentence, wall_clock, severity)
        return sentence

    def standing(self, model: str) -> Standing:
        """What the Deployment, its pods and their events say of the version that is wanted."""
        service = self._service(model)
        if service is None:
            return Standing(state="absent", sentence="there is no InferenceService")
        deployment = apply.get(self._client, "apps/v1", "Deployment", f"{model}-predictor", self._namespace)
        selector = {POD_LABEL: model, f"{GROUP}/version": _number(service)}
        reasons = pods.reasons(self._client, self._namespace, selector)
        return standing_of(service, deployment, reasons)

    def _wanted(self, model: Model, version: Version, run: Run) -> Object:
        """The InferenceService of a version, with its fetch as the settings say."""
        wanted = inference_service(model, version, run, self._namespace)
        return wanted if self._fetch == "storage-container" else with_init_container(wanted, self._serving_image())

    def _serving_image(self) -> str:
        """The image that serves; it fetches, too."""
        runtime = apply.get(self._client, *RUNTIMES, RUNTIME, self._namespace)
        if runtime is None:
            raise PlatformError(f"there is no ServingRuntime {RUNTIME} in {self._namespace}, which names the image; {INSTALL}")
        image: str = runtime["spec"]["containers"][0]["image"]
        return image

    def _service(self, model: str) -> Object | None:
        try:
            return apply.get(self._client, *SERVICES, model, self._namespace)
        except NotFoundError as error:
            raise PlatformError(f"{error}; {INSTALL}") from error


def standing_of(service: Object, deployment: Object | None, reasons: Sequence[PodReason]) -> Standing:
    """How far the traffic is, from objects as they are stored.

    Args:
        service: the InferenceService.
        deployment: the one that KServe makes of it; None before that.
        reasons: why pods of its version are not ready.
    """
    number = _number(service)
    failing = [reason for reason in reasons if reason.is_failing]
    failure = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo", {}).get("message")
    follows = deployment is not None and _version_of(deployment) == number
    answering_pods, wanted_pods = _counts(deployment) if deployment is not None and follows else (0, 0)
    if follows and answering_pods == wanted_pods > 0 and _is_settled(deployment):
        return Standing(state="serving", sentence=f"version {number}: {answering_pods} of {wanted_pods} pods answer")
    so_far = (
        f"version {number}: {answering_pods} of {wanted_pods} pods answer" if follows else f"version {number}: no pod of it yet"
    )
    if failing:
        sentence = failing[0].sentence
        more = f" ({failure})" if failure and failure not in sentence else ""
        return Standing(state="stuck", sentence=f"{so_far}: {sentence}{more}")
    refusal = _refusal(service, deployment if follows else None)
    if refusal is not None:
        return Standing(state="stuck", sentence=f"{so_far}: {refusal}")
    waiting = f"; {reasons[0].sentence}" if reasons else ""
    return Standing(state="rolling", sentence=so_far + waiting)


def _counts(deployment: Object) -> tuple[int, int]:
    """Pods of the newest template that answer, and how many there shall be."""
    status = deployment.get("status", {})
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return max(0, status.get("availableReplicas", 0) - old), deployment["spec"].get("replicas", 1)


def _is_settled(deployment: Object | None) -> bool:
    """Whether the Deployment's status is of its newest template, and no pod of an older one is left."""
    if deployment is None:
        return False
    status = deployment.get("status", {})
    is_current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(is_current and status.get("replicas", 0) == status.get("updatedReplicas", 0))


def _refusal(service: Object, deployment: Object | None) -> str | None:
    """Why KServe makes no Deployment of the version, or the Deployment no progress; None when neither says so."""
    for condition in (deployment or {}).get("status", {}).get("conditions") or []:
        if condition["type"] in ("Progressing", "ReplicaFailure") and condition.get("reason") in (
            "ProgressDeadlineExceeded",
            "FailedCreate",
        ):
            return f"{condition['reason']}: {condition.get('message', '')}"
    status = service.get("status", {})
    if deployment is None and status.get("modelStatus", {}).get("transitionStatus") == "InvalidSpec":
        failure = status["modelStatus"].get("lastFailureInfo", {})
        return f"{failure.get('reason', 'InvalidSpec')}: {failure.get('message', 'KServe refuses it')}"
    return None


def _number(service: Object) -> str:
    """Number of the version that is wanted."""
    number: str = service["metadata"].get("labels", {}).get(f"{GROUP}/version", "?")
    return number


def _version_of(deployment: Object) -> str | None:
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"].get("labels", {})
    return labels.get(f"{GROUP}/version")


def _digest(service: Object) -> str | None:
    digest: str | None = service["metadata"].get("annotations", {}).get(f"{GROUP}/version-digest")
    return digest


def _what_changed(applied: AppliedObject, version: Version) -> tuple[str, str]:
    """Reason and sentence of the event, where the InferenceService or its PodDisruptionBudget was changed."""
    if applied.before is None:
        return "Deployed", f"version {version.number} was deployed"
    if _digest(applied.before) != version.digest:
        return "RolledOut", f"version {version.number} takes over"
    what = "the InferenceService" if applied.change != "unchanged" else "the PodDisruptionBudget"
    return "Repaired", f"{what} of version {version.number} had drifted from the ledger and was reconciled"

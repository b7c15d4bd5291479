"""The deployer of a cluster: one InferenceService per model, and what became of it.

Applied by server-side apply under one field owner: what is ours returns with the next call, an object as it should be is left
alone, and labels and annotations of others stay. Its `spec` is ours alone: what others add there decides what runs, and goes.
Whether traffic has followed is read from the Deployment that KServe makes, from pods and events: KServe itself never says that
something will not come by waiting.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from cluster import apply, events, fields, pods
from cluster.apply import AppliedObject
from cluster.client import Client, Object, RefusedError
from cluster.fields import ForeignField
from cluster.pods import PodReason
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.ledger import Run, Version
from perennial.loop.standing import Standing
from perennial.settings import Fetch
from perennial.spec.model import Model
from serving.deployers.deployer import Change
from serving.deployers.inference_service import GROUP, MANAGED_BY, RUNTIME, disruption_budget, inference_service
from serving.deployers.init_container import init_container, with_init_container
from serving.deployers.running import foreign_in_deployment, foreign_in_pods

SERVICES = ("serving.kserve.io/v1beta1", "InferenceService")
RUNTIMES = ("serving.kserve.io/v1alpha1", "ServingRuntime")
STORAGE_CONTAINERS = ("serving.kserve.io/v1alpha1", "ClusterStorageContainer")
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

    def models(self) -> tuple[str, ...]:
        """Models that have an InferenceService of ours, but for those that are being deleted."""
        try:
            services = apply.list_by_label(self._client, *SERVICES, self._namespace, MANAGED_BY)
        except NotFoundError as error:
            raise PlatformError(f"{error}; {INSTALL}") from error
        return tuple(sorted(service["metadata"]["name"] for service in services if not _is_ending(service)))

    def deploy(self, model: Model, version: Version, run: Run, wall_clock: datetime) -> Change | None:
        """The InferenceService and its PodDisruptionBudget are as wanted; a change leaves one event on the InferenceService."""
        wanted = self._wanted(model, version, run)
        try:
            applied = apply.apply(self._client, wanted)
        except NotFoundError as error:
            raise PlatformError(f"{error}; {INSTALL}") from error
        foreign = self._foreign_fields(applied.object, wanted["spec"])
        if foreign:
            fields.undo(self._client, applied.object, foreign)
        budget = apply.apply(self._client, disruption_budget(applied.object))
        if applied.change == budget.change == "unchanged" and not foreign:
            return None
        change = _change(applied, version, foreign)
        severity: Literal["Normal", "Warning"] = "Warning" if change.kind == "Repaired" else "Normal"
        events.record(self._client, applied.object, change.kind, change.sentence, wall_clock, severity)
        return change

    def retire(self, model: str, reason: str, wall_clock: datetime) -> str | None:
        """The InferenceService is deleted, and with it the objects that it owns; the first call leaves an event."""
        service = self._service(model)
        if service is None:
            return None
        metadata = service["metadata"]
        if metadata.get("labels", {}).items() >= MANAGED_BY.items():
            if not _is_ending(service):
                apply.delete(self._client, *SERVICES, model, self._namespace, wait_seconds=0)
                sentence = f"version {_number(service)} serves no more: a person retired the model: {reason}"
                events.record(self._client, service, "Retired", sentence, wall_clock)
            held = ", ".join(metadata.get("finalizers") or []) or "what it owns"
            return f"InferenceService {model} is being deleted, and waits for {held}"
        raise DataError(
            f"InferenceService {model} in {self._namespace} has not the label app.kubernetes.io/managed-by=perennial: it is "
            f"not Perennial's, and stays; `kubectl -n {self._namespace} delete inferenceservice {model}` deletes it"
        )

    def standing(self, model: str) -> Standing:
        """What the Deployment, its pods and their events say of the version that is wanted, and whether anything foreign runs."""
        service = self._service(model)
        if service is None:
            return Standing(state="absent", sentence="there is no InferenceService")
        deployment = apply.get(self._client, "apps/v1", "Deployment", f"{model}-predictor", self._namespace)
        selector = {POD_LABEL: model, f"{GROUP}/version": _number(service)}
        standing = standing_of(service, deployment, pods.reasons(self._client, self._namespace, selector))
        try:
            return self._compared(standing, service, deployment, selector)
        except RefusedError as error:
            if error.status != 403:
                raise
            return standing.model_copy(update={"sentence": f"{standing.sentence}; what runs was not compared: {error.said}"})

    def _compared(self, standing: Standing, service: Object, deployment: Object | None, selector: dict[str, str]) -> Standing:
        """The standing, with what there is that was not installed.

        What stands in the InferenceService comes first, and alone: what runs follows from it.
        """
        applied = fields.applied_spec(service)
        if applied and (foreign := self._foreign_fields(service, applied)):
            return _with_foreign(standing, [f"{field} is not Perennial's" for field in foreign])
        if deployment is None or _version_of(deployment) != _number(service):
            return standing
        runtime = apply.get(self._client, *RUNTIMES, RUNTIME, self._namespace)
        storage = self._fetching(runtime)
        if runtime is None or storage is None:
            return standing  # KServe makes nothing new of it then, and says so
        where, differences = f"Deployment {deployment['metadata']['name']}", foreign_in_deployment(deployment, runtime)
        running = apply.list_by_label(self._client, "v1", "Pod", self._namespace, selector)
        found = [f"{where}: {difference.sentence}" for difference in differences if not difference.is_kserves]
        found += foreign_in_pods(deployment, [pod for pod in running if not _is_ending(pod)], storage)
        if not found and differences:
            late = f"KServe has not followed yet: {where}: {'; '.join(difference.sentence for difference in differences)}"
            if standing.state == "stuck":  # what the pods come to counts, whatever they are to become
                return standing.model_copy(update={"sentence": f"{standing.sentence}; {late}"})
            return Standing(state="rolling", sentence=f"{late}; {standing.sentence}")
        return _with_foreign(standing, found)

    def _foreign_fields(self, service: Object, spec: Object) -> tuple[ForeignField, ...]:
        return fields.foreign_fields(service, fields.expected(self._client, service, spec))

    def _fetching(self, runtime: Object | None) -> Object | None:
        """What fetches a version, as a storage container says it; none where nothing is installed that does."""
        if self._fetch == "storage-container":
            return apply.get(self._client, *STORAGE_CONTAINERS, RUNTIME)
        if runtime is None:
            return None
        return {
            "metadata": runtime["metadata"],
            "spec": {"container": init_container("", runtime["spec"]["containers"][0]["image"])},
        }

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


def _with_foreign(standing: Standing, foreign: Sequence[str]) -> Standing:
    """A standing that says first what is foreign; where traffic is stuck too, that is the state."""
    if not foreign:
        return standing
    state: Literal["stuck", "foreign"] = "stuck" if standing.state == "stuck" else "foreign"
    return Standing(state=state, sentence=f"{'; '.join(foreign)}; {standing.sentence}")


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


def _change(applied: AppliedObject, version: Version, foreign: Sequence[ForeignField]) -> Change:
    """What was changed about the InferenceService or its PodDisruptionBudget; who had changed it, where that is known."""
    before = applied.before
    gone = [f"what is not Perennial's was removed: {_listed(foreign)}"] if foreign else []
    if before is None:
        return Change(kind="Deployed", sentence=f"version {version.number} was deployed")
    if _digest(before) != version.digest:
        kind, sentences = ("Repaired" if gone else "RolledOut"), [f"version {version.number} takes over"]
    elif applied.change == "unchanged" and gone:
        kind, sentences = "Repaired", [f"the InferenceService of version {version.number} was changed by others"]
    else:
        what = "the InferenceService" if applied.change != "unchanged" else "the PodDisruptionBudget"
        kind, sentences = "Repaired", [f"{what} of version {version.number} had drifted from the ledger and was reconciled"]
        changed = [field for field in fields.foreign_fields(before, applied.object) if field.writers]
        sentences += [f"put back: {_listed(changed)}"] if changed else []
    return Change.model_validate({"kind": kind, "sentence": "; ".join([*sentences, *gone])})


def _listed(foreign: Sequence[ForeignField]) -> str:
    return ", ".join(map(str, foreign))


def _is_ending(stored: Object) -> bool:
    return "deletionTimestamp" in stored["metadata"]

"""A model's objects on a cluster, from its spec and the ledger: a pure function, so that what is wanted can be read and compared.

KServe's Standard mode: an InferenceService becomes a Deployment and a Service. How the container runs (image, ports, probes, log
folder) stands in the ServingRuntime of `k8s/`; how files come to it, in the ClusterStorageContainer. KServe makes no
PodDisruptionBudget: that one is ours.
"""

from typing import Any

from perennial.ledger import Run, Version
from perennial.spec.model import Model
from perennial.versions.store import name_of

RUNTIME = "perennial"
"""Name of the ServingRuntime, of the model format and of the storage container."""
SERVICE_ACCOUNT = "perennial-serving"
GROUP = "perennial.dev"
"""Begins the names of our labels and annotations."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "perennial"}
GRACE_SECONDS = 60
"""From the end's announcement to the kill: the drain, what is under way (30 s at most), and the log's last segment shipped."""
CPU_PERCENT = 70
"""Of the requested CPU, where the cluster scales: below, latency is flat; beyond, batches grow and answers wait."""
LABEL_LENGTH = 63
"""Most characters of a label."""
LABEL_DIGITS = 32
"""Hexadecimal digits of a digest in a label; annotations have all 64 of them."""

Object = dict[str, Any]


def inference_service(model: Model, version: Version, run: Run, namespace: str) -> Object:
    """The InferenceService that serves a version.

    Args:
        model: the spec: replicas, scaling.
        version: what shall serve.
        run: the run that made it.
        namespace: where it lives.
    """
    import kserve

    spec = model.spec.serving
    scales = spec.max_replicas is not None
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "hpa" if scales else "none",
        f"{GROUP}/version-digest": version.digest,
        f"{GROUP}/run-key": version.run_key,
        f"{GROUP}/dataset-digest": run.dataset or "",
    }
    predictor = kserve.V1beta1PredictorSpec(
        min_replicas=spec.replicas,
        max_replicas=spec.max_replicas,
        scale_metric="cpu" if scales else None,
        scale_target=CPU_PERCENT if scales else None,
        service_account_name=SERVICE_ACCOUNT,
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=GRACE_SECONDS,
        deployment_strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        labels=lineage(version, run),
        model=kserve.V1beta1ModelSpec(
            model_format=kserve.V1beta1ModelFormat(name=RUNTIME),
            runtime=RUNTIME,
            storage_uri=name_of(version.model, version.number, version.digest),
        ),
    )
    service = kserve.V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata={
            "name": version.model,
            "namespace": namespace,
            "labels": MANAGED_BY | lineage(version, run),
            "annotations": annotations,
        },
        spec=kserve.V1beta1InferenceServiceSpec(predictor=predictor),
    )
    service_object: Object = kserve.ApiClient().sanitize_for_serialization(service)
    return service_object


def disruption_budget(service: Object) -> Object:
    """The PodDisruptionBudget of an InferenceService: a drained node takes one pod at a time. It ends with its service.

    Args:
        service: as the API server stores it, with its uid.
    """
    metadata = service["metadata"]
    owner = {key: service[key] for key in ("apiVersion", "kind")} | {key: metadata[key] for key in ("name", "uid")}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": MANAGED_BY,
            "ownerReferences": [owner],
        },
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {"serving.kserve.io/inferenceservice": metadata["name"]}},
        },
    }


def lineage(version: Version, run: Run) -> dict[str, str]:
    """Labels that lead from a pod to the version, run, dataset and decision behind it."""
    labels = {
        "model": version.model,
        "version": str(version.number),
        "digest": version.digest[:LABEL_DIGITS],
        "run": run.run_id,
        "dataset": (run.dataset or "")[:LABEL_DIGITS],
        "decision": "" if run.decision is None else str(run.decision),
    }
    return {f"{GROUP}/{name}": value[:LABEL_LENGTH].rstrip("-") for name, value in labels.items() if value}

"""The pipelines that Kubeflow is given: one step for a whole training, one for a whole monitoring run.

On a real server a training took 299 s and 28 pods as a graph of its steps, and 73 s and 3 pods as one: each pod waits for the
platform longer than it works. The step executes `pipelines.training` or `pipelines.monitoring`, by the code of any other run.
Nothing is cached, and nothing repeated by the server: the ledger knows what was done.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from components.step import step
from perennial.settings import Settings

FOLDER = "/tmp"
CPU, MEMORY = ("500m", "2"), ("1Gi", "4Gi")
"""What a pod is given at least, and at most."""
WORKERS = 2
"""As many as the limit of processors: a container sees those of its node."""
SECONDS = {"training": 6 * 3600, "monitoring": 2 * 3600}
"""How long a pod may take, from its begin on a node."""
USER = 10001
"""Number of the image's user and group."""
CONFIG_MAP = "perennial-settings"
"""ConfigMap of the installation's settings."""
NOT_HANDED_ON = ("project", "state", "workers", "embedded", "pipelines", "steps_image", "models_from")
"""Settings that a pod has of its own, or has no use for."""
OF_CLIENTS = ("AWS_REGION", "AWS_ENDPOINT_URL", "PGUSER", "MLFLOW_TRACKING_USERNAME")
"""Variables of the stores' clients beside ours."""
SECRETS = {
    "perennial-postgresql": ("PGPASSWORD",),
    "perennial-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "perennial-mlflow": ("MLFLOW_TRACKING_PASSWORD",),
}
"""Secrets that a run reads, each with its keys: ledger and Feast's registry, bucket, MLflow. It never asks the online store."""
OPTIONAL = ("perennial-mlflow",)
"""Those that an installation need not have."""


@step
def train_model(
    model: str,
    now: str,
    reason: str,
    run: str,
    pipeline_run: str,
    report: dsl.Output[dsl.HTML],
    gates: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Train a challenger, judge it, and register it if every gate lets it through.

    Args:
        model: name of the model.
        now: time for which to train, ISO 8601 with a zone; empty for the real time.
        reason: why, in one sentence, where a person starts it.
        run: id of the prepared run, filled in by the controller; empty where a person starts it.
        pipeline_run: id of this run on Kubeflow Pipelines.
        report: page of the run.
        gates: what became of the run, and what each gate said.
        metrics: point estimates on the evaluation block.

    Returns:
        What became of it: `registered`, `stopped`, `invalid data`, `stood aside` or `failed`.
    """
    from pathlib import Path

    from pipelines.kubeflow.pages import metrics_of, write_pages
    from pipelines.kubeflow.pod import Order, carry_out

    ended = carry_out(Order("train", model, now, reason, run, pipeline_run))
    write_pages(ended, html=Path(report.path), markdown=Path(gates.path))
    metrics.metadata.update(metrics_of(ended))
    return ended.outcome


@step
def monitor_model(
    model: str,
    now: str,
    run: str,
    pipeline_run: str,
    report: dsl.Output[dsl.HTML],
    decision: dsl.Output[dsl.Markdown],
) -> str:
    """Look at what was served in every window that is due, and decide what is to be done.

    Args:
        model: name of the model.
        now: time for which to look, ISO 8601 with a zone; empty for the real time.
        run: id of the prepared run, filled in by the controller; empty where a person starts it.
        pipeline_run: id of this run on Kubeflow Pipelines.
        report: Evidently's page of the newest window.
        decision: what became of the run.

    Returns:
        What became of it: `leave`, `retrain`, `fix data`, `stood aside` or `failed`.
    """
    from pathlib import Path

    from pipelines.kubeflow.pages import write_pages
    from pipelines.kubeflow.pod import Order, carry_out

    ended = carry_out(Order("monitor", model, now, "", run, pipeline_run))
    write_pages(ended, html=Path(report.path), markdown=Path(decision.path))
    return ended.outcome


def graph(kind: str, image: str) -> Any:
    """The pipeline of a kind, as KFP compiles it.

    Args:
        kind: `training` or `monitoring`.
        image: of its step.
    """
    graphs: dict[str, Callable[[str], Any]] = {"training": _training, "monitoring": _monitoring}
    return graphs[kind](image)


def _training(image: str) -> Any:
    @dsl.pipeline(  # type: ignore[untyped-decorator]
        name="training",
        display_name="Perennial: train a model",
        description="Trains a challenger for a model, judges it, and registers it if every gate lets it through. "
        "Fill in the model's name; the controller prepares the run.",
    )
    def training(model: str, now: str = "", reason: str = "", run: str = "") -> None:
        task = train_model(model=model, now=now, reason=reason, run=run, pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        _in_pod(task, "training", image).set_display_name("Train, judge, register")

    return training


def _monitoring(image: str) -> Any:
    @dsl.pipeline(  # type: ignore[untyped-decorator]
        name="monitoring",
        display_name="Perennial: monitor a model",
        description="Measures every window of a model that is due, and decides what is to be done. "
        "Fill in the model's name; the controller prepares the run.",
    )
    def monitoring(model: str, now: str = "", run: str = "") -> None:
        task = monitor_model(model=model, now=now, run=run, pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        _in_pod(task, "monitoring", image).set_display_name("Measure, judge, decide")

    return monitoring


def _in_pod(task: Any, kind: str, image: str) -> Any:
    """The task with what its pod is given: image, limits, a user without rights, settings and secrets by reference."""
    task.set_container_image(image).set_caching_options(False)
    task.set_cpu_request(CPU[0]).set_cpu_limit(CPU[1]).set_memory_request(MEMORY[0]).set_memory_limit(MEMORY[1])
    task.set_env_variable("PERENNIAL_EMBEDDED", "never").set_env_variable("PERENNIAL_WORKERS", str(WORKERS))
    kubernetes.set_timeout(task, SECONDS[kind])
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path=FOLDER, size_limit="8Gi")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", "step")
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "perennial")
    names = [f"PERENNIAL_{name.upper()}" for name in Settings.model_fields if name not in NOT_HANDED_ON]
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {name: name for name in (*names, *OF_CLIENTS)}, optional=True)
    for secret, keys in SECRETS.items():
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=secret in OPTIONAL)
    return task

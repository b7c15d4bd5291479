"""Kubeflow Pipelines' REST API, as far as runs need it. What it says is a hint: the ledger is the truth.

Nothing is repeated here: a request whose answer is lost may have been carried out, and the server runs a repeated id twice.
"""

import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from perennial.errors import PlatformError
from pipelines.kubeflow.compiled import Compilation

TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Token of a pod for a server with several users; a standalone one asks for none."""
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
"""How long the server may take to accept a connection, and to answer."""
GLANCE_SECONDS = (2.0, 5.0)
"""The same where only a state is asked for: it is asked again at the next tick."""
SILENT_SECONDS = 10.0
"""How long a server that did not answer such a question is not asked it again: many runs may be looked at."""
REFUSALS = (400, 409)
"""What the server answers to a run that it will never take. Whatever else says nothing of the run."""

Hint = Literal["executing", "over", "terminated", "missing", "unknown"]
"""What the server says of a run. `terminated`: it is over because somebody ended it. `missing`: it knows no such run.
`unknown`: it does not answer, or with a fault of its own."""
OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
"""States after which nothing of a run executes, unless it is submitted or retried again."""
ENDED_BY_HAND = ("CANCELING", "CANCELED")
"""States that a run has only after somebody asked the server to end it."""


class PipelineServer:
    """The API server of one installation."""

    def __init__(self, address: str) -> None:
        """Nothing is asked yet.

        Args:
            address: `http://<host>:<port>`.
        """
        import kfp_server_api as generated

        configuration = generated.Configuration(host=address.rstrip("/"))
        configuration.retries = False
        if TOKEN.exists():  # read before each request: the kubelet replaces it when it runs out
            configuration.api_key_prefix = {"authorization": "Bearer"}
            configuration.refresh_api_key_hook = _read_token
            _read_token(configuration)
        client = generated.ApiClient(configuration)
        self.address = address
        self._runs, self._experiments = generated.RunServiceApi(client), generated.ExperimentServiceApi(client)
        self._health = generated.HealthzServiceApi(client)
        self._pipelines, self._uploads = generated.PipelineServiceApi(client), generated.PipelineUploadServiceApi(client)
        self._pipeline_type = generated.V2beta1Pipeline
        self._run_type, self._experiment_type = generated.V2beta1Run, generated.V2beta1Experiment
        self._refusal: type[Exception] = generated.ApiException
        self._timeout = (CONNECT_SECONDS, READ_SECONDS)
        self._silent_until, self._silence = 0.0, ""

    def submit(self, run_id: str, name: str, spec: dict[str, Any], parameters: dict[str, str], experiment: str) -> str:
        """Hand a run over under an id that no other ever had; returns why it was refused, empty where it was not.

        A lost answer is no refusal: the run may execute.

        Args:
            run_id: the id.
            name: for people.
            spec: the compiled pipeline.
            parameters: of the pipeline.
            experiment: id of the experiment.

        Raises:
            PlatformError: the server said neither yes nor no.
        """
        body = self._run_type(
            run_id=run_id,
            display_name=name,
            experiment_id=experiment,
            pipeline_spec=spec,
            runtime_config={"parameters": parameters},
        )
        try:
            self._runs.run_service_create_run(body, _request_timeout=self._timeout)
        except Exception as error:
            if isinstance(error, self._refusal) and _status(error) in REFUSALS:
                return self._said(error)
            raise self._unclear(error) from error
        return ""

    def experiment(self, name: str, namespace: str | None) -> str:
        """Id of the experiment of this name, made where there is none.

        Args:
            name: of the experiment.
            namespace: where a server with several users keeps it.

        Raises:
            PlatformError: the server does not answer or refuses.
        """
        where = {"namespace": namespace} if namespace and self._has_users() else {}
        try:
            answer = self._experiments.experiment_service_list_experiments(
                filter=_equals("display_name", name), **where, _request_timeout=self._timeout
            )
            for experiment in answer.experiments or ():
                return str(experiment.experiment_id)
            body = self._experiment_type(display_name=name, **where)
            return str(self._experiments.experiment_service_create_experiment(body, _request_timeout=self._timeout).experiment_id)
        except Exception as error:
            raise self._unclear(error) from error

    def upload(self, pipeline: Compilation, namespace: str | None) -> bool:
        """The server has this version of a pipeline; whether this call put it there. One of that name that it has stays.

        Args:
            pipeline: compiled.
            namespace: where a server with several users keeps it.

        Raises:
            PlatformError: the server does not answer or refuses.
        """
        where = {"namespace": namespace} if namespace and self._has_users() else {}
        try:
            pipeline_id = self._pipeline(pipeline, where)
            condition = _equals("display_name", pipeline.version)
            found = self._pipelines.pipeline_service_list_pipeline_versions(
                pipeline_id, filter=condition, _request_timeout=self._timeout
            )
            if found.pipeline_versions:
                return False
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{pipeline.name}.yaml"
                path.write_text(pipeline.text, encoding="utf-8")
                self._uploads.upload_pipeline_version(
                    str(path), name=pipeline.version, pipelineid=pipeline_id, _request_timeout=self._timeout
                )
        except Exception as error:
            raise self._unclear(error) from error
        return True

    def _pipeline(self, pipeline: Compilation, where: dict[str, str]) -> str:
        """Id of the pipeline of this name, made where there is none."""
        found = self._pipelines.pipeline_service_list_pipelines(
            filter=_equals("display_name", pipeline.name), **where, _request_timeout=self._timeout
        )
        for one in found.pipelines or ():
            return str(one.pipeline_id)
        description = pipeline.spec()["pipeline_spec"]["pipelineInfo"]["description"]
        body = self._pipeline_type(display_name=pipeline.name, description=description, **where)
        return str(self._pipelines.pipeline_service_create_pipeline(body, _request_timeout=self._timeout).pipeline_id)

    def hint(self, run_id: str) -> tuple[Hint, str]:
        """What the server says of a run, and its own word for it or what was wrong."""
        if time.monotonic() < self._silent_until:
            return "unknown", self._silence
        try:
            run = self._runs.run_service_get_run(run_id, _request_timeout=GLANCE_SECONDS)
        except Exception as error:  # whatever is wrong with the server says nothing of the run
            if isinstance(error, self._refusal) and _status(error) == 404:
                return "missing", "the server knows no such run"
            self._silence = str(self._unclear(error))
            if not _status(error):
                self._silent_until = time.monotonic() + SILENT_SECONDS
            return "unknown", self._silence
        state = str(run.state)
        if state not in OVER:
            return "executing", state
        # Of a run that was terminated the server says FAILED in the end, and CANCELED never.
        was_ended = any(str(earlier.state) in ENDED_BY_HAND for earlier in run.state_history or ())
        return ("terminated" if was_ended else "over"), state

    def terminate(self, run_id: str) -> None:
        """Ask the server to end what a run executes; one that is over, or that it does not know, needs no end.

        Raises:
            PlatformError: the server does not answer.
        """
        try:
            self._runs.run_service_terminate_run(run_id, _request_timeout=self._timeout)
        except Exception as error:
            if not (isinstance(error, self._refusal) and _status(error) in (400, 404)):
                raise self._unclear(error) from error

    def _has_users(self) -> bool:
        return bool(self._health.healthz_service_get_healthz(_request_timeout=self._timeout).multi_user)

    def _unclear(self, error: Exception) -> PlatformError:
        return PlatformError(f"Kubeflow Pipelines {self.address}: {self._said(error)}. Its platform team mends it")

    def _said(self, error: Exception) -> str:
        """The server's own sentence, or the client's, on one line."""
        with suppress(ValueError, TypeError, AttributeError):
            told = json.loads(getattr(error, "body", ""))
            return f"{_status(error)} {told.get('message') or told.get('error')}"[:500]
        if isinstance(error, self._refusal):  # its text has the answer's headers, which are nobody's business
            return f"{_status(error)} {getattr(error, 'reason', '')}"
        return f"{type(error).__name__} {error}".replace("\n", " ")[:300]


def _equals(key: str, value: str) -> str:
    """A filter of the API: rows in which this key has this value."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})


def _read_token(configuration: Any) -> None:
    """The client asks with the token as it is now."""
    configuration.api_key = {"authorization": TOKEN.read_text(encoding="utf-8").strip()}


def _status(error: Exception) -> int:
    return int(getattr(error, "status", 0) or 0)

"""The routes of the API: what each request must be, and the shape of each answer."""

import json
import urllib.parse
import urllib.request
import uuid
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import kfp_server_api
import yaml

from tests.servers.kubeflow.ir import (
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    Pipeline,
    RefusalError,
    Tree,
    as_protobuf,
    parameters_of,
    read_pipeline,
)
from tests.servers.kubeflow.run import ALIVE, Run, stamp

if TYPE_CHECKING:
    from tests.servers.kubeflow.fixture import Kubeflow

PREFIX = "/apis/v2beta1"
LISTED = {"page_token", "page_size", "sort_by", "filter", "namespace", "experiment_id"}
LONG_NUMBERS = {"max_concurrency", "interval_second"}
"""Fields of 64 bits: the client calls them texts; either is taken, and texts are answered."""
SERVICE_ACCOUNT = "pipeline-runner"
NO_ROUTE = RefusalError(404, NOT_FOUND, "Not Found")


def check_fields(body: Any, kind: str, where: str = "") -> None:
    """Refuse a field that the type of the API does not have, at any depth; the types are those of its client.

    Args:
        body: what was sent.
        kind: a type of `kfp_server_api`, as the client writes it: `V2beta1Run`, `list[V2beta1Run]`, `str`.
        where: the path to `body`, for the sentence.
    """
    if kind.startswith("list[") and isinstance(body, list):
        for one in body:
            check_fields(one, kind[5:-1], where)
        return
    fields: dict[str, str] = getattr(getattr(kfp_server_api, kind, None), "openapi_types", {})
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int, str), "bool": (bool,), "datetime": (str,)}
    if not isinstance(body, (dict,) if fields else kinds.get(kind, (object,))):
        raise RefusalError(
            400, INVALID_ARGUMENT, f"proto: (line 1:2): invalid value for {kind} field {where}: {json.dumps(body)[:80]}"
        )
    for name, value in body.items() if isinstance(body, dict) and fields else ():
        if name not in fields:
            raise RefusalError(400, INVALID_ARGUMENT, f'proto: (line 1:2): unknown field "{name}"')
        check_fields(value, "int" if name in LONG_NUMBERS else fields[name], f"{where}.{name}".lstrip("."))


class Answers:
    """What the API keeps beside runs, and a method for each route."""

    def __init__(self, kubeflow: "Kubeflow") -> None:
        """Begin with the experiment `Default` and nothing else.

        Args:
            kubeflow: whose runs are asked for.
        """
        self.kubeflow = kubeflow
        self.experiments: dict[str, Tree] = {}
        self.pipelines: dict[str, Tree] = {}
        self.versions: dict[str, Tree] = {}
        self.recurring: dict[str, Tree] = {}
        self._experiment("Default", "All runs created without specifying an experiment will be grouped here.")

    def answer(self, request: tuple[str, ...], query: Tree, body: Tree) -> Tree:
        """The answer to a request of the API: its method and the parts of its path, its query, its body."""
        match request:
            case ("GET", "healthz"):
                return {"commit_sha": "unknown", "tag_name": "unknown", "multi_user": False, "pipeline_store": "database"}
            case ("GET", "experiments"):
                return listed("experiments", list(self.experiments.values()), query)
            case ("POST", "experiments"):
                return self.create_experiment(body)
            case ("GET", "experiments", identity):
                return found(self.experiments, "Experiment", identity)
            case (_, "pipelines", *_):
                return self.answer_pipelines(request, query, body)
            case (_, "runs", *_):
                return self.answer_runs(request, query, body)
            case ("GET", "recurringruns"):
                return listed("recurringRuns", list(self.recurring.values()), query)
            case ("POST", "recurringruns"):
                return self.create_recurring(body)
            case ("GET", "recurringruns", identity):
                return found(self.recurring, "Job", identity)
            case ("POST", "recurringruns", act) if act.endswith(":disable"):
                return self.disable(act.removesuffix(":disable"))
        raise NO_ROUTE

    def answer_pipelines(self, request: tuple[str, ...], query: Tree, body: Tree) -> Tree:
        """The part of `answer` about pipelines and their versions."""
        match request:
            case ("GET", "pipelines"):
                return listed("pipelines", list(self.pipelines.values()), query)
            case ("POST", "pipelines"):
                return self.create_pipeline(body)
            case ("POST", "pipelines", "upload"):
                return self.upload(query, body)
            case ("POST", "pipelines", "upload_version"):
                return self.upload_version(query, body)
            case ("GET", "pipelines", identity):
                return found(self.pipelines, "Pipeline", identity)
            case ("GET", "pipelines", identity, "versions"):
                return listed("pipeline_versions", self._versions_of(identity), query)
            case ("POST", "pipelines", identity, "versions"):
                return self.create_version(identity, body)
            case ("GET", "pipelines", _, "versions", identity):
                return found(self.versions, "PipelineVersion", identity)
        raise NO_ROUTE

    def answer_runs(self, request: tuple[str, ...], query: Tree, body: Tree) -> Tree:
        """The part of `answer` about runs."""
        match request:
            case ("GET", "runs"):
                return listed("runs", self._runs_of(query.get("experiment_id", "")), query)
            case ("POST", "runs"):
                return self.create_run(body)
            case ("GET", "runs", identity):
                return self.kubeflow.run(identity).answer()
            case ("POST", "runs", act) if act.endswith(":terminate"):
                self.kubeflow.terminate(act.removesuffix(":terminate"))
                return {}
            case ("POST", "runs", act) if act.endswith(":retry"):
                self.kubeflow.retry(act.removesuffix(":retry"))
                return {}
        raise NO_ROUTE

    # Experiments

    def _experiment(self, display_name: str, description: str = "") -> Tree:
        identity = str(uuid.uuid4())
        self.experiments[identity] = {
            "experiment_id": identity,
            "display_name": display_name,
            **({"description": description} if description else {}),
            "created_at": stamp(),
            "storage_state": "AVAILABLE",
            "last_run_created_at": ALIVE,
        }
        return self.experiments[identity]

    def create_experiment(self, body: Tree) -> Tree:
        """A new experiment; a name can be had once."""
        check_fields(body, "V2beta1Experiment")
        name = required(body, "display_name")
        if any(one["display_name"] == name for one in self.experiments.values()):
            raise RefusalError(409, 6, f"Already exist error: Failed to create a new experiment. The name {name} already exists")
        return self._experiment(name, body.get("description", ""))

    # Pipelines

    def create_pipeline(self, body: Tree) -> Tree:
        """A pipeline without a version."""
        check_fields(body, "V2beta1Pipeline")
        return self._pipeline(body.get("name") or required(body, "display_name"), body)

    def _pipeline(self, name: str, body: Tree) -> Tree:
        if any(one["name"] == name for one in self.pipelines.values()):
            raise RefusalError(409, 6, f"Already exist error: Failed to create a new pipeline. The name {name} already exists")
        identity = str(uuid.uuid4())
        self.pipelines[identity] = {
            "pipeline_id": identity,
            "display_name": body.get("display_name") or name,
            "name": name,
            **({"description": body["description"]} if body.get("description") else {}),
            "created_at": stamp(),
        }
        return self.pipelines[identity]

    def upload(self, query: Tree, body: Tree) -> Tree:
        """A pipeline with its first version, from a file."""
        spec = body["file"]
        pipeline = self._pipeline(query.get("name") or read_pipeline(spec).name, query)
        self.add_version(pipeline["pipeline_id"], pipeline["name"], spec, query)
        return pipeline

    def upload_version(self, query: Tree, body: Tree) -> Tree:
        """A further version, from a file."""
        identity = required(query, "pipelineid")
        found(self.pipelines, "Pipeline", identity)
        return self.add_version(identity, query.get("name") or str(uuid.uuid4()), body["file"], query)

    def create_version(self, identity: str, body: Tree) -> Tree:
        """A further version, from an address."""
        check_fields(body, "V2beta1PipelineVersion")
        found(self.pipelines, "Pipeline", identity)
        address = body.get("package_url", {}).get("pipeline_url")
        if not address:
            raise RefusalError(400, INVALID_ARGUMENT, "Invalid input error: Package URL is empty. Please specify a valid URL")
        with urllib.request.urlopen(address) as package:
            spec = read_package(package.read())
        return self.add_version(identity, body.get("name") or required(body, "display_name"), spec, body)

    def add_version(self, pipeline_id: str, name: str, spec: Tree, body: Tree) -> Tree:
        read_pipeline(spec)
        identity = str(uuid.uuid4())
        self.versions[identity] = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": identity,
            "display_name": body.get("display_name") or name,
            "name": name,
            "created_at": stamp(),
            "pipeline_spec": spec,
        }
        return self.versions[identity]

    def _versions_of(self, identity: str) -> list[Tree]:
        return [one for one in self.versions.values() if one["pipeline_id"] == identity]

    def _source(self, body: Tree) -> tuple[Pipeline, Tree]:
        """The pipeline that a body names or brings, and what an answer says of it."""
        if "pipeline_spec" in body:
            return read_pipeline(body["pipeline_spec"]), {"pipeline_spec": body["pipeline_spec"]}
        reference = body.get("pipeline_version_reference", {})
        identity = reference.get("pipeline_version_id")
        if not identity and reference.get("pipeline_id"):
            identity = self._versions_of(reference["pipeline_id"])[-1]["pipeline_version_id"]
        if not identity:
            raise RefusalError(400, INVALID_ARGUMENT, "Invalid input error: Neither pipeline spec nor pipeline version is given")
        spec = found(self.versions, "PipelineVersion", identity)["pipeline_spec"]
        return read_pipeline(spec), {"pipeline_version_reference": {**reference, "pipeline_version_id": identity}}

    def _experiment_of(self, body: Tree) -> Tree:
        """The experiment that a body names, or `Default`."""
        return found(self.experiments, "Experiment", body.get("experiment_id") or next(iter(self.experiments)))

    # Runs

    def create_run(self, body: Tree) -> Tree:
        """Start a run; the answer comes before anything of it has begun."""
        check_fields(body, "V2beta1Run")
        experiment = self._experiment_of(body)
        pipeline, source = self._source(body)
        given = as_protobuf(body.get("runtime_config", {}).get("parameters") or {})
        run_id = body.get("run_id") or str(uuid.uuid4())
        told = {
            "experiment_id": experiment["experiment_id"],
            "run_id": run_id,
            "display_name": required(body, "display_name"),
            **({"description": body["description"]} if body.get("description") else {}),
            **source,
            "runtime_config": {**body.get("runtime_config", {}), "parameters": dict(sorted(given.items()))},
            "service_account": body.get("service_account") or SERVICE_ACCOUNT,
        }
        run = Run(run_id, told["display_name"], pipeline, parameters_of(pipeline, given), told)
        with self.kubeflow.lock:
            answer = self.kubeflow.create(run).answer()
        experiment["last_run_created_at"] = run.created_at
        return {name: value for name, value in answer.items() if name != "run_details"}

    def _runs_of(self, experiment_id: str) -> list[Tree]:
        runs = [run.answer() for run in list(self.kubeflow.runs.values())]
        return [run for run in runs if experiment_id in ("", run["experiment_id"])]

    # Recurring runs

    def create_recurring(self, body: Tree) -> Tree:
        """Keep a recurring run; none is ever fired."""
        check_fields(body, "V2beta1RecurringRun")
        experiment = self._experiment_of(body)
        pipeline, source = self._source(body)
        parameters_of(pipeline, as_protobuf(body.get("runtime_config", {}).get("parameters") or {}))
        source.get("pipeline_version_reference", {}).pop("pipeline_id", None)
        identity = str(uuid.uuid4())
        schedules = {kind: {k: str(v) for k, v in one.items()} for kind, one in required(body, "trigger").items()}
        enabled = body.get("mode", "ENABLE") == "ENABLE"
        self.recurring[identity] = {
            "recurring_run_id": identity,
            "display_name": required(body, "display_name"),
            **source,
            "runtime_config": as_protobuf(body.get("runtime_config", {})),
            "service_account": body.get("service_account") or SERVICE_ACCOUNT,
            "max_concurrency": str(body.get("max_concurrency", 1)),
            "trigger": schedules,
            "mode": "ENABLE" if enabled else "DISABLE",
            "created_at": stamp(),
            "updated_at": stamp(),
            "status": "ENABLED" if enabled else "DISABLED",
            **({"no_catchup": True} if body.get("no_catchup") else {}),
            "namespace": "kubeflow",
            "experiment_id": experiment["experiment_id"],
        }
        return self.recurring[identity]

    def disable(self, identity: str) -> Tree:
        """Stop a recurring run."""
        found(self.recurring, "Job", identity).update(mode="DISABLE", status="DISABLED", updated_at=stamp())
        return {}

    def server(self, port: int) -> ThreadingHTTPServer:
        """A server of these answers on a port of the loopback."""
        return ThreadingHTTPServer(("127.0.0.1", port), type("KubeflowHandler", (Handler,), {"answers": self}))


def required(body: Tree, name: str) -> Any:
    """A field that may not be empty."""
    if not body.get(name):
        raise RefusalError(400, INVALID_ARGUMENT, f"Invalid input error: {name} is empty. Please specify it")
    return body[name]


def found(rows: dict[str, Tree], kind: str, identity: str) -> Tree:
    """A row by its id."""
    if identity not in rows:
        raise RefusalError(404, NOT_FOUND, f"ResourceNotFoundError: {kind} {identity} not found.")
    return rows[identity]


def listed(name: str, rows: list[Tree], query: Tree) -> Tree:
    """A page of rows: filtered, sorted; an empty list is an empty answer."""
    rows = [row for row in rows if passes(row, query.get("filter", ""))]
    key, _, order = query.get("sort_by", "").partition(" ")
    if key:
        rows = sorted(rows, key=lambda row: str(row.get(key, "")), reverse=order == "desc")
    first, size = int(query.get("page_token") or 0), int(query.get("page_size") or 0) or 20
    page, more = rows[first : first + size], len(rows) > first + size
    return {
        **({name: page, "total_size": len(rows)} if page else {}),
        **({"next_page_token": str(first + size)} if more else {}),
    }


def passes(row: Tree, text: str) -> bool:
    """Whether a row passes a filter; only equality is known here."""
    predicates = json.loads(text).get("predicates", []) if text else []
    for one in predicates:
        key = {"name": "display_name"}.get(one.get("key"), one.get("key"))
        if key not in ("display_name", "description", "state", "storage_state") or one.get("operation") not in (1, "EQUALS"):
            raise RefusalError(400, INVALID_ARGUMENT, f"Invalid input error: filter {json.dumps(one)} is not supported")
        if row.get(key) != one.get("stringValue", one.get("string_value")):
            return False
    return True


def read_package(content: bytes) -> Tree:
    """A package's documents: a spec, or a spec with its platform spec."""
    documents = [one for one in yaml.safe_load_all(content) if one]
    return documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}


class Handler(BaseHTTPRequestHandler):
    """One request of the API."""

    answers: Answers

    def do_GET(self) -> None:
        self.handle_request()

    def do_POST(self) -> None:
        self.handle_request()

    def do_DELETE(self) -> None:
        self.handle_request()

    def handle_request(self) -> None:
        """Answer, or refuse in the API's words."""
        address = urllib.parse.urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.answers.kubeflow.is_broken():
                raise RefusalError(500, INTERNAL, "InternalServerError: dial tcp mysql:3306: connect: connection refused")
            status, answer = 200, self.answer(address, content)
        except RefusalError as refusal:
            status, answer = refusal.status, {"code": refusal.code, "message": refusal.message, "details": []}
        except Exception as error:
            self.answers.kubeflow.broken.append(error)
            status, answer = 500, {"code": INTERNAL, "message": f"the stand-in broke: {error!r}", "details": []}
        is_post_of_run = self.command == "POST" and address.path == f"{PREFIX}/runs"
        if is_post_of_run and self.answers.kubeflow.loses_answer():
            self.close_connection = True
            return
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, address: urllib.parse.SplitResult, content: bytes) -> Tree:
        """The answer to a request that is one of the API's."""
        if not address.path.startswith(f"{PREFIX}/"):
            raise NO_ROUTE
        parts = address.path.removeprefix(f"{PREFIX}/").split("/")
        query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        known = {"name", "display_name", "description", "namespace", "pipelineid", "tags"} if "upload" in parts[-1] else LISTED
        if unknown := query.keys() - known - {"experiment_id"}:
            raise RefusalError(400, INVALID_ARGUMENT, f"unknown query parameters {sorted(unknown)}")
        return self.answers.answer((self.command, *parts), query, self.body(content))

    def body(self, content: bytes) -> Tree:
        """The request's body: JSON, or a file of a form."""
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            form = BytesParser(EmailMessage, policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
            return {"file": read_package(next(form.iter_parts()).get_content())}
        try:
            body: Tree = json.loads(content) if content else {}
            return body
        except ValueError as error:
            raise RefusalError(400, INVALID_ARGUMENT, f"proto: syntax error: {error}") from error

    def log_message(self, *_: object) -> None:
        """Say nothing."""

"""A small world to serve in: a shop's online store, versions of a model of it, a server process. No Feast.

Views: `account` of a customer (any age), `pair` of customer and shop (two hours, last known), `sky` of a shop (three hours,
missing when older). What the server must answer is computed here, from the values as they were written.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from feature_repo.online_store.database import open_database
from feature_repo.online_store.layout import Field, Layout, Value, key_encoder
from perennial.data.matrix import to_row
from perennial.data.read_plan import PlanKey, PlanValue, PlanView, ReadPlan
from perennial.data.rows import Rows
from perennial.evaluation.calibration import Calibrator
from perennial.spec.columns import Column
from perennial.spec.features import Freshness
from perennial.training import model_file
from perennial.training.fitting import fit
from perennial.training.recipe import Recipe
from perennial.versions.contract import Contract
from perennial.versions.folder import Published, publish
from serving.deployers.local import deploy

NAME = "chargeback"
NOW = 1_700_000_000.0
"""Time of requests, and of every observation unless a test says otherwise."""
ISO_NOW = "2023-11-14T22:13:20Z"
Policy = Literal["reject", "default", "last_known"]
CUSTOMER, SHOP = Field(name="customer", kind="int64"), Field(name="shop", kind="string")


def layout(view: str, keys: Sequence[Field], fields: Mapping[str, str]) -> Layout:
    values = [{"name": name, "kind": kind} for name, kind in {**fields, f"{view}_observed_at": "timestamp"}.items()]
    return Layout(view=view, join_keys=tuple(keys), fields=tuple(Field.model_validate(value) for value in values))


LAYOUTS = {
    "account": layout("account", [CUSTOMER], {"account_days": "int64", "account_vip": "bool", "account_country": "string"}),
    "pair": layout("pair", [CUSTOMER, SHOP], {"pair_orders": "int32", "pair_spend": "float64"}),
    "sky": layout("sky", [SHOP], {"sky_rain": "float32"}),
}
DTYPES = {"int64": "int", "int32": "int", "bool": "bool", "string": "string", "float64": "float", "float32": "float"}
LIMITS: dict[str, tuple[float, Policy]] = {"pair": (2.0, "last_known"), "sky": (3.0, "default")}
FIELDS = (
    Column(name="amount", dtype="float", view=None),
    Column(name="hour", dtype="int", view=None),
    Column(name="method", dtype="string", view=None),
    Column(name="gift", dtype="bool", view=None),
    Column(name="unseen", dtype="int", view=None),
)
"""The model does not see the last one; it is asked for and logged all the same."""


def plan(sky_policy: Policy = "default") -> ReadPlan:
    views = []
    for name, packed in LAYOUTS.items():
        hours, policy = LIMITS.get(name) or (None, "default")
        views.append(
            PlanView(
                view=name,
                join_keys=tuple(PlanKey(name=key.name, kind=key.kind) for key in packed.join_keys),
                fields=tuple(PlanValue(name=value.name, kind=value.kind) for value in packed.fields),
                layout=packed.digest.hex(),
                features=tuple(
                    Column(name=value.name, dtype=DTYPES[value.kind], view=name)
                    for value in packed.fields
                    if value.kind != "timestamp"
                ),
                observed_at=f"{name}_observed_at",
                max_age_hours=hours,
                on_stale=sky_policy if name == "sky" else policy,
            )
        )
    keys = (PlanKey(name="customer", kind="int64"), PlanKey(name="shop", kind="string"))
    return ReadPlan(service="chargeback", service_digest="5" * 64, keys=keys, fields=FIELDS, views=tuple(views))


@dataclass
class World:
    """Where things are, and what was written."""

    folder: Path
    stored: dict[tuple[str, tuple[Value, ...]], dict[str, Value]] = field(default_factory=dict)
    redis: str | None = None
    """URL of the online store; None keeps it in a file."""

    @property
    def online(self) -> str:
        return self.redis or str(self.folder / "online.db")

    @property
    def current(self) -> Path:
        return self.folder / "current"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def write(self, view: str, key: tuple[Value, ...], values: Sequence[Value], observed_at: float = NOW) -> None:
        """The store holds `values` for `key`."""
        self.write_many(view, {key: values}, observed_at)

    def write_many(self, view: str, rows: Mapping[tuple[Value, ...], Sequence[Value]], observed_at: float = NOW) -> None:
        packed = LAYOUTS[view]
        encode = key_encoder(packed.join_keys)
        with open_database(self.online) as database:
            database.keep_layouts(LAYOUTS.values())
            database.write(
                packed,
                ((encode(key), int(NOW * 1e6), packed.encode([*values, int(observed_at)])) for key, values in rows.items()),
            )
        names = [value.name for value in packed.fields]
        for key, values in rows.items():
            self.stored[view, key] = dict(zip(names, values, strict=False))

    def features(self, customer: int, shop: str, without: Sequence[str] = ()) -> dict[str, Value]:
        """What the model must see, but for the views `without`."""
        keys: dict[str, tuple[Value, ...]] = {"account": (customer,), "pair": (customer, shop), "sky": (shop,)}
        found: dict[str, Value] = {}
        for view, key in keys.items():
            if view not in without:
                found |= self.stored.get((view, key), {})
        return found


@dataclass
class Made:
    """A version, and its parts, to say what it must answer."""

    published: Published
    contract: Contract
    model: Any

    @property
    def digest(self) -> str:
        return self.published.digest

    def probability(self, values: Mapping[str, object]) -> float:
        """What this version must answer for these features and fields."""
        matrix = np.empty((1, len(self.contract.columns)), dtype=object)
        matrix[0] = to_row(values, self.contract.columns)
        return float(self.contract.calibrator.apply(self.model.predict_proba(matrix)[:, 1])[0])


def make_version(
    folder: Path,
    seed: int,
    read_plan: ReadPlan | None,
    name: str = NAME,
    log_required: bool = False,
    id_column: str = "",
    id_kind: Literal["string", "int64"] = "string",
) -> Made:
    """A fitted, published version; another seed gives other answers."""
    columns = (*plan().features, *FIELDS[:-1])[::-1]
    random = np.random.default_rng(seed)
    rows = 600
    matrix = np.empty((rows, len(columns)), dtype=object)
    for place, column in enumerate(columns):
        if column.dtype == "string":
            matrix[:, place] = random.choice(np.array(["card", "wallet", "DE", None], dtype=object), rows)
        else:
            matrix[:, place] = random.normal(5, 4, rows).round(2)
    signal = sum(matrix[:, place].astype(float) for place, column in enumerate(columns) if column.dtype != "string")
    label = signal + random.normal(0, 6, rows) > 40
    time = np.datetime64("2023-01-01", "us") + np.arange(rows)
    recipe = Recipe(
        kind="gradient_boosting",
        parameters={"learning_rate": 0.2, "iterations": 20, "max_leaf_nodes": 8, "min_samples_leaf": 20, "l2": 1.0},
        columns=tuple(column.name for column in columns),
    )
    model = fit(Rows(np.arange(rows), matrix, label, time, time), recipe, columns, seed, 1)
    contract = Contract(
        model=name,
        run_key=f"{seed:064x}",
        service="chargeback",
        service_digest="5" * 64,
        join_keys=("customer", "shop"),
        columns=columns,
        freshness=tuple(Freshness(view=view, max_age_hours=hours, on_stale=how) for view, (hours, how) in LIMITS.items()),
        recipe=recipe,
        calibrator=Calibrator(kind="sigmoid", slope=0.8, intercept=0.1 * seed),
        threshold=0.4,
        dataset="d" * 64,
        trained_from="2023-01-01T00:00:00+00:00",
        trained_until="2023-06-01T00:00:00+00:00",
        seed=seed,
        plan=read_plan,
        log_required=log_required,
        id_column=id_column,
        id_kind=id_kind,
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model": folder / f"{seed}.skops", "contract": folder / f"{seed}.json"}
    model_file.dump(model, files["model"])
    contract.write(files["contract"])
    return Made(publish(files, name, contract.run_key, folder / "versions"), contract, model)


@contextmanager
def served(world: World, *more: str, runner: Sequence[str] = ("-m", "serving.runtime")) -> Iterator["Served"]:
    """A server process for the world; it is gone afterwards."""
    output = world.folder / "server.txt"
    arguments = ["--model", NAME, "--current", str(world.current), "--online", world.online, "--port", "0", *more]
    with output.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen([sys.executable, *runner, *arguments], stderr=stream, env=dict(os.environ))
    found = None
    try:
        found = Served(process, port_in(output, process), output)
        yield found
    finally:
        for connection in found.connections if found else []:
            connection.http.close()
        process.kill()
        process.wait()


def port_in(output: Path, process: "subprocess.Popen[bytes]", seconds: float = 60) -> int:
    """The port that a server says it listens on."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = re.search(r"serving .* on http://\S+:(\d+)", output.read_text(encoding="utf-8"))
        if found:
            return int(found[1])
        assert process.poll() is None, output.read_text(encoding="utf-8")
        time.sleep(0.02)
    raise AssertionError(f"no server after {seconds} s: {output.read_text(encoding='utf-8')}")


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One keep-alive connection; a test that wants to know whether it was reused looks at `opened`."""

    def __init__(self, port: int) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.http.connect()
        self.local_port: int = self.http.sock.getsockname()[1]
        self.time: str | None = ISO_NOW
        """Time of its requests; None leaves it to the server."""

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer; `body` is JSON unless it is bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if method == "POST" else {}
        if self.time is not None:
            given["Perennial-Time"] = self.time
        self.http.request(method, path, data, {**given, **(headers or {})})
        response = self.http.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    @property
    def is_the_same(self) -> bool:
        """Whether the first connection is still in use."""
        return self.http.sock is not None and self.http.sock.getsockname()[1] == self.local_port

    def v1(self, *instances: Mapping[str, object], **headers: str) -> Answer:
        return self.ask("POST", f"/v1/models/{NAME}:predict", {"instances": list(instances)}, headers)

    def v2(self, body: Mapping[str, object]) -> Answer:
        return self.ask("POST", f"/v2/models/{NAME}/infer", body)


@dataclass
class Served:
    process: "subprocess.Popen[bytes]"
    port: int
    output: Path
    connections: list[Connection] = field(default_factory=list)

    def connect(self) -> Connection:
        self.connections.append(Connection(self.port))
        return self.connections[-1]

    def wait_until_ready(self, wanted: bool = True, seconds: float = 20) -> Answer:
        """The readiness answer once it is as wanted."""
        connection, until = self.connect(), time.monotonic() + seconds
        while time.monotonic() < until:
            answer = connection.ask("GET", f"/v2/models/{NAME}/ready")
            if (answer.status == 200) == wanted:
                return answer
            time.sleep(0.05)
        raise AssertionError(f"ready is not {wanted} after {seconds} s: {self.output.read_text(encoding='utf-8')}")

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by name and labels."""
        lines = self.connect().ask("GET", "/metrics").body.decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and not line.startswith("#")}


def instance(customer: int = 1, shop: str = "S1", **fields: object) -> dict[str, object]:
    """A good V1 instance."""
    given = {"amount": 5.5, "hour": 7, "method": "card", "gift": False, "unseen": 3}
    return {"customer": customer, "shop": shop, **given, **fields}


def tensors(*instances: Mapping[str, object]) -> dict[str, object]:
    """The V2 request of V1 instances."""
    types = {"customer": "INT64", "shop": "BYTES", "amount": "FP64", "hour": "INT64", "method": "BYTES", "gift": "BOOL"}
    names = list(instances[0])
    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(instances)],
                "datatype": types.get(name, "INT64"),
                "data": [given[name] for given in instances],
            }
            for name in names
        ]
    }


def fill(world: World) -> None:
    """Two customers and two shops are known; customer 2 has nulls, shop S2 has rain of five hours ago."""
    world.write("account", (1,), [300, True, "DE"])
    world.write("account", (2,), [None, None, None])
    world.write("pair", (1, "S1"), [4, 12.5])
    world.write("pair", (1, "S2"), [1, 3.25], NOW - 4 * 3600)
    world.write("sky", ("S1",), [0.5])
    world.write("sky", ("S2",), [7.75], NOW - 5 * 3600)


def deploy_made(world: World, made: Made, number: int | None = 1) -> None:
    deploy(world.current, made.published.path, number)

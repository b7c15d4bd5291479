"""The real process over HTTP: what it answers by both protocols, what it logs, and what it never loads."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.prediction_log import LogRow, read_segment
from serving.runtime.refusal import REFUSED
from tests.serving.world import (
    ISO_NOW,
    NAME,
    NOW,
    Made,
    Served,
    World,
    deploy_made,
    fill,
    instance,
    make_version,
    plan,
    served,
    tensors,
)

WITH_MODULES = """
import json, os, runpy, signal, sys
path = sys.argv.pop(1)
def dump(*_):
    with open(path + ".part", "w") as file:
        json.dump(sorted(sys.modules), file)
    os.rename(path + ".part", path)
signal.signal(signal.SIGUSR1, dump)
runpy.run_module("serving.runtime", run_name="__main__", alter_sys=True)
"""
"""Runs the process as `python -m` does, and writes the names in its `sys.modules` whenever it is told to."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(tmp_path_factory.mktemp("serving"))
    fill(found)
    return found


@pytest.fixture(scope="module")
def made(world: World) -> Made:
    found = make_version(world.folder, 1, plan())
    deploy_made(world, found, number=7)
    return found


@pytest.fixture(scope="module")
def server(world: World, made: Made) -> Iterator[Served]:
    runner = ("-c", WITH_MODULES, str(world.folder / "modules.json"))
    with served(world, "--log", str(world.log), "--replay", runner=runner) as found:
        found.wait_until_ready()
        yield found


def logged(world: World) -> dict[str, LogRow]:
    """Every row of the log by its id."""
    segments = [read_segment(path) for path in sorted(world.log.iterdir())]
    assert all(segment.damage is None for segment in segments)
    return {row.prediction_id: row for segment in segments for row in segment.rows}


def test_v1_answers_what_the_version_says_for_the_stored_features(server: Served, world: World, made: Made) -> None:
    answer = server.connect().v1(instance(1, "S1"), instance(1, "S1", amount=None, method="never seen"), instance(99, "S9"))
    assert answer.status == 200
    assert (answer.json["model_name"], answer.json["model_version"]) == (NAME, made.digest)
    first, second, third = answer.json["predictions"]
    assert first["probability"] == pytest.approx(made.probability({**world.features(1, "S1"), **instance()}), abs=1e-12)
    assert second["probability"] == pytest.approx(
        made.probability({**world.features(1, "S1"), **instance(amount=None, method="never seen")}), abs=1e-12
    )
    assert third["probability"] == pytest.approx(made.probability(instance()), abs=1e-12)
    assert [row["decision"] for row in (first, second, third)] == [row["probability"] >= 0.4 for row in (first, second, third)]
    assert first["feature_age_s"] == {"account": 0.0, "pair": 0.0, "sky": 0.0}
    assert first["not_fresh"] == {}
    assert third["feature_age_s"] == {"account": None, "pair": None, "sky": None}
    assert third["not_fresh"] == {"account": "missing", "pair": "missing", "sky": "missing"}


def test_an_old_view_is_treated_as_the_spec_says_and_named(server: Served, world: World, made: Made) -> None:
    (found,) = server.connect().v1(instance(1, "S2")).json["predictions"]
    seen = world.features(1, "S2", without=["sky"])
    assert "pair_spend" in seen
    assert found["probability"] == pytest.approx(made.probability({**seen, **instance()}), abs=1e-12)
    assert found["not_fresh"] == {"pair": "stale", "sky": "stale"}
    assert found["feature_age_s"] == {"account": 0.0, "pair": 4 * 3600.0, "sky": 5 * 3600.0}


def test_v2_gives_the_same_numbers_as_v1(server: Served, made: Made) -> None:
    instances = [instance(1, "S1"), instance(2, "S2", gift=True, hour=-3), instance(99, "S1", amount=1e6)]
    connection = server.connect()
    rows = connection.v1(*instances).json["predictions"]
    answer = connection.v2({"id": "call 7", **tensors(*instances)})
    assert answer.status == 200
    assert (answer.json["id"], answer.json["model_name"], answer.json["model_version"]) == ("call 7", NAME, made.digest)
    outputs = {output["name"]: output for output in answer.json["outputs"]}
    assert [output["shape"] for output in outputs.values()] == [[3]] * 7
    assert {name: output["datatype"] for name, output in outputs.items()} == {
        "probability": "FP64",
        "decision": "BOOL",
        "prediction_id": "BYTES",
        "feature_age_s:account": "FP64",
        "feature_age_s:pair": "FP64",
        "feature_age_s:sky": "FP64",
        "not_fresh": "BYTES",
    }
    assert outputs["probability"]["data"] == [row["probability"] for row in rows]
    assert outputs["decision"]["data"] == [row["decision"] for row in rows]
    assert outputs["feature_age_s:pair"]["data"] == [0.0, -1.0, -1.0]
    assert outputs["not_fresh"]["data"] == ["", "pair=missing,sky=stale", "account=missing,pair=missing"]


def test_v2_gives_the_outputs_that_are_asked_for(server: Served) -> None:
    wanted = ["decision", "feature_age_s:sky"]
    answer = server.connect().v2({**tensors(instance()), "outputs": [{"name": name} for name in wanted]})
    assert [output["name"] for output in answer.json["outputs"]] == wanted


def test_v2_takes_columns_of_shape_n_1_and_numbers_of_other_widths(server: Served) -> None:
    connection = server.connect()
    good = tensors(instance(1, "S1"), instance(2, "S2"))
    other = json.loads(json.dumps(good))
    for place, tensor in enumerate(other["inputs"]):
        tensor["shape"] = [2, 1]
        if place % 2:
            tensor["data"] = [[value] for value in tensor["data"]]
        tensor["datatype"] = {"INT64": "INT32", "FP64": "FP32"}.get(tensor["datatype"], tensor["datatype"])
    (first, second) = (connection.v2(body).json["outputs"][0]["data"] for body in (good, other))
    assert first == second


def test_every_answer_is_logged_as_it_was_given(server: Served, world: World, made: Made) -> None:
    answer = server.connect().v1(instance(1, "S2"), instance(1, "S1"))
    rows = logged(world)
    for given in answer.json["predictions"]:
        row = rows[given["prediction_id"]]
        assert (row.time, row.version) == (NOW, made.digest)
        assert (row.probability, row.decision, row.stale) == (given["probability"], given["decision"], given["not_fresh"])
        assert row.fields == {"amount": 5.5, "hour": 7, "method": "card", "gift": False, "unseen": 3}
    row = rows[answer.json["predictions"][0]["prediction_id"]]
    assert row.keys == {"customer": 1, "shop": "S2"}
    assert row.features == {
        "account_days": 300,
        "account_vip": True,
        "account_country": "DE",
        "pair_orders": 1,
        "pair_spend": 3.25,
        "sky_rain": None,
    }
    assert row.observed_at == {"account": NOW, "pair": NOW - 4 * 3600, "sky": NOW - 5 * 3600}


def test_metadata_and_health_say_what_is_served(server: Served, made: Made) -> None:
    connection = server.connect()
    assert connection.ask("GET", "/").json == {"status": "alive"}
    assert connection.ask("GET", "/v1/models").json == {"models": [NAME]}
    assert connection.ask("GET", f"/v1/models/{NAME}").json["ready"] is True
    assert connection.ask("GET", "/v2").json["extensions"] == []
    assert connection.ask("GET", "/v2/health/live").json == {"live": True}
    assert connection.ask("GET", "/v2/health/ready").json == {"ready": True}
    found = {"name": NAME, "ready": True, "version": made.digest, "number": 7}
    assert connection.ask("GET", f"/v2/models/{NAME}/ready").json == found
    assert connection.ask("GET", f"/v2/models/{NAME}/versions/7/ready").json == found
    metadata = connection.ask("GET", f"/v2/models/{NAME}").json
    assert metadata["versions"] == [made.digest]
    assert {given["name"]: given["datatype"] for given in metadata["inputs"]} == {
        "customer": "INT64",
        "shop": "BYTES",
        "amount": "FP64",
        "hour": "INT64",
        "method": "BYTES",
        "gift": "BOOL",
        "unseen": "INT64",
    }
    assert metadata["outputs"][0] == {"name": "probability", "datatype": "FP64", "shape": [-1]}
    assert connection.is_the_same


def test_metrics_count_what_happened(server: Served, made: Made) -> None:
    before = server.metrics()
    connection = server.connect()
    connection.v1(instance(1, "S2"), instance(99, "S1"))
    connection.v1({"customer": 1})
    after = server.metrics()

    def risen(name: str) -> float:
        return after[name] - before.get(name, 0)

    model = f'model="{NAME}"'
    assert risen(f'perennial_requests_total{{{model},protocol="v1",status="200"}}') == 1
    assert risen(f'perennial_requests_total{{{model},protocol="v1",status="400"}}') == 1
    assert risen(f"perennial_rows_total{{{model}}}") == 2
    assert risen(f"perennial_batch_rows_count{{{model}}}") == 1
    assert risen(f"perennial_lookup_seconds_count{{{model}}}") == 1
    assert risen(f'perennial_request_seconds_count{{{model},protocol="v1"}}') == 2
    assert risen(f'perennial_not_fresh_rows_total{{{model},on_stale="default",reason="missing",view="account"}}') == 1
    assert risen(f'perennial_not_fresh_rows_total{{{model},on_stale="default",reason="stale",view="sky"}}') == 1
    assert risen(f'perennial_not_fresh_rows_total{{{model},on_stale="last_known",reason="stale",view="pair"}}') == 1
    assert risen(f'perennial_feature_age_seconds_sum{{{model},view="sky"}}') == 5 * 3600
    assert after[f'perennial_version{{{model},number="7",version="{made.digest}"}}'] == 1
    assert after[f"perennial_ready{{{model}}}"] == 1
    assert after[f"perennial_log_lost_rows_total{{{model}}}"] == 0


CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url, name = sys.argv[1], sys.argv[2]
columns, headers = json.loads(sys.argv[3]), json.loads(sys.argv[4])

async def main():
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    found = {
        "live": [await v1.is_server_live(url), await v2.is_server_live(url)],
        "ready": [await v2.is_server_ready(url), await v1.is_model_ready(url, name), await v2.is_model_ready(url, name)],
    }
    rows = [dict(zip(columns, values)) for values in zip(*(values for _, values in columns.values()))]
    answer = await v1.infer(url, {"instances": rows}, model_name=name, headers=headers)
    found["v1"] = [row["probability"] for row in answer["predictions"]]
    inputs = []
    for column, (datatype, values) in columns.items():
        made = InferInput(column, [len(values)], datatype)
        dtype = {"BYTES": object, "INT64": np.int64, "FP64": np.float64, "BOOL": bool}[datatype]
        made.set_data_from_numpy(np.array(values, dtype=dtype), binary_data=False)
        inputs.append(made)
    answer = await v2.infer(url, InferRequest(name, inputs, request_id="r1"), model_name=name, headers=headers)
    found["id"] = answer.id
    for output in answer.outputs:
        found["v2 " + output.name] = [output.as_numpy().dtype.kind, output.as_numpy().tolist()]
    inputs[0].set_data_from_numpy(np.array(columns["customer"][1], dtype=np.int64))
    try:
        await v2.infer(url, InferRequest(name, inputs), model_name=name, headers=headers)
    except Exception as error:
        found["binary"] = str(error)
    print(json.dumps(found))

asyncio.run(main())
"""


def test_kserves_own_client_is_understood(server: Served) -> None:
    columns = {
        "customer": ("INT64", [1, 2, 99]),
        "shop": ("BYTES", ["S1", "S2", "S1"]),
        "amount": ("FP64", [5.5, 0.25, 3.0]),
        "hour": ("INT64", [7, 8, 9]),
        "method": ("BYTES", ["card", "wallet", "é"]),
        "gift": ("BOOL", [True, False, True]),
        "unseen": ("INT64", [1, 2, 3]),
    }
    arguments = [f"http://127.0.0.1:{server.port}", NAME, json.dumps(columns), json.dumps({"Perennial-Time": ISO_NOW})]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CLIENT, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["live"] == [True, True]
    assert found["ready"] == [True, True, True]
    assert found["id"] == "r1"
    assert found["v2 probability"] == ["f", found["v1"]]
    assert found["v2 decision"][0] == "b"
    assert found["v2 feature_age_s:account"] == ["f", [0.0, 0.0, -1.0]]
    assert "binary_data=False in set_data_from_numpy" in found["binary"]


def test_curl_gets_an_answer(server: Served, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"instances": [instance()]}))
    url = f"http://127.0.0.1:{server.port}/v1/models/{NAME}:predict"
    for more, status in ((["-H", "Content-Type: application/json"], "200"), ([], "415")):
        done = subprocess.run(
            ["curl", "-sS", "-w", "\n%{http_code}", *more, "-d", f"@{body}", url], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == status, done.stdout


def test_nothing_refused_is_loaded_after_it_has_answered(server: Served, world: World) -> None:
    connection = server.connect()
    assert connection.v1(instance()).status == 200
    assert connection.v2(tensors(instance())).status == 200
    assert server.metrics()
    server.process.send_signal(signal.SIGUSR1)
    path, until = world.folder / "modules.json", time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    modules = json.loads(path.read_text(encoding="utf-8"))
    assert {"sklearn", "serving.runtime.application", "perennial.prediction_log"} <= set(modules)
    loaded = {name.partition(".")[0] for name in modules}
    assert not loaded & set(REFUSED)
    assert not loaded & {"duckdb", "sqlalchemy", "matplotlib", "fastapi", "grpc", "kfp"}

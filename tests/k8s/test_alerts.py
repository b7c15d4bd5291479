"""Rules and dashboard read metrics that the runtime has; each alert fires on what it is for, and is silent on what it is not."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.metrics import ControllerMetrics
from controller.ticked import Ticked
from serving.runtime.metrics import Metrics
from tests.k8s.rendered import component, of_kind

LOSS = 'perennial_log_lost_rows_total{model="m"}'
ANSWERS = 'perennial_requests_total{{model="m",protocol="{}",status="{}"}}'
SECONDS = 'perennial_request_seconds_bucket{{model="m",protocol="v1",le="{}"}}'
STALE = 'perennial_not_fresh_rows_total{{model="m",view="v",reason="{}",on_stale="default"}}'
SERVES = 'perennial_version{{model="m",version="{}",number="1",pod="{}"}}'

RULES = ("perennial-serving", "perennial-controller")
"""Objects with rules, in the order of the cases."""
GOOD = 'perennial_controller_last_good_tick_timestamp_seconds{pod="a"}'
PROBLEMS = 'perennial_controller_{}{{model="m",pod="a"}}'

CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "PerennialNotReady": (
        {'perennial_ready{model="m",pod="a"}': "0x60"},
        {'perennial_ready{model="m",pod="a"}': "1x60"},
    ),
    "PerennialAnswersFail": (
        {ANSWERS.format("v1", 200): "0+60x60", ANSWERS.format("v1", 503): "0+2x60"},
        {ANSWERS.format("v1", 200): "0+600x60", ANSWERS.format("v1", 503): "0+2x60", ANSWERS.format("other", 200): "0+9x60"},
    ),
    "PerennialAnswersSlowly": (
        {SECONDS.format("0.25"): "0+90x60", SECONDS.format("0.5"): "0+100x60", SECONDS.format("+Inf"): "0+100x60"},
        {SECONDS.format("0.1"): "0+100x60", SECONDS.format("0.25"): "0+100x60", SECONDS.format("+Inf"): "0+100x60"},
    ),
    "PerennialVersionRefused": (
        {'perennial_version_refused{model="m",version="d"}': "1x60"},
        {SERVES.format("d", "a"): "1x60"},
    ),
    "PerennialVersionsMixed": (
        {SERVES.format("d", "a"): "1x60", SERVES.format("e", "b"): "1x60"},
        {SERVES.format("d", "a"): "1x60", SERVES.format("d", "b"): "1x60"},
    ),
    "PerennialFeaturesStale": (
        {STALE.format("stale"): "0+10x60", 'perennial_rows_total{model="m"}': "0+100x60"},
        {STALE.format("stale"): "0+2x60", STALE.format("missing"): "0+90x60", 'perennial_rows_total{model="m"}': "0+100x60"},
    ),
    "PerennialRowsRejected": (
        {'perennial_rejected_rows_total{model="m"}': "0+1x60"},
        {'perennial_rejected_rows_total{model="m"}': "7x60"},
    ),
    "PerennialLogLost": ({LOSS: "0+1x60"}, {LOSS: "3x60"}),
    "PerennialUnexpected": ({'perennial_failures_total{model="m"}': "0+1x60"}, {'perennial_failures_total{model="m"}': "1x60"}),
    "PerennialLogNotShipped": (
        {'perennial_log_oldest_unshipped_timestamp_seconds{model="m",pod="a"}': "60x60"},
        {'perennial_log_oldest_unshipped_timestamp_seconds{model="m",pod="a"}': "0+60x60"},
    ),
    "PerennialControllerSilent": (
        {GOOD: "0+60x44 2640x15"},
        # The one that leads ticks; the other one led before.
        {GOOD: "0+60x60", GOOD.replace('"a"', '"b"'): "0x60"},
    ),
    "PerennialClaimUnclear": ({PROBLEMS.format("claims_unclear"): "1x60"}, {PROBLEMS.format("claims_unclear"): "1x5 0x55"}),
    "PerennialWorkBlocked": ({PROBLEMS.format("problems"): "1x60"}, {PROBLEMS.format("problems"): "1x30 0 1x29"}),
}
"""By alert: series of an hour, by minutes, on which it fires in the end, and on which it does not."""


def rules() -> dict[str, Any]:
    """The groups of both objects."""
    found = of_kind(component("monitoring"), "PrometheusRule")
    return {"groups": [group for name in RULES for group in found[name]["spec"]["groups"]]}


def dashboard() -> dict[str, Any]:
    found = json.loads(of_kind(component("grafana"), "ConfigMap")["perennial-dashboard"]["data"]["serving.json"])
    assert isinstance(found, dict)
    return found


def controllers() -> str:
    """What a controller that leads measures."""
    metrics = ControllerMetrics()
    metrics.note(Ticked(now=datetime(2026, 1, 1, tzinfo=UTC)), datetime(2026, 1, 1, tzinfo=UTC), 1.0, None, {})
    return metrics.text().decode()


def unknown(text: str) -> set[str]:
    """Metrics that an expression reads and the runtime does not have."""
    families = re.findall(r"^# TYPE (\S+) (\S+)$", Metrics("m").text().decode() + controllers(), re.MULTILINE)
    known = {name for name, kind in families if kind != "histogram"}
    known |= {f"{name}_{part}" for name, kind in families if kind == "histogram" for part in ("bucket", "sum", "count")}
    return set(re.findall(r"\bperennial_\w+", text)) - known


def test_a_metric_that_is_not_there_is_found() -> None:
    assert unknown("rate(perennial_log_seconds_bucket[1m]) + perennial_lag + perennial_log_seconds") == {
        "perennial_lag",
        "perennial_log_seconds",
    }


def test_alerts_read_metrics_of_the_runtime() -> None:
    for group in rules()["groups"]:
        for rule in group["rules"]:
            assert unknown(rule["expr"]) == set(), rule["alert"]
            assert set(rule["annotations"]) == {"summary", "description"}
            assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_dashboard_reads_metrics_of_the_runtime() -> None:
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    assert len(expressions) >= 12
    assert {expression: found for expression in expressions if (found := unknown(expression))} == {}
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def test_prometheus_finds_the_pods() -> None:
    objects = component("monitoring")
    monitor = of_kind(objects, "PodMonitor")["perennial-serving"]
    runtime = of_kind(objects, "ServingRuntime")["perennial"]["spec"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= runtime["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in runtime["containers"][0]["ports"]}
    assert endpoint["path"] == "/metrics"


def test_every_alert_has_a_case() -> None:
    assert [rule["alert"] for group in rules()["groups"] for rule in group["rules"]] == list(CASES)


def test_each_alert_fires_and_is_silent(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH: alerts are not shown to fire")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()), encoding="utf-8")
    cases = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                        "eval_time": "1h",
                        "exp_samples": [{"labels": "{}", "value": 1}] if is_firing else [],
                    }
                ],
            }
            for alert, (firing, silent) in CASES.items()
            for is_firing, series in ((True, firing), (False, silent))
        ],
    }
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases), encoding="utf-8")
    ended = subprocess.run([promtool, "test", "rules", "cases.yaml"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr

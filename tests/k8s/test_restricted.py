"""Every pod of ours passes the Pod Security Standard *restricted*, and the check of it can fail in each of its rules."""

import pytest

from tests.k8s.broken import CASES, CHANGES, broken
from tests.k8s.rendered import COMPONENTS, OVERLAYS, component, overlay, pods
from tests.k8s.restricted import RULES, violations


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_of_an_overlay_is_restricted(name: str) -> None:
    found = pods(overlay(name))
    assert "ServingRuntime/perennial" in found
    assert {pod: violations(template) for pod, template in found.items()} == dict.fromkeys(found, ())


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_pod_of_a_component_is_restricted(name: str) -> None:
    found = pods(component(name))
    assert {pod: violations(template) for pod, template in found.items()} == dict.fromkeys(found, ())


@pytest.mark.parametrize(("rule", "number"), CASES)
def test_each_rule_fires_alone(rule: str, number: int) -> None:
    template = pods(overlay("lab"))["StatefulSet/redis"]
    found = violations(broken(template, CHANGES[rule][number]))
    assert {violation.partition(":")[0] for violation in found} == {rule}


def test_init_containers_are_looked_at() -> None:
    template = pods(overlay("lab"))["ServingRuntime/perennial"]
    assert violations(broken(template, CHANGES["root user"][0])) == ("root user: storage-initializer",)


def test_every_rule_is_broken_by_a_case() -> None:
    assert set(CHANGES) == set(RULES)

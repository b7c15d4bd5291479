"""Who may open a connection to whom, by the NetworkPolicies among rendered objects; a cluster need not enforce them."""

from collections.abc import Mapping

from tests.k8s.rendered import Object, of_kind

Labels = Mapping[str, str]


def reaches(objects: tuple[Object, ...], source: Labels, target: Labels | None, port: int) -> bool:
    """Whether a pod may connect to another one of the namespace, or out of the cluster.

    Args:
        objects: with the policies.
        source: labels of the pod that calls.
        target: labels of the pod that is called; None is an address outside of the cluster.
        port: TCP.
    """
    policies = [policy["spec"] for policy in of_kind(objects, "NetworkPolicy").values()]
    out = _allowed(policies, "Egress", source, target, port)
    return out and (target is None or _allowed(policies, "Ingress", target, source, port))


def _allowed(policies: list[Object], way: str, subject: Labels, peer: Labels | None, port: int) -> bool:
    """Whether one side allows it: the union of the policies that select it, or no such policy."""
    found = [policy for policy in policies if way in policy["policyTypes"] and _selects(policy["podSelector"], subject)]
    rules = [rule for policy in found for rule in policy.get(way.lower(), [])]
    return not found or any(_passes(rule, "to" if way == "Egress" else "from", peer, port) for rule in rules)


def _passes(rule: Object, side: str, peer: Labels | None, port: int) -> bool:
    if "ports" in rule and not any(each["protocol"] == "TCP" and each["port"] == port for each in rule["ports"]):
        return False
    if side not in rule:
        return True
    # A peer with a namespaceSelector is in another namespace.
    selectors = [each["podSelector"] for each in rule[side] if "podSelector" in each and "namespaceSelector" not in each]
    return peer is not None and any(_selects(selector, peer) for selector in selectors)


def _selects(selector: Object, labels: Labels) -> bool:
    unknown = set(selector) - {"matchLabels", "matchExpressions"}
    assert not unknown, f"not understood here: {unknown}"
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", "only In is understood here"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())

"""Pod templates that break one rule of the standard *restricted* each, made from one that breaks none."""

import copy
from collections.abc import Callable

from tests.k8s.rendered import Object, containers


def _first(change: Callable[[Object], None]) -> Callable[[Object], None]:
    """A change of the first container's security context."""

    def changed(pod: Object) -> None:
        change(containers(pod)[0].setdefault("securityContext", {}))

    return changed


def _of_pod(change: Callable[[Object], None]) -> Callable[[Object], None]:
    """A change of the pod's security context."""

    def changed(pod: Object) -> None:
        change(pod["spec"].setdefault("securityContext", {}))

    return changed


def _no_seccomp(pod: Object) -> None:
    for context in (pod["spec"].get("securityContext", {}), containers(pod)[0]["securityContext"]):
        context.pop("seccompProfile", None)


def _root_allowed(pod: Object) -> None:
    for context in (pod["spec"].get("securityContext", {}), containers(pod)[0]["securityContext"]):
        context.pop("runAsNonRoot", None)


def _ephemeral_volume(name: str, source: Object) -> Callable[[Object], None]:
    return lambda pod: pod["spec"].setdefault("volumes", []).append({"name": name, **source})


def _annotated(pod: Object) -> None:
    name = containers(pod)[0]["name"]
    pod["metadata"].setdefault("annotations", {})[f"container.apparmor.security.beta.kubernetes.io/{name}"] = "unconfined"


CHANGES: dict[str, list[Callable[[Object], None]]] = {
    "host process": [_first(lambda c: c.update(windowsOptions={"hostProcess": True}))],
    "host namespaces": [
        lambda pod: pod["spec"].update(hostNetwork=True),
        lambda pod: pod["spec"].update(hostPID=True),
        lambda pod: pod["spec"].update(hostIPC=True),
    ],
    "privileged": [_first(lambda c: c.update(privileged=True))],
    "capabilities": [
        _first(lambda c: c.pop("capabilities")),
        _first(lambda c: c["capabilities"].update(drop=["NET_RAW"])),
        _first(lambda c: c["capabilities"].update(add=["SYS_ADMIN"])),
    ],
    "volume types": [
        _ephemeral_volume("machine", {"hostPath": {"path": "/etc"}}),
        _ephemeral_volume("share", {"nfs": {"server": "nfs.example.com", "path": "/"}}),
    ],
    "host ports": [lambda pod: containers(pod)[0].update(ports=[{"name": "x", "containerPort": 8081, "hostPort": 8081}])],
    "probe hosts": [
        lambda pod: pod["spec"]["containers"][0].update(livenessProbe={"tcpSocket": {"host": "example.com", "port": 80}}),
        lambda pod: pod["spec"]["containers"][0].update(
            lifecycle={"preStop": {"httpGet": {"host": "example.com", "port": 80, "path": "/"}}}
        ),
    ],
    "AppArmor": [_first(lambda c: c.update(appArmorProfile={"type": "Unconfined"})), _annotated],
    "SELinux": [
        _of_pod(lambda c: c.update(seLinuxOptions={"type": "spc_t"})),
        _first(lambda c: c.update(seLinuxOptions={"user": "system_u"})),
    ],
    "proc mount": [_first(lambda c: c.update(procMount="Unmasked"))],
    "sysctls": [_of_pod(lambda c: c.update(sysctls=[{"name": "kernel.msgmax", "value": "65536"}]))],
    "privilege escalation": [
        _first(lambda c: c.pop("allowPrivilegeEscalation")),
        _first(lambda c: c.update(allowPrivilegeEscalation=True)),
    ],
    "non-root": [_root_allowed, _first(lambda c: c.update(runAsNonRoot=False))],
    "root user": [_first(lambda c: c.update(runAsUser=0)), _of_pod(lambda c: c.update(runAsUser=0))],
    "seccomp": [
        _no_seccomp,
        _first(lambda c: c.update(seccompProfile={"type": "Unconfined"})),
        _of_pod(lambda c: c.update(seccompProfile={"type": "Unconfined"})),
    ],
}
"""By rule of the standard, the changes that break it."""


def broken(pod: Object, change: Callable[[Object], None]) -> Object:
    """A copy of a pod template with a change."""
    made = copy.deepcopy(pod)
    made.setdefault("metadata", {})
    change(made)
    return made


CASES = [(rule, number) for rule, changes in CHANGES.items() for number in range(len(changes))]

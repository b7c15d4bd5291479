"""The Pod Security Standard *restricted* as a pure function of a pod template, rule by rule as Kubernetes 1.34 defines it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Object = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROFILES = {"RuntimeDefault", "Localhost"}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def violations(pod: Object) -> tuple[str, ...]:
    """The rules that a pod template breaks, each as `rule: where`; empty when it is restricted.

    Args:
        pod: `metadata` and `spec`.
    """
    return tuple(f"{name}: {where}" for name, rule in RULES.items() for where in rule(pod))


def _containers(pod: Object) -> list[Object]:
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def _contexts(pod: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The security contexts of the pod and of each container, with where they are."""
    yield "pod", pod["spec"].get("securityContext") or {}
    for container in _containers(pod):
        yield container["name"], container.get("securityContext") or {}


def _host_process(pod: Object) -> Iterator[str]:
    for where, context in _contexts(pod):
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield where


def _host_namespaces(pod: Object) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod["spec"].get(name))


def _privileged(pod: Object) -> Iterator[str]:
    yield from (where for where, context in _contexts(pod) if context.get("privileged"))


def _capabilities(pod: Object) -> Iterator[str]:
    for container in _containers(pod):
        capabilities = (container.get("securityContext") or {}).get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield container["name"]


def _volume_types(pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes", []):
        if set(volume) - {"name"} - VOLUMES:
            yield volume["name"]


def _host_ports(pod: Object) -> Iterator[str]:
    for container in _containers(pod):
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield container["name"]


def _probe_hosts(pod: Object) -> Iterator[str]:
    for container in _containers(pod):
        calls = [container.get(name, {}) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        calls += [container.get("lifecycle", {}).get(name, {}) for name in ("postStart", "preStop")]
        if any(call.get(way, {}).get("host") for call in calls for way in ("httpGet", "tcpSocket")):
            yield container["name"]


def _apparmor(pod: Object) -> Iterator[str]:
    for where, context in _contexts(pod):
        if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in PROFILES:
            yield where
    for name, value in (pod.get("metadata", {}).get("annotations") or {}).items():
        if name.startswith(APPARMOR) and value != "runtime/default" and not value.startswith("localhost/"):
            yield name


def _selinux(pod: Object) -> Iterator[str]:
    for where, context in _contexts(pod):
        options = context.get("seLinuxOptions", {})
        if options.get("type", "") not in SELINUX or options.get("user") or options.get("role"):
            yield where


def _proc_mount(pod: Object) -> Iterator[str]:
    yield from (where for where, context in _contexts(pod) if context.get("procMount", "Default") != "Default")


def _sysctls(pod: Object) -> Iterator[str]:
    for sysctl in (pod["spec"].get("securityContext") or {}).get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield sysctl["name"]


def _privilege_escalation(pod: Object) -> Iterator[str]:
    for container in _containers(pod):
        if (container.get("securityContext") or {}).get("allowPrivilegeEscalation") is not False:
            yield container["name"]


def _non_root(pod: Object) -> Iterator[str]:
    of_pod = (pod["spec"].get("securityContext") or {}).get("runAsNonRoot")
    for container in _containers(pod):
        if (container.get("securityContext") or {}).get("runAsNonRoot", of_pod) is not True:
            yield container["name"]


def _root_user(pod: Object) -> Iterator[str]:
    yield from (where for where, context in _contexts(pod) if context.get("runAsUser") == 0)


def _seccomp(pod: Object) -> Iterator[str]:
    of_pod = (pod["spec"].get("securityContext") or {}).get("seccompProfile", {}).get("type")
    if of_pod is not None and of_pod not in PROFILES:
        yield "pod"
    for container in _containers(pod):
        if (container.get("securityContext") or {}).get("seccompProfile", {}).get("type", of_pod) not in PROFILES:
            yield container["name"]


RULES: dict[str, Callable[[Object], Iterator[str]]] = {
    "host process": _host_process,
    "host namespaces": _host_namespaces,
    "privileged": _privileged,
    "capabilities": _capabilities,
    "volume types": _volume_types,
    "host ports": _host_ports,
    "probe hosts": _probe_hosts,
    "AppArmor": _apparmor,
    "SELinux": _selinux,
    "proc mount": _proc_mount,
    "sysctls": _sysctls,
    "privilege escalation": _privilege_escalation,
    "non-root": _non_root,
    "root user": _root_user,
    "seccomp": _seccomp,
}

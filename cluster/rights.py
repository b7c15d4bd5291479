"""Who may do what: a right as data, and the question whether who asks has it."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.client import Client


@dataclass(frozen=True, order=True)
class Right:
    """That one verb may be used on one resource of a namespace, or on one object of it."""

    group: str
    """API group; empty for the core."""
    resource: str
    """Its plural, with the subresource: `pods`, `pods/log`."""
    verb: str
    """Kubernetes' word."""
    name: str = ""
    """Of the one object that is meant; empty for all of them."""

    def __str__(self) -> str:
        """For example `patch inferenceservices.serving.kserve.io`; the name of one object stands behind it."""
        resource = f"{self.resource}{'.' if self.group else ''}{self.group}"
        return f"{self.verb} {resource} {self.name}".rstrip()


def missing(client: Client, namespace: str, rights: Iterable[Right]) -> tuple[Right, ...]:
    """The rights that who asks does not have, each asked by a SelfSubjectAccessReview.

    Args:
        client: of the cluster.
        namespace: in which they are needed.
        rights: those that are needed.

    Raises:
        PlatformError: the API server does not answer or refuses.
    """
    return tuple(right for right in rights if not _is_allowed(client, namespace, right))


def _is_allowed(client: Client, namespace: str, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "namespace": namespace,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
        "name": right.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }
    answer = client.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool(answer["status"]["allowed"])

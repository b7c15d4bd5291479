"""What runs, compared with what ServingRuntime and storage container say: the Deployment that KServe makes, and its pods.

Images, commands, arguments, environment and containers only: what decides which code runs. KServe's own additions (probes, ports,
policies, its variable with the name, volumes of the pods) are none of these. A container that only a pod has, and not the
Deployment, is the cluster's: a mesh puts its own beside every pod.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster import pods
from cluster.client import Object
from cluster.fields import writers

KSERVE_VARIABLES = ("INFERENCE_SERVICE_NAME",)
"""Variables that KServe gives to every container."""
PLACEHOLDER = re.compile(r"\{\{\s*\.(Name|Namespace)\s*\}\}")
"""What KServe replaces in a runtime's container by the InferenceService's own."""
KSERVE_MANAGER = "manager"
"""Under which name KServe's controller writes: that of its program."""
TEMPLATE = ("f:spec", "f:template", "f:spec")
"""Where a Deployment's pods are described, by the keys of `fieldsV1`."""
DIGEST = 19
"""Characters of an image's digest that are shown: `sha256:` and 12 more."""


@dataclass(frozen=True)
class ForeignPart:
    """Something that runs and that the ServingRuntime does not say."""

    sentence: str
    """For people, with who wrote it where that is known."""
    is_kserves: bool
    """Whether nobody but KServe wrote it: it has not followed yet, and does by itself."""


def foreign_in_deployment(deployment: Object, runtime: Object) -> tuple[ForeignPart, ...]:
    """What the Deployment runs that the ServingRuntime does not say.

    Args:
        deployment: as stored; its labels name the InferenceService.
        runtime: the ServingRuntime, as stored.
    """
    template = deployment["spec"]["template"]["spec"]
    metadata = deployment["metadata"]
    values = {
        "Name": metadata.get("labels", {}).get("serving.kserve.io/inferenceservice", ""),
        "Namespace": metadata["namespace"],
    }
    wanted = {container["name"]: _filled(container, values) for container in runtime["spec"]["containers"]}
    running = {container["name"]: container for container in template.get("containers") or []}
    found = []
    for name, container in running.items():
        container_key = f'k:{{"name":"{name}"}}'
        for keys, sentence in _differences(container, wanted.get(name)):
            found.append((("f:containers", container_key, *keys), f"container {name}{sentence}"))
    found += [(("f:containers",), f"container {name} is missing") for name in wanted if name not in running]
    found += [
        (
            ("f:initContainers", f'k:{{"name":"{container["name"]}"}}'),
            f"init container {container['name']}{_image(container)} is not KServe's",
        )
        for container in template.get("initContainers") or []
        if container["name"] != "storage-initializer"
    ]
    return tuple(_difference(sentence, writers(deployment, [*TEMPLATE, *keys])) for keys, sentence in found)


def foreign_in_pods(deployment: Object, running: Sequence[Object], storage: Object) -> tuple[str, ...]:
    """What pods run that the storage container does not say, and images that are not the same in all of them.

    Pods that are older than the storage container's last change say what it said before; where something rewrites the images of
    all containers of a pod, as a registry's mirror does, nothing is compared.

    Args:
        deployment: theirs, as stored.
        running: its pods, as stored.
        storage: the ClusterStorageContainer, as stored.
    """
    wanted = storage["spec"]["container"]
    changed = max((str(entry.get("time", "")) for entry in storage["metadata"].get("managedFields") or []), default="")
    images = {container["name"]: container.get("image") for container in deployment["spec"]["template"]["spec"]["containers"]}
    found = []
    for pod in running:
        mirrored = any(images.get(one["name"], one.get("image")) != one.get("image") for one in pod["spec"]["containers"])
        if mirrored or pod["metadata"].get("creationTimestamp", "") < changed:
            continue
        for container in pod["spec"].get("initContainers") or []:
            if container["name"] == wanted["name"]:
                differing = [name for name in ("image", "command") if container.get(name) != wanted.get(name)]
                where = f"pod {pod['metadata']['name']}: init container {container['name']}"
                found += [f"{where}: its {name} is not the storage container's{_image(container)}" for name in differing]
    return (*found, *_builds([pod for pod in running if pods.is_ready(pod)]))


def _differences(container: Object, wanted: Object | None) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys below the container, and the end of a sentence, for each thing that the runtime says otherwise."""
    if wanted is None:
        yield (), f"{_image(container)} is not in the ServingRuntime"
        return
    if container.get("image") != wanted.get("image"):
        yield ("f:image",), f": its image is '{container.get('image')}', the ServingRuntime says '{wanted.get('image')}'"
    for name in ("command", "args"):
        if "{{" not in str(wanted.get(name)) and (container.get(name) or []) != (wanted.get(name) or []):
            yield (f"f:{name}",), f": its {name} {'is' if name == 'command' else 'are'} not the ServingRuntime's"
    given = {variable["name"]: _plain(variable) for variable in wanted.get("env") or []}
    for variable in container.get("env") or []:
        if variable["name"] not in KSERVE_VARIABLES and _plain(variable) != given.get(variable["name"]):
            how = "has another value than in the ServingRuntime" if variable["name"] in given else "is not in the ServingRuntime"
            yield ("f:env", f'k:{{"name":"{variable["name"]}"}}'), f": variable {variable['name']} {how}"
    for source in container.get("envFrom") or []:
        if _named(source) not in map(_named, wanted.get("envFrom") or []):
            yield ("f:envFrom",), f": variables from {' '.join(_named(source))} are not in the ServingRuntime"


def _filled(container: Object, values: dict[str, str]) -> Object:
    """A runtime's container as KServe fills it in."""

    def fill(text: str) -> str:
        return PLACEHOLDER.sub(lambda found: values[found[1]], text)

    lists = {name: [fill(part) for part in container[name]] for name in ("command", "args") if name in container}
    env = [{**one, "value": fill(one["value"])} if "value" in one else one for one in container.get("env") or []]
    return container | lists | {"env": env, "image": fill(container.get("image", ""))}


def _builds(running: Sequence[Object]) -> Iterator[str]:
    """Containers that run one image by name and several by content: a tag was moved between two starts."""
    builds: dict[tuple[str, str], dict[str, str]] = {}
    for pod in running:
        images = {container["name"]: container.get("image", "") for container in pod["spec"]["containers"]}
        for status in pod.get("status", {}).get("containerStatuses") or []:
            if status["name"] in images and status.get("imageID"):
                of_image = builds.setdefault((status["name"], images[status["name"]]), {})
                of_image.setdefault(status["imageID"], pod["metadata"]["name"])
    for (name, image), pods_by_build in builds.items():
        if len(pods_by_build) > 1:
            each = ", ".join(f"{_digest(build)} in pod {pod}" for build, pod in sorted(pods_by_build.items()))
            yield f"container {name}: '{image}' is not one image: {each}; name it by its digest"


def _digest(image_id: str) -> str:
    return image_id[image_id.find("sha256:") :][:DIGEST] if "sha256:" in image_id else image_id


def _plain(variable: Object) -> Object:
    """A variable without what the API server adds by itself, so that two can be compared."""
    sources = {
        kind: {name: value for name, value in source.items() if name != "apiVersion"}
        for kind, source in (variable.get("valueFrom") or {}).items()
    }
    return {"value": variable.get("value", ""), "from": sources}


def _image(container: Object) -> str:
    return f" '{container.get('image')}'"


def _named(source: Object) -> tuple[str, str]:
    """Kind and name of where variables come from."""
    for kind in ("configMapRef", "secretRef"):
        if kind in source:
            return kind.removesuffix("Ref"), str(source[kind].get("name"))
    return "", str(source)


def _difference(sentence: str, who: tuple[str, ...]) -> ForeignPart:
    others = tuple(one for one in who if one.partition(" ")[0] != KSERVE_MANAGER)
    by = f" (set by {', '.join(others)})" if others else ""
    return ForeignPart(sentence + by, is_kserves=bool(who) and not others)

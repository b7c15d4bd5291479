"""What our images weigh on top of their base, and how long a serving container takes until it is ready.

`python -m benchmarks.images --tag lab` with docker; with another builder `--save "buildah push --quiet {image}
docker-archive:{file}:{image}"`. Sizes are those of the layers that the base does not have: unpacked as they lie in the archive,
compressed by gzip as a registry keeps them. From a container's start to its pod's readiness is read from the pods of a namespace,
where a cluster is at hand (KUBECONFIG).
"""

import argparse
import importlib.metadata
import json
import shlex
import statistics
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cluster.apply import list_by_label
from cluster.client import Client, Object
from perennial.errors import PlatformError

BASE = "python:3.11-slim-bookworm"
GOALS = {"serving": "goals: 150 MB compressed, 420 MB unpacked", "steps": ""}
MB = 1_000_000


def layers(image: str, save: str, folder: Path) -> dict[str, tuple[int, int]]:
    """Bytes unpacked and compressed of each layer, by the digest of its content."""
    file = folder / "image.tar"
    file.unlink(missing_ok=True)
    subprocess.run(shlex.split(save.format(image=image, file=file)), check=True)
    found = {}
    with tarfile.open(file) as archive:
        manifest = json.loads(_content(archive, "manifest.json"))[0]
        config = json.loads(_content(archive, manifest["Config"]))
        for digest, name in zip(config["rootfs"]["diff_ids"], manifest["Layers"], strict=True):
            found[digest] = _sizes(archive, name)
    return found


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream is not None, name
    return stream.read()


def _sizes(archive: tarfile.TarFile, name: str) -> tuple[int, int]:
    """A layer's bytes as they are and through gzip. A link leads to the same layer under another name."""
    stream, packer = archive.extractfile(name), zlib.compressobj(6, wbits=31)
    assert stream is not None, name
    plain = packed = 0
    while chunk := stream.read(1 << 20):
        plain, packed = plain + len(chunk), packed + len(packer.compress(chunk))
    return plain, packed + len(packer.flush())


def starts(client: Client, namespace: str) -> Iterator[float]:
    """Seconds from the start of each serving container that was never restarted to its pod's readiness, to the second."""
    for pod in list_by_label(client, "v1", "Pod", namespace, {"app.kubernetes.io/component": "serving"}):
        ready = [each for each in pod["status"].get("conditions", []) if each["type"] == "Ready" and each["status"] == "True"]
        for container in pod["status"].get("containerStatuses", []):
            running = container["state"].get("running")
            if running and ready and container["restartCount"] == 0:
                yield (_time(ready[0], "lastTransitionTime") - _time(running, "startedAt")).total_seconds()


def _time(stored: Object, name: str) -> datetime:
    return datetime.fromisoformat(stored[name])


def main() -> None:
    """Print the sizes of both images, and the starts where there are any."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.images", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--images", default="perennial", help="what the images' names begin with (default %(default)s)")
    parser.add_argument("--tag", default=importlib.metadata.version("perennial"), help="their tag (default %(default)s)")
    parser.add_argument("--base", default=BASE, help="their base (default %(default)s)")
    parser.add_argument("--save", default="docker save --output {file} {image}", help="command that writes an image's archive")
    parser.add_argument("--namespace", default="perennial", help="whose serving pods are looked at (default %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perennial-images-") as folder:
        base = layers(given.base, given.save, Path(folder))
        for name, goal in GOALS.items():
            own = [
                sizes
                for digest, sizes in layers(f"{given.images}/{name}:{given.tag}", given.save, Path(folder)).items()
                if digest not in base
            ]
            plain, packed = (sum(size[place] for size in own) / MB for place in (0, 1))
            print(f"{name:8} {packed:6.0f} MB compressed, {plain:6.0f} MB unpacked, {len(own)} layers on {given.base}  {goal}")
    try:
        with Client.open() as client:
            found = list(starts(client, given.namespace))
    except PlatformError as error:
        print(f"start to ready: not shown ({error})")
        return
    if found:
        print(f"start to ready: median {statistics.median(found):.0f} s, longest {max(found):.0f} s of {len(found)}  goal: 5 s")
    else:
        print(f"start to ready: not shown (no serving pod in {given.namespace})")


if __name__ == "__main__":
    main()

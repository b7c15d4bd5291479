"""One container as a process: it sees its image and nothing else of this machine.

As root it gets what a pod has: a root directory with an empty `/tmp`, the image's folders read-only, user 10001, and processes
that only it sees (namespaces of mounts and processes, by `unshare`). Elsewhere it is a plain process with folders of its own:
`isolated()` says which. The loopback is the machine's in both.
"""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

USER = 10001
"""The user of a container, as the image `steps` has it."""
SYSTEM = ("/usr", "/etc", "/dev", "/sys")
WRITABLE = ("tmp", "minio", "s3", "gcs", ".local", ".cache", ".config")
"""What a pod may write: `/tmp`, and the empty folders that Kubeflow mounts."""
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""What a process begins with that ends when this one does, however that ends."""
CHECKOUT = Path(__file__).parents[3]
ENTER = """
root=$1; shift
while [ "$1" != -- ]; do mount --rbind "$1" "$root$1"; mount -o remount,bind,ro "$root$1"; shift; done; shift
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 none "$root/dev/shm"
code=0; chroot --userspec="$1" "$root" /usr/bin/env -i "${@:2}" || code=$?
exit $code
"""


@dataclass(frozen=True)
class Image:
    """What an image brings: its environment, and the folders of this machine that are in it, under the same paths."""

    env: Mapping[str, str] = field(default_factory=dict)
    folders: Sequence[Path] = ()
    """Beside Python, its environment and, unless `bare`, this checkout."""
    bare: bool = False

    def content(self) -> list[Path]:
        """Every folder of this machine that a container of the image sees."""
        python = [Path(sys.base_prefix), Path(sys.prefix)]
        folders = [*python, *([] if self.bare else [CHECKOUT]), *self.folders]
        return list(dict.fromkeys(path for folder in folders for path in (folder, folder.resolve())))

    def environment(self) -> dict[str, str]:
        """What a process finds before the pod adds anything."""
        return {"PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", **self.env}


@functools.cache
def isolated() -> bool:
    """Whether containers get a root directory and a user of their own here."""
    if os.geteuid() != 0:
        return False
    trial = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Container:
    """A process in a root directory of its own."""

    def __init__(self, root: Path, image: Image, user: int = USER) -> None:
        """Lay out the root directory.

        Args:
            root: a folder that does not exist.
            image: what it sees beside its own folders.
            user: id that it runs as, where that can be chosen.
        """
        self.root, self.image, self.user = root, image, user
        root.mkdir(mode=0o755, parents=True)
        for name in WRITABLE:
            self.folder(f"/{name}")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root.parent / f"{root.name}.log"

    def folder(self, path: str) -> None:
        """An empty folder that the container may write."""
        self.local(path).mkdir(parents=True, exist_ok=True)
        if isolated():
            os.chown(self.local(path), self.user, self.user)

    def local(self, path: str) -> Path:
        """Where a path of the container is on this machine."""
        return self.root / path.lstrip("/")

    def inside(self, path: str) -> str:
        """The path that the container must use for one of its own."""
        return path if isolated() else str(self.local(path))

    def write(self, path: str, content: bytes) -> None:
        """Put a file there that the container may read and change."""
        missing = [folder for folder in [self.local(path).parent, *self.local(path).parents] if not folder.exists()]
        self.local(path).parent.mkdir(parents=True, exist_ok=True)
        self.local(path).write_bytes(content)
        if isolated():
            for one in [*missing, self.local(path)]:
                os.chown(one, self.user, self.user)

    def start(self, command: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Run the command with this environment and no other."""
        if isolated():
            words = self._isolated(command, env)
        else:
            words = [*ENDS_WITH_US, "env", "-i", *(f"{name}={value}" for name, value in self._plain(env).items()), *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=self.local("/tmp"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    def _plain(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment where only names keep containers apart."""
        return {**env, "TMPDIR": self.inside("/tmp"), "HOME": self.inside("/tmp")}

    def _isolated(self, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """The command behind its namespaces, root directory and user."""
        for name in ("bin", "lib", "lib64", "sbin"):
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        seen = [*SYSTEM, *map(str, self.image.content())]
        for folder in [*seen, "/proc"]:
            self.local(folder).mkdir(parents=True, exist_ok=True)
        words = [
            *ENDS_WITH_US,
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "bash",
            "-ec",
            ENTER,
            "enter",
            str(self.root),
        ]
        variables = [f"{name}={value}" for name, value in env.items()]
        return [*words, *seen, "--", f"{self.user}:{self.user}", *variables, "sh", "-c", 'cd /tmp && exec "$@"', "sh", *command]

    def kill(self) -> None:
        """End it and what it started, at once."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

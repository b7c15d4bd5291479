"""The command that serves a model on this machine: what the settings say, in the arguments of the runtime."""

import sys

from perennial.errors import NotFoundError
from perennial.settings import Settings


def server_command(settings: Settings, model: str, host: str, port: int, *, is_replay: bool) -> list[str]:
    """The runtime on what is deployed of a model, as a shell would start it.

    Args:
        settings: where things are.
        model: name of the model.
        host: address to listen on.
        port: port to listen on; 0 for a free one.
        is_replay: whether requests may say their own time.

    Raises:
        NotFoundError: nothing is deployed here.
    """
    current = settings.current(model)
    if not current.exists():
        raise NotFoundError(f"{model}: nothing is deployed; `perennial train {model}` registers and rolls out a version")
    # -P: a project's folders may carry the names of ours.
    arguments = [sys.executable, "-P", "-m", "serving.runtime", "--model", model, "--current", str(current)]
    arguments += ["--online", settings.online_store, "--log", str(settings.prediction_log(model))]
    arguments += [] if settings.bucket is None else ["--bucket", settings.bucket]
    return [*arguments, "--host", host, "--port", str(port), *(["--replay"] if is_replay else [])]

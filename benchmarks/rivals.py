"""The servers that `benchmarks.serving` compares ours with, each a process: `stock` and `noop`.

`stock` is KServe's own model server with a model that calls Feast's SDK in `predict`, as its documentation shows it. `noop` is
our server, loop and parser with an application that answers a constant: what no application on it can exceed.
"""

import argparse
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

FIELDS = {"amount": 5.5, "method": "card"}


def stock(project: Path, online: str | None, model_path: Path, port: int) -> None:
    """KServe's server until it is told to end."""
    import sys

    sys.argv = sys.argv[:1]  # importing kserve parses the command line
    import kserve
    import numpy as np

    from benchmarks.shop import feast_alone, settings_of
    from perennial.training import model_file

    opened = feast_alone(settings_of(project, online))
    service = opened.get_feature_service("chargeback")
    model = model_file.load(model_path)
    names = [feature.name for view in service.feature_view_projections for feature in view.features]
    columns = [name for name in names if not name.endswith("_observed_at")]

    class Stock(kserve.Model):  # type: ignore[misc]
        """The model with its lookup."""

        def load(self) -> bool:
            self.ready = True
            return True

        def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:  # noqa: ARG002
            rows = [{"customer_id": instance["customer_id"]} for instance in payload["instances"]]
            found = opened.get_online_features(features=service, entity_rows=rows).to_dict()
            matrix = np.array([found[name] for name in columns], dtype=object).T
            probabilities = model.predict_proba(matrix)[:, 1].tolist()
            return {"predictions": [{"probability": probability} for probability in probabilities]}

    served = Stock("chargeback")
    served.load()
    logging.disable(logging.WARNING)
    kserve.ModelServer(http_port=port, enable_grpc=False, enable_docs_url=False, access_log_format=None).start([served])


async def answer_constant(
    scope: MutableMapping[str, Any],  # noqa: ARG001
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Read the body, answer a constant."""
    while (await receive()).get("more_body"):
        pass
    body = b'{"predictions":[{"probability":-1.0}]}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def noop(port: int) -> None:
    """The empty server until it is told to end."""
    import uvicorn

    uvicorn.run(
        answer_constant,
        port=port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("which", choices=["stock", "noop"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--online", help="URL of a Redis, whose next database Feast has; a file without it")
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    if given.which == "stock":
        stock(given.project, given.online, given.model, given.port)
    else:
        noop(given.port)


if __name__ == "__main__":
    main()

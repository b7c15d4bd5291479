"""The arguments of the serving process. Arguments only, no settings: the command line and manifests know where things are."""

import argparse
import logging
from pathlib import Path

from perennial.outages import exit_code_after
from serving.runtime.process import Options, run
from serving.runtime.shipping import SEAL_SECONDS

MAX_BODY = 10 * 2**20


def main() -> int:
    """Serve until told to end; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.runtime", description="Serve one model by V1 and V2 over REST.")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--current", required=True, type=Path, help="file that says which version is wanted")
    parser.add_argument("--online", required=True, help="the packed online store: a file, or redis://HOST:PORT/NUMBER")
    parser.add_argument("--log", type=Path, help="folder of the prediction log; none is kept without it")
    parser.add_argument("--bucket", help="s3://BUCKET/PREFIX to which the log is shipped; it stays in its folder without it")
    parser.add_argument(
        "--ship-seconds",
        type=float,
        default=SEAL_SECONDS,
        help="age from which a part of the log is finished and shipped (default %(default)s)",
    )
    parser.add_argument(
        "--last-ship-seconds",
        type=float,
        default=10.0,
        help="how long the end may wait for the bucket, after the last answer (default %(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one (default %(default)s)")
    parser.add_argument("--largest-body", type=int, default=MAX_BODY, help="most bytes of a request (default %(default)s)")
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=2.0,
        help="how long it says 'not ready' before it stops to listen (default %(default)s)",
    )
    parser.add_argument("--replay", action="store_true", help="let requests say their time in the header Perennial-Time")
    arguments = parser.parse_args()
    if arguments.bucket is not None and not arguments.bucket.startswith("s3://"):
        parser.error(f"argument --bucket: found {arguments.bucket!r}; allowed: s3://BUCKET or s3://BUCKET/PREFIX")
    if arguments.bucket is not None and arguments.log is None:
        parser.error("argument --bucket: there is nothing to ship without --log")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = Options(
        model=arguments.model,
        current=arguments.current,
        online=arguments.online,
        log=arguments.log,
        bucket=arguments.bucket,
        ship_seconds=arguments.ship_seconds,
        last_ship_seconds=arguments.last_ship_seconds,
        host=arguments.host,
        port=arguments.port,
        largest_body=arguments.largest_body,
        drain_seconds=arguments.drain_seconds,
        is_replay=arguments.replay,
    )
    try:
        run(options)
    except Exception as error:
        return exit_code_after(error, "python -m serving.runtime")
    return 0

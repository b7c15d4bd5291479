"""Runs in a pod: requests at a fixed rate, whatever the answers do, over connections that are kept. Standard library only.

`python caller.py ADDRESS MODEL RATE` with rows (a JSON list of V1 instances, on one line) on standard input, until that ends; one
JSON line for each request on standard output: when it was sent, how long it took since it was due, status or error, row, version,
probability, prediction id; and a last line that says how many were sent, and in which time. The rate does not wait for answers: a
slow server meets all the requests that were due meanwhile.
"""

import asyncio
import json
import sys
import time

TIMEOUT = 10.0


class Connection:
    """One kept connection; made anew when the server ends it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self.streams is not None and self.streams[0].at_eof():
            self.close()  # the server ended it while it was idle; every client looks before it uses a kept connection
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self.streams
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        found = await reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split()[1]), found

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def ask(free: list[Connection], address: str, model: str, row: int, body: bytes, due: float) -> dict[str, object]:
    host, _, port = address.partition(":")
    connection = free.pop() if free else Connection(host, int(port))
    said: dict[str, object] = {"due": time.time(), "row": row}
    path, kept = f"/v1/models/{model}:predict", connection.streams is not None
    try:
        try:
            status, found = await asyncio.wait_for(connection.post(path, body), TIMEOUT)
        except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError) as error:
            if not kept or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                raise
            # The server ended a kept connection in the very moment in which it was used, and answered nothing: ask again.
            connection.close()
            said["again"] = True
            status, found = await asyncio.wait_for(connection.post(path, body), TIMEOUT)
        said |= what(status, found)
    except Exception as error:  # whatever it was, it is a failed request: one that is not told of would pass for none
        connection.close()
        said |= {"status": 0, "error": f"{type(error).__name__}: {error}"}
    free.append(connection)
    return said | {"seconds": round(time.perf_counter() - due, 4)}


def what(status: int, body: bytes) -> dict[str, object]:
    """What an answer says; a 200 without a prediction has status 0."""
    try:
        answer = json.loads(body)
        if status != 200:
            return {"status": status, "error": answer["error"]}
        first = answer["predictions"][0]
        found = {"version": answer["model_version"], "probability": first["probability"], "id": first["prediction_id"]}
        return {"status": status, **found}
    except (ValueError, LookupError, TypeError) as error:
        said = f"{status}: not an answer of ours: {type(error).__name__}: {body[:200]!r}"
        return {"status": 0 if status == 200 else status, "error": said}


async def main(address: str, model: str, rate: float) -> None:
    bodies = [json.dumps({"instances": [row]}).encode() for row in json.loads(sys.stdin.readline())]
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    free: list[Connection] = []
    asked: set[asyncio.Task[dict[str, object]]] = set()
    begin, number = time.perf_counter(), 0

    def tell(task: "asyncio.Task[dict[str, object]]") -> None:
        asked.discard(task)
        print(json.dumps(task.result()), flush=True)

    while not ended.done():
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        row = number % len(bodies)
        task = asyncio.create_task(ask(free, address, model, row, bodies[row], due))
        asked.add(task)
        task.add_done_callback(tell)
        number += 1
    seconds = time.perf_counter() - begin
    while asked:
        await asyncio.wait(asked)
        await asyncio.sleep(0)  # those that are done are told of
    print(json.dumps({"sent": number, "seconds": round(seconds, 4)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))

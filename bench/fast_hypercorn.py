"""CPU time per request on stock Hypercorn and on the fast connection, side by side.

    python -m bench.fast_hypercorn [--seconds 3] [--rounds 3] [--loops uvloop,asyncio]

The server is pinned to core 0 and the load client (64 keep-alive connections) to core 1. The main figure is the server's CPU time
(user and system, from /proc) per answered request: unlike requests per second, it hardly depends on other load. Rounds are
interleaved; the best and the median are printed.
"""

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bench.load import Load, build, figures

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 64
EVENTS = 64
_EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
_ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"message": {"content": "x" * 300}}], "usage": {}}

_TICKS = os.sysconf("SC_CLK_TCK")


async def _json_app(receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    answer = orjson.dumps({**_ANSWER, "model": orjson.loads(body)["model"]})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _stream_app(send: Callable[[dict[str, Any]], Any], pause: bool) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(EVENTS):
        await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
        if pause:
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
    """The served app: /json answers a POST, /burst sends 64 events at once, /ticks one per iteration of the event loop."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/json":
        await _json_app(receive, send)
    else:
        await _stream_app(send, pause=scope["path"] == "/ticks")


def serve(kind: str, loop: str, port: int) -> None:
    """Serve `app` in this process until stopped."""
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    from transport.fast_hypercorn import install

    if install(enabled=kind == "fast") != (kind == "fast"):
        raise SystemExit("The fast connection could not be installed; the warning above says why.")
    served: Any = app
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.backlog = 2048
    config.keep_alive_timeout = 75
    config.keep_alive_max_requests = 10**9
    if loop == "uvloop":
        import uvloop

        uvloop.run(hypercorn_serve(served, config))
    else:
        asyncio.run(hypercorn_serve(served, config))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_until_up(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("The server did not start.")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(programs: Path, kind: str, loop: str, path: str, seconds: float) -> tuple[float, float]:
    """Return CPU microseconds per request and requests per second of one run."""
    port = _free_port()
    command = ["taskset", "-c", "0", sys.executable, "-m", "bench.fast_hypercorn", "--serve", kind, loop, str(port)]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    try:
        _wait_until_up(port)
        _load(programs, port, path, 1)
        before = _cpu_seconds(server.pid)
        result = _load(programs, port, path, seconds)
        spent = _cpu_seconds(server.pid) - before
    finally:
        server.kill()
        server.wait(60)
    return spent / result["good"] * 1e6, result["calls_per_second"]


def _load(programs: Path, port: int, path: str, seconds: float) -> dict[str, Any]:
    """Load `path` and return the client's figures. Raises `SystemExit` if any request failed."""
    load = Load(CONNECTIONS, seconds, stream=path != "/json", chunks=0)
    with load.start(programs, port, path=path, core=1) as client:
        output, errors = client.communicate(timeout=seconds + 60)
    result = figures(output + errors)
    if result["bad"] or not result["good"]:
        raise SystemExit(f"Some requests failed:\n{output}")
    return result


def compare(programs: Path, loop: str, path: str, seconds: float, rounds: int) -> None:
    """Print both kinds and their ratio for one path."""
    costs: dict[str, list[float]] = {"stock": [], "fast": []}
    rates: dict[str, list[float]] = {"stock": [], "fast": []}
    for _ in range(rounds):
        for kind in costs:
            cost, rate = measure(programs, kind, loop, path, seconds)
            costs[kind].append(cost)
            rates[kind].append(rate)
    unit = "request" if path == "/json" else f"stream of {EVENTS} events"
    for kind, values in costs.items():
        best, middle = min(values), statistics.median(values)
        print(f"{loop:8}{path:9}{kind:7}{best:8.1f} / {middle:8.1f} us a {unit}, {max(rates[kind]):9.0f} a second")
    print(f"{loop:8}{path:9}ratio  {min(costs['stock']) / min(costs['fast']):8.2f} : 1\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, interleaved")
    parser.add_argument("--loops", default="uvloop,asyncio")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "LOOP", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], options.serve[1], int(options.serve[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        for loop, path in itertools.product(options.loops.split(","), ("/json", "/burst", "/ticks")):
            compare(Path(folder), loop, path, options.seconds, options.rounds)


if __name__ == "__main__":
    main()

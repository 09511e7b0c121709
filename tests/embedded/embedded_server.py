"""The embedded model server as in production: a separate process on a free port."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.servers.process import ROOT, Process, dies_with_parent

WAIT_SECONDS = 60
KEY = "sk-local-test"
SMOLLM = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Server:
    """A running server. `url` has no trailing slash and no /v1."""

    process: Process
    url: str
    first_log_line: str


def start(cache: Path, *options: str, **environment: str) -> Server:
    """Start the server and return once it listens."""
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / f"{len(list(cache.glob('*.log')))}.log"
    argv = [sys.executable, "-m", "embedded", "--port", "0", "--cache-dir", str(cache), *options]
    env = os.environ | {"YOUT_LOCAL_API_KEY": KEY} | environment
    process = Process("the embedded provider", dies_with_parent(argv), env=env, cwd=ROOT, log=log)
    try:
        process.wait_ready(lambda: "listening on" in process.output())
    except BaseException:
        process.kill()
        raise
    lines = process.output().splitlines()
    [listening] = [line for line in lines if "listening on" in line]
    return Server(process, listening.split()[-1], lines[0])


def stop(server: Server) -> int:
    """Stop the server as a supervisor would; returns its exit code."""
    return server.process.terminate()


async def send(server: Server, method: str, path: str, key: str = KEY, **rest: Any) -> tuple[int, Any]:
    """Send a plain request; returns the status and JSON of the response."""
    async with (
        aiohttp.ClientSession(
            server.url, headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(total=WAIT_SECONDS)
        ) as session,
        session.request(method, path, **rest) as reply,
    ):
        return reply.status, await reply.json()


async def until_busy(session: aiohttp.ClientSession, wanted: int) -> None:
    """Wait until `wanted` slots are generating, according to llama.cpp. Fails immediately if the model is off."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            async with session.get("/healthz") as reply:
                health = (await reply.json())["models"][SMOLLM]
            assert not health["state"].startswith("off"), health["state"]
            if health.get("busy_slots") == wanted:
                return
            await asyncio.sleep(0.02)

"""The embedded provider as it is run: its own process on a free port."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parents[3]
KEY = "sk-local-test"
SMOLLM = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Server:
    """A running provider. `url` has no trailing slash and no /v1."""

    process: subprocess.Popen[str]
    url: str
    first_log_line: str


def start(cache: Path, *options: str, **environment: str) -> Server:
    """Start the provider and return once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.local", "--port", "0", "--cache-dir", str(cache), *options],
        cwd=ROOT,
        env=os.environ | {"YOUT_LOCAL_API_KEY": KEY} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "listening on" in line:
            return Server(process, line.split()[-1], seen[0])
    process.wait()
    process.stderr.close()
    raise AssertionError(f"the provider ended: {''.join(seen)}")


def stop(server: Server) -> int:
    """End the provider as a supervisor would; its exit status."""
    server.process.terminate()
    status = server.process.wait(timeout=20)
    assert server.process.stderr is not None
    server.process.stderr.close()
    return status


async def send(server: Server, method: str, path: str, key: str = KEY, **rest: Any) -> tuple[int, Any]:
    """A plain request: the status and the JSON of its answer."""
    async with (
        aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {key}"}) as session,
        session.request(method, path, **rest) as reply,
    ):
        return reply.status, await reply.json()


async def until_busy(session: aiohttp.ClientSession, wanted: int) -> None:
    """Wait until this many slots generate, by llama.cpp's own count."""
    while True:
        async with session.get("/healthz") as reply:
            if (await reply.json())["models"][SMOLLM].get("busy_slots") == wanted:
                return
        await asyncio.sleep(0.02)

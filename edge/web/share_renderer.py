"""Renders shares in a separate process with resource limits, with a cache and plain text as the fallback.

Markdown parsers take quadratic time for some inputs, and anyone can create a share. A separate process blocks neither the
event loop nor the GIL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import OrderedDict
from pathlib import Path
from uuid import UUID

import orjson

from edge.web.plain_html import plain

log = logging.getLogger("yout.edge")

ROOT = Path(__file__).resolve().parents[2]
CPU_SECONDS = 4
RENDER_SECONDS = 15  # timeout of the renderer, on a busy machine
MAX_HTML_CHARACTERS = 2_000_000  # for 200,000 characters of text
MAX_CACHE_BYTES = 16_000_000
CACHE_SECONDS = 600  # so that a revoked or purged share stays in memory at most this long
MAX_WAITING = 100
_INHERITED = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV")  # no secrets, because the renderer parses untrusted text

Turns = list[tuple[str, str]]
"""Role and text of each message."""


class ShareRenderer:
    """Renders and caches shares, which never change. Use it on only one event loop."""

    def __init__(self, max_cache_bytes: int = MAX_CACHE_BYTES) -> None:
        self._max_cache_bytes = max_cache_bytes
        self._cache: OrderedDict[UUID, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._running: dict[UUID, asyncio.Task[list[str]]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)

    async def render(self, share: UUID, turns: Turns) -> list[str]:
        """Return the sanitized HTML of each message."""
        cached = self._cache.get(share)
        if cached is not None:
            self._cache.move_to_end(share)
            html: list[str] = orjson.loads(cached)
            return html
        if share not in self._running:
            if len(self._running) >= MAX_WAITING:
                return _plain(turns)
            task = asyncio.get_running_loop().create_task(self._render_once(share, turns))
            self._running[share] = task
            task.add_done_callback(lambda _: self._running.pop(share, None))
        return await asyncio.shield(self._running[share])  # other readers may wait for the same task

    async def _render_once(self, share: UUID, turns: Turns) -> list[str]:
        async with self._one_at_a_time:
            html = await _render_in_process(turns)
        if html is None:
            log.warning("rendering share %s exceeded its limits; showing plain text", share)
            html = _plain(turns)
        self._remember(share, orjson.dumps(html))
        return html

    def _remember(self, share: UUID, html: bytes) -> None:
        if len(html) > self._max_cache_bytes:
            return
        self._cache[share] = html
        self._cached_bytes += len(html)
        asyncio.get_running_loop().call_later(CACHE_SECONDS, self._forget, share)
        while self._cached_bytes > self._max_cache_bytes:
            self._forget(next(iter(self._cache)))

    def _forget(self, share: UUID) -> None:
        self._cached_bytes -= len(self._cache.pop(share, b""))


async def _render_in_process(turns: Turns) -> list[str] | None:
    """Render in a resource-limited process. Return None if it exceeded a limit or failed."""
    environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "edge.web.share_renderer_process", str(CPU_SECONDS), str(MAX_HTML_CHARACTERS))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT, env=environ
        )
    except OSError:  # the system has no process, memory or file descriptor left
        return None
    try:
        async with asyncio.timeout(RENDER_SECONDS):
            output, _ = await process.communicate(orjson.dumps(turns))
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return None
    html: list[str] = orjson.loads(output)
    return html


def _plain(turns: Turns) -> list[str]:
    return [plain(text) for _, text in turns]

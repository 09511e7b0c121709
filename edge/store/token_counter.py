"""Counts tokens in a process of its own, which runs only while there is something to count.

The vocabulary takes 50 MB, and loading it stops all threads of an interpreter for 0.3 s. Most calls never need it, because their
provider reports the usage.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, Process
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from shared import tokenizer

log = logging.getLogger("yout.edge")

ROOT = Path(__file__).resolve().parents[2]
IDLE_SECONDS = 600  # after which the process ends
COUNT_SECONDS = 10.0  # timeout of one piece, with the start of the process
PIECE_CHARS = 100_000  # takes tens of milliseconds
LENGTH_BYTES = 4  # before each text, and of each count
_INHERITED = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV")  # no secrets, because it needs none


class TokenCounter:
    """Use it on only one event loop. Counts in this process instead if the vocabulary is already loaded."""

    def __init__(self, idle_seconds: int = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self._running: set[asyncio.Task[int]] = set()

    async def count(self, text: str) -> int:
        """Return the tokens of `text`, counted piece by piece, so that short texts do not wait for a long one."""
        return sum([await self._count(text[at : at + PIECE_CHARS]) for at in range(0, len(text), PIECE_CHARS)])

    async def close(self) -> None:
        """Cancel what is being counted, and end the process."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._end_process()
        self._thread.shutdown(wait=False)

    async def _count(self, piece: str) -> int:
        # Shielded, because the count that a cancelled caller left unread would be taken for that of the next piece.
        task = asyncio.get_running_loop().create_task(self._count_next(piece))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _count_next(self, piece: str) -> int:
        async with self._one_at_a_time:
            if not tokenizer.is_loaded():
                for _ in range(2):  # the process may just have ended
                    try:
                        async with asyncio.timeout(COUNT_SECONDS):
                            return await self._count_in_process(piece)
                    except (OSError, EOFError):  # including a timeout
                        await self._end_process()
                log.warning("the process that counts tokens failed; loading the vocabulary here")
            return await asyncio.get_running_loop().run_in_executor(self._thread, tokenizer.count_tokens, piece)

    async def _count_in_process(self, piece: str) -> int:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._start_process()
        requests, counts = cast(StreamWriter, self._process.stdin), cast(StreamReader, self._process.stdout)
        data = piece.encode(errors="surrogatepass")
        requests.write(len(data).to_bytes(LENGTH_BYTES) + data)
        await requests.drain()
        return int.from_bytes(await counts.readexactly(LENGTH_BYTES))

    async def _start_process(self) -> Process:
        command = (sys.executable, "-m", "edge.store.token_counter_process", str(self._idle_seconds))
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=ROOT,
            env=environ,
            start_new_session=True,  # Ctrl-C ends the edge, which then still counts what it has delivered
        )

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

"""Tokens are counted in a process of its own, whose failures are invisible to calls."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edge.store import token_counter
from edge.store.token_counter import TokenCounter
from shared import tokenizer

TEXTS = ("", "Hello, world!", "Ein Straßenfest 🦔", "half a pair \ud83e here", "word " * 60_000)
DEADLINE = 60  # of waits on a busy machine


@pytest.fixture(autouse=True)
def vocabulary_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count as an edge of one process does, although these tests load the vocabulary to compare."""
    monkeypatch.setattr(tokenizer, "is_loaded", lambda: False)


@pytest.fixture
async def counter() -> AsyncIterator[TokenCounter]:
    made = TokenCounter()
    yield made
    await made.close()


def process_of(counter: TokenCounter) -> asyncio.subprocess.Process:
    process = counter._process
    assert process is not None
    return process


async def test_counts_are_those_of_the_vocabulary(counter: TokenCounter) -> None:
    assert await asyncio.gather(*map(counter.count, TEXTS)) == list(map(tokenizer.count_tokens, TEXTS))


async def test_the_process_starts_at_the_first_count_and_ends_with_the_counter(counter: TokenCounter) -> None:
    assert counter._process is None
    await counter.count("Hello")
    process = process_of(counter)
    assert process.returncode is None
    await counter.count("Hello again")
    assert process_of(counter) is process
    await counter.close()
    assert process.returncode == -signal.SIGKILL


async def test_an_idle_process_ends_and_is_started_again() -> None:
    counter = TokenCounter(idle_seconds=1)
    try:
        await counter.count("Hello")
        assert await asyncio.wait_for(process_of(counter).wait(), DEADLINE) == -signal.SIGALRM
        assert await counter.count("Hello, world!") == 4
    finally:
        await counter.close()


async def test_a_killed_process_is_replaced(counter: TokenCounter) -> None:
    await counter.count("Hello")
    os.kill(process_of(counter).pid, signal.SIGKILL)  # as the system does when memory is short
    assert await counter.count("Hello, world!") == 4


async def test_it_outlives_the_signals_that_end_the_edge(counter: TokenCounter) -> None:
    await counter.count("Hello")
    process = process_of(counter)
    for number in (signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    assert await counter.count("Hello, world!") == 4
    assert process_of(counter) is process


async def test_a_cancelled_caller_does_not_shift_the_counts(counter: TokenCounter) -> None:
    await counter.count("Hello")
    callers = [asyncio.ensure_future(counter.count("word " * 5_000)) for _ in range(3)]
    await asyncio.sleep(0)  # lets them begin
    assert counter._running
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert all(caller.cancelled() for caller in callers)
    assert await counter.count("Hello, world!") == 4


async def test_close_cancels_a_count(counter: TokenCounter) -> None:
    caller = asyncio.ensure_future(counter.count("word " * 100_000))
    await asyncio.sleep(0)  # lets them begin
    assert counter._running
    await counter.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(caller, DEADLINE)


@pytest.mark.parametrize("failure", ["no process", "no answer"])
async def test_without_the_process_this_one_counts(
    counter: TokenCounter, failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError

    if failure == "no process":
        monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    else:
        monkeypatch.setattr(token_counter, "COUNT_SECONDS", 0)
    assert await counter.count("Hello, world!") == 4
    assert "the process that counts tokens failed" in caplog.text


async def test_a_loaded_vocabulary_needs_no_process(counter: TokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "is_loaded", lambda: True)
    assert await counter.count("Hello, world!") == 4
    assert counter._process is None

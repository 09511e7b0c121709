"""The thread for large bodies: the event loop goes on meanwhile, and errors reach the caller."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edge.store.large_bodies import LargeBodies
from tests.upstream_responses import WAIT_SECONDS


def test_the_event_loop_runs_while_a_body_is_processed() -> None:
    async def scenario() -> bool:
        bodies, released = LargeBodies(), threading.Event()
        working = asyncio.ensure_future(bodies.run(lambda: released.wait(WAIT_SECONDS)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(released.set)  # would never run if the work blocked the loop
        result = await working
        bodies.close()
        return result

    assert asyncio.run(scenario())


def test_errors_reach_the_caller_and_the_next_body_is_processed() -> None:
    def fail() -> None:
        raise ValueError("not JSON")

    async def scenario() -> int:
        bodies = LargeBodies()
        with pytest.raises(ValueError, match="not JSON"):
            await bodies.run(fail)
        result = await bodies.run(lambda: 7)
        bodies.close()
        return result

    assert asyncio.run(scenario()) == 7

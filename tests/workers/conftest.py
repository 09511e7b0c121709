"""Fixtures of the worker tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.queue_messages import Queue


@pytest.fixture
def queue(redis_url: str) -> Iterator[Queue]:
    seen = Queue(redis_url)
    yield seen
    seen.close()

"""The queue of password hashes: immediate rejections, and timeouts while waiting."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from shared.core.errors import SignInQueueFull
from shared.identity import hash_queue
from shared.identity.hash_queue import MAX_PER_NETWORK, HashQueue


@pytest.fixture
def queue():
    made = HashQueue(max_waiting=6, max_known=1)
    yield made
    made.close()


def test_the_queue_is_limited_and_reserves_capacity_for_known_browsers(queue):
    with ExitStack() as held:
        for number in range(6):
            held.enter_context(queue.slot(f"network {number}"))
        with pytest.raises(SignInQueueFull), queue.slot("another"):
            pass
        held.enter_context(queue.slot("another", known=True))
        with pytest.raises(SignInQueueFull), queue.slot("one more", known=True):
            pass
    with queue.slot("another"):
        pass


def test_a_network_gets_at_most_its_share(queue):
    with ExitStack() as held:
        for _ in range(MAX_PER_NETWORK):
            held.enter_context(queue.slot("crowd"))
        with pytest.raises(SignInQueueFull), queue.slot("crowd"):
            pass
        with queue.slot("crowd", known=True), queue.slot("elsewhere"):
            pass
    with ExitStack() as held:
        for _ in range(MAX_PER_NETWORK):
            held.enter_context(queue.slot("crowd", known=True))
        with pytest.raises(SignInQueueFull), queue.slot("crowd", known=True):
            pass


def test_a_request_that_waited_too_long_is_rejected(queue, monkeypatch):
    monkeypatch.setattr(hash_queue, "MAX_WAIT_SECONDS", -1.0)
    with pytest.raises(SignInQueueFull):
        queue.run(lambda: "late")


def test_a_failure_affects_only_its_caller(queue):
    with pytest.raises(ZeroDivisionError):
        queue.run(lambda: 1 / 0)
    assert queue.run(lambda: "next") == "next"

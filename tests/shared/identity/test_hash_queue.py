"""The queue of password hashes: who is refused at once, and who has waited too long."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from shared.core.errors import Busy
from shared.identity import hash_queue
from shared.identity.hash_queue import MAX_PER_NETWORK, HashQueue


@pytest.fixture
def queue():
    made = HashQueue(max_waiting=6, max_known=1)
    yield made
    made.close()


def test_places_are_bounded_and_known_people_have_some_of_their_own(queue):
    with ExitStack() as held:
        for number in range(6):
            held.enter_context(queue.slot(f"network {number}"))
        with pytest.raises(Busy), queue.slot("another"):
            pass
        held.enter_context(queue.slot("another", known=True))
        with pytest.raises(Busy), queue.slot("one more", known=True):
            pass
    with queue.slot("another"):
        pass


def test_one_network_holds_its_share_at_most(queue):
    with ExitStack() as held:
        for _ in range(MAX_PER_NETWORK):
            held.enter_context(queue.slot("crowd"))
        with pytest.raises(Busy), queue.slot("crowd"):
            pass
        with queue.slot("crowd", known=True), queue.slot("elsewhere"):
            pass
    with ExitStack() as held:
        for _ in range(MAX_PER_NETWORK):
            held.enter_context(queue.slot("crowd", known=True))
        with pytest.raises(Busy), queue.slot("crowd", known=True):
            pass


def test_whoever_waited_too_long_is_refused_instead_of_served_late(queue, monkeypatch):
    monkeypatch.setattr(hash_queue, "MAX_WAIT_SECONDS", -1.0)
    with pytest.raises(Busy):
        queue.run(lambda: "late")


def test_what_fails_fails_for_its_caller_alone(queue):
    with pytest.raises(ZeroDivisionError):
        queue.run(lambda: 1 / 0)
    assert queue.run(lambda: "next") == "next"

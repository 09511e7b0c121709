"""Ids contain their creation time, sort in creation order, and are unique."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122

import pytest

from shared.core.clock import new_id, now_ms


def test_an_id_is_a_version_7_uuid_of_this_millisecond() -> None:
    before = now_ms()
    one = new_id()
    assert (one.version, one.variant) == (7, RFC_4122)
    assert before <= one.int >> 80 <= now_ms() + 1


def test_ids_sort_in_creation_order() -> None:
    made = [new_id() for _ in range(20_000)]
    assert sorted(made) == made
    assert [one.bytes for one in made] == sorted(one.bytes for one in made)


def test_order_is_kept_if_the_clock_stops_or_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 5_000_000_000)
    made = [first, *(new_id() for _ in range(5_000))]
    assert sorted(made) == made


def test_threads_never_create_the_same_id() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [one for many in threads.map(lambda _: [new_id() for _ in range(2_000)], range(8)) for one in many]
    assert len(set(made)) == len(made)

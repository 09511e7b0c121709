"""The throttle of failed sign-ins."""

from __future__ import annotations

from shared.throttle import WINDOW_MS, Throttle


def test_a_throttle_opens_again_when_the_window_has_passed():
    throttle = Throttle()
    assert [throttle.begin({"a": 2}, now) for now in (0, 10)] == [0, 0]
    assert throttle.begin({"a": 2}, 20) == WINDOW_MS - 20
    assert throttle.begin({"a": 2}, WINDOW_MS) == 0


def test_a_throttle_counts_nothing_for_a_refused_attempt_and_forgives_after_a_success():
    throttle = Throttle()
    throttle.begin({"ann": 1, "net": 3}, 0)
    assert throttle.begin({"ann": 1, "net": 3}, 1) > 0
    throttle.forgive("ann", "net")
    assert [throttle.begin({"ann": 1, "net": 1}, 2)] == [0]


def test_a_throttle_remembers_a_bounded_number_of_keys():
    throttle = Throttle(most_keys=2)
    for key in ("a", "b", "c"):
        throttle.begin({key: 1}, 0)
    assert throttle.begin({"a": 1}, 1) == 0
    assert throttle.begin({"c": 1}, 1) > 0

"""How login attempts are grouped for throttling, and how known browsers are recognized."""

from __future__ import annotations

import pytest

from shared.identity.attempt_limits import (
    BROWSER_MS,
    MAX_FAILURES_PER_PERSON,
    MAX_FAILURES_PER_PERSON_TOTAL,
    AttemptOrigin,
    browser_cookie,
    code_limits,
    confirmation_limits,
    password_limits,
    read_browser_cookie,
)
from shared.identity.login_throttle import Throttle

KEY = "a secret key of thirty-two characters"
ANN, NOW = "ann@example.com", 1_000


def refused(throttle: Throttle, place: AttemptOrigin, person: str = ANN) -> bool:
    return throttle.count_attempt(password_limits("member", person, place).keys) > 0


def test_failed_guesses_do_not_lock_out_the_owner() -> None:
    throttle, stranger = Throttle(KEY), AttemptOrigin("203.0.113.9")
    for _ in range(MAX_FAILURES_PER_PERSON):
        assert not refused(throttle, stranger)
    assert refused(throttle, stranger)
    assert not refused(throttle, AttemptOrigin("198.51.100.7"))
    assert not refused(throttle, AttemptOrigin("203.0.113.9", "a-known-browser-of-ann"))


def test_unknown_browsers_share_a_limit_that_does_not_affect_known_ones() -> None:
    throttle = Throttle(KEY)
    for number in range(MAX_FAILURES_PER_PERSON_TOTAL):
        assert not refused(throttle, AttemptOrigin(f"network {number % 20}"))
    assert refused(throttle, AttemptOrigin("one more network"))
    assert not refused(throttle, AttemptOrigin("one more network", "a-known-browser-of-ann"))
    assert not refused(throttle, AttemptOrigin("one more network"), "bob@example.com")


def test_a_network_is_limited_across_all_accounts() -> None:
    throttle = Throttle(KEY)
    answers = [refused(throttle, AttemptOrigin("net"), f"person-{number}@example.com") for number in range(40)]
    assert answers.count(False) == 30


def test_a_known_browser_is_limited_too() -> None:
    throttle, place = Throttle(KEY), AttemptOrigin("net", "a-known-browser-of-ann")
    assert [refused(throttle, place) for _ in range(MAX_FAILURES_PER_PERSON + 1)] == [False] * MAX_FAILURES_PER_PERSON + [True]


def test_sessions_of_a_person_have_separate_limits_and_a_shared_one() -> None:
    throttle = Throttle(KEY)
    answers = [throttle.count_attempt(confirmation_limits("member", "ann", f"s{number % 5}").keys) > 0 for number in range(60)]
    assert answers.count(False) == 30
    assert code_limits("ann", AttemptOrigin("a")).keys == code_limits("ann", AttemptOrigin("b")).keys


def test_a_known_browser_cookie_is_valid_for_one_person_kind_and_year() -> None:
    cookie = browser_cookie(KEY, "member", ANN, NOW)
    assert read_browser_cookie(cookie, KEY, "member", ANN, NOW) == cookie.split(".")[0]
    assert read_browser_cookie(cookie, KEY, "member", ANN, NOW + BROWSER_MS) == ""
    assert read_browser_cookie(cookie, KEY, "member", "bob@example.com", NOW) == ""
    assert read_browser_cookie(cookie, KEY, "staff", ANN, NOW) == ""
    assert read_browser_cookie(cookie, "another key of thirty-two characters", "member", ANN, NOW) == ""


@pytest.mark.parametrize(
    "cookie", ["", ".", "..", "x.1.y", "x" * 200, "é" * 22 + ".9999999999999.x", "x" * 22 + ".²." + "0" * 32]
)
def test_an_invalid_cookie_is_ignored(cookie: str) -> None:
    assert read_browser_cookie(cookie, KEY, "member", ANN, NOW) == ""

"""The attempt throttle: within one process, shared through Redis, and while Redis is down."""

from __future__ import annotations

import pytest

from shared.identity.login_throttle import WINDOW_MS, LocalThrottle, Throttle

KEY = "a secret key of thirty-two characters"


def test_a_burst_is_allowed_and_then_one_attempt_at_a_time():
    throttle = LocalThrottle()
    assert [throttle.run("begin", {"a": 3}, now) for now in (0, 0, 0)] == [0, 0, 0]
    assert throttle.run("begin", {"a": 3}, 0) == WINDOW_MS // 3
    assert throttle.run("begin", {"a": 3}, WINDOW_MS // 3) == 0
    assert throttle.run("begin", {"a": 3}, WINDOW_MS // 3) == WINDOW_MS // 3


def test_the_number_of_kept_keys_is_limited():
    throttle = LocalThrottle(max_keys=2)
    for key in ("a", "b", "c"):
        throttle.run("begin", {key: 1}, 0)
    assert (len(throttle), throttle.run("begin", {"a": 1}, 1)) == (2, 0)
    throttle.run("return", {"a": 1}, 1)
    assert len(throttle) == 1


@pytest.fixture(params=["redis", "alone"])
def throttle(request: pytest.FixtureRequest) -> Throttle:
    return Throttle(KEY, request.getfixturevalue("redis_url") if request.param == "redis" else "")


def test_a_rejected_attempt_is_not_counted(throttle):
    assert throttle.count_attempt({"ann": 1, "net": 2}) == 0
    wait = throttle.count_attempt({"ann": 1, "net": 2})
    assert WINDOW_MS - 60_000 < wait <= WINDOW_MS
    assert throttle.count_attempt({"net": 2}) == 0
    assert throttle.count_attempt({"net": 2}) > 0


def test_a_success_resets_the_person_and_uncounts_the_attempt_elsewhere(throttle):
    limits = {"ann from here": 2, "net": 2}
    assert [throttle.count_attempt(limits), throttle.count_attempt(limits)] == [0, 0]
    throttle.record_success(limits, ("ann from here",))
    assert throttle.count_attempt({"ann from here": 2}) == 0
    assert throttle.count_attempt({"net": 2}) == 0
    assert throttle.count_attempt({"net": 2}) > 0


def test_processes_share_counts_in_redis_as_expiring_digests(redis_url):
    import redis

    one, other = Throttle(KEY, redis_url), Throttle(KEY, redis_url)
    assert [one.count_attempt({"ann@example.com": 2}), other.count_attempt({"ann@example.com": 2})] == [0, 0]
    assert one.count_attempt({"ann@example.com": 2}) > 0
    with redis.Redis.from_url(redis_url) as client:
        (name,) = client.keys("*")
        assert (len(name), b"ann" in name) == (len("yout:{throttle}:") + 32, False)
        assert 0 < client.pttl(name) <= WINDOW_MS


def test_a_process_counts_by_itself_while_redis_is_down(own_redis):
    throttle = Throttle(KEY, own_redis.url)
    assert throttle.count_attempt({"ann": 1}) == 0
    own_redis.kill()
    assert throttle.count_attempt({"ann": 1}) == 0, "the earlier counts were in Redis"
    assert throttle.count_attempt({"ann": 1}) > 0

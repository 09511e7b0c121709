"""Sign-up: which accounts get opening credits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

from shared.identity.visitor_id import DAY_MS, network_digest
from shared.operations.web_accounts import MAX_CREDITED_SIGN_UPS, sign_up

ON_SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
TODAY = 20_000 * DAY_MS


def balance(number: int, address: str, now: int = TODAY) -> int:
    """Sign up from a client IP; returns the opening credits."""
    network = network_digest("secret", address, now)
    return int(sign_up(f"person-{number}@example.com", "hash", 500, network=network, address=address).balance)


def test_opening_credits_are_limited_per_network_and_day(bound_database: peewee.Database) -> None:
    credited = [500] * MAX_CREDITED_SIGN_UPS
    assert [balance(number, f"2001:db8:0:7::{number}") for number in range(5)] == [*credited, 0, 0]
    assert balance(10, "2001:db8:0:8::1") == 500
    assert balance(11, "203.0.113.7") == 500
    assert [balance(number, "2001:db8:0:7::1", TODAY + DAY_MS) for number in range(20, 25)] == [*credited, 0, 0]


def test_sign_ups_without_a_network_are_not_limited(bound_database: peewee.Database) -> None:
    made = [sign_up(f"person-{number}@example.com", "hash", 500).balance for number in range(5)]
    assert made == [500] * 5


def test_concurrent_sign_ups_never_exceed_the_limit(bound_postgres: peewee.Database) -> None:
    def attempt(number: int) -> int:
        with bound_postgres.connection_context():
            return balance(number, "203.0.113.7")

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(12))) == 500 * MAX_CREDITED_SIGN_UPS

"""Days and months in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.billing_periods import (
    DAY_MS,
    anchor_day,
    day_of,
    format_timestamp,
    month_of,
    month_start,
    next_day_start,
    next_month_start,
    next_renewal,
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "anchor", "renewal"),
    [
        ("2027-01-31T09:30:00", 31, "2027-02-28T09:30:00"),
        ("2027-02-28T09:30:00", 31, "2027-03-31T09:30:00"),
        ("2028-01-30T00:00:00", 30, "2028-02-29T00:00:00"),
        ("2028-02-29T00:00:00", 29, "2028-03-29T00:00:00"),
        ("2027-03-31T23:59:59.999", 31, "2027-04-30T23:59:59.999"),
        ("2027-12-15T12:00:00", 15, "2028-01-15T12:00:00"),
        ("2027-12-31T12:00:00", 31, "2028-01-31T12:00:00"),
        ("2100-01-31T12:00:00", 31, "2100-02-28T12:00:00"),
    ],
)
def test_renewals_keep_their_day_of_the_month(moment: str, anchor: int, renewal: str) -> None:
    assert next_renewal(at(moment), anchor) == at(renewal)


moments = st.integers(0, 4 * 10**12)


@given(moment=moments, months=st.integers(1, 40))
def test_each_renewal_is_one_month_ahead(moment: int, months: int) -> None:
    anchor, seen = anchor_day(moment), month_of(moment)
    for _ in range(months):
        renewal = next_renewal(moment, anchor)
        assert 28 * DAY_MS <= renewal - moment <= 31 * DAY_MS or anchor > 28
        assert renewal % DAY_MS == moment % DAY_MS
        year, month = divmod(seen, 100)
        seen = year * 100 + month + 1 if month < 12 else (year + 1) * 100 + 1
        assert month_of(renewal) == seen
        assert anchor_day(renewal) == anchor or anchor_day(renewal + DAY_MS) == 1
        moment = renewal


@given(moment=moments)
def test_a_time_is_within_its_day_and_month(moment: int) -> None:
    assert next_day_start(day_of(moment)) - DAY_MS <= moment < next_day_start(day_of(moment))
    assert month_start(moment) <= moment < next_month_start(moment)
    assert month_of(month_start(moment)) == month_of(next_month_start(moment) - 1) == month_of(moment)


def test_display_of_times() -> None:
    assert format_timestamp(at("2027-03-01T00:00:00")) == "2027-03-01T00:00:00Z"
    assert month_of(at("2027-03-01T00:00:00")) == 202703

"""Pseudonyms differ by account, channel and period."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.identity.pseudonyms import period_of, pseudonym

DAY_MS = 86_400_000
CHANNELS = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))


def test_a_pseudonym_depends_on_everything_and_reveals_nothing() -> None:
    one, other = UUID(int=1), UUID(int=2)
    made = [
        pseudonym(b"key", one, one, 0, "ada"),
        pseudonym(b"other key", one, one, 0, "ada"),
        pseudonym(b"key", other, one, 0, "ada"),
        pseudonym(b"key", one, other, 0, "ada"),
        pseudonym(b"key", one, one, 1, "ada"),
        pseudonym(b"key", one, one, 0, "bob"),
    ]
    assert len(set(made)) == len(made)
    assert {len(name) for name in made} == {32}
    assert made[0] == pseudonym(b"key", one, one, 0, "ada")


@given(CHANNELS, st.integers(1, 3_650), st.integers(0, 2**42))
def test_a_period_has_the_set_length(channel: UUID, days: int, now_ms: int) -> None:
    period, length_ms = period_of(channel, days, now_ms), days * DAY_MS
    assert period_of(channel, days, now_ms + length_ms) == period + 1
    assert period_of(channel, days, now_ms + length_ms - 1) - period in (0, 1)
    assert period_of(channel, 0, now_ms) == 0, "without a length, it never ends"


def test_channels_do_not_change_periods_together() -> None:
    starts = {
        next(ms for ms in range(0, DAY_MS, 3_600_000) if period_of(UUID(int=n * 3_600_000), 1, ms) == 1) for n in range(1, 5)
    }
    assert len(starts) == 4

"""Sums of sampled calls' tokens by hour, channel and model: as we count them, and as the provider reports them."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.ledger.sql import execute, insert
from shared.rollup.sql import HOUR_MS

KEEP_SAMPLES_HOURS = 8 * 24
_SUMS = ("calls", "counted_input", "reported_input", "counted_output", "reported_output")
_ADD = ", ".join(f"{column} = token_sample.{column} + excluded.{column}" for column in _SUMS)


class TokenSums(NamedTuple):
    """Tokens of sampled calls. The output is 0 on both sides for calls of which only the input is compared."""

    calls: int = 0
    counted_input: int = 0
    reported_input: int = 0
    counted_output: int = 0
    reported_output: int = 0


def add_token_sample(at: int, channel: UUID, model: str, sample: TokenSums) -> None:
    """Add the tokens of a call at `at` (ms UTC). Run inside a transaction."""
    insert(
        "token_sample",
        ("at", "channel", "model", *_SUMS),
        [(at - at % HOUR_MS, channel, model, *sample)],
        f"ON CONFLICT (at, channel, model) DO UPDATE SET {_ADD}",
    )


def read_token_samples(channel: UUID, since: int, until: int) -> TokenSums:
    """Return a channel's sums of the hours that begin in [since, until), in ms UTC."""
    sums = ", ".join(f"COALESCE(SUM({column}), 0)" for column in _SUMS)
    row = execute(f"SELECT {sums} FROM token_sample WHERE channel = ? AND at >= ? AND at < ?", [channel, since, until])
    return TokenSums(*map(int, row.fetchone()))


def delete_old_token_samples(hour: int) -> None:
    """Delete the sums of hours long before `hour`."""
    execute("DELETE FROM token_sample WHERE at < ?", [hour - KEEP_SAMPLES_HOURS * HOUR_MS])

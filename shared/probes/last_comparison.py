"""When a model on a channel was last compared with a reference channel, for receipts."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.models import ChannelComparison


class LastComparison(NamedTuple):
    """The result of the last complete run (`same`, `different`, `not_compared`), and its end (ms UTC), or None without one."""

    result: str
    compared_at: int | None


def read_last_comparison(channel: UUID | None, model: str) -> LastComparison:
    """Return the last complete comparison of a model on a channel. `channel` is None for calls that reached none."""
    wanted = (ChannelComparison.channel == channel) & (ChannelComparison.model == model)
    row = None if channel is None else ChannelComparison.get_or_none(wanted)
    return LastComparison(row.verdict or "not_compared", row.compared_at) if row else LastComparison("not_compared", None)

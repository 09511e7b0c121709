"""The daily comparison of prices with the providers' list prices: which models cost more at their provider than here.

It changes no price and no draft. Costs of routes follow the list price if they were taken from it, or if they are unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.core.database import transaction
from shared.models import AIModel, ChannelModel, PriceCheck
from shared.operations.audit import Origin
from shared.operations.price_sync import Comparisons, PriceComparison, compare_prices, update_costs

DAY_MS = 24 * 3_600_000
CHECK_AT_MS = 17 * 60_000  # after midnight UTC, when prices with a start date have changed
RETRY_MS = 15 * 60_000
MAX_STORED = 1_000  # models


class CheckedPrices(NamedTuple):
    """The latest check: models whose price is below the list price, and ids of models without a list price.

    An entry of `below` has `model`, `rates` (those below, such as `input@200000`), `sources`, and `changes`: the day of the next
    announced price, or None.
    """

    checked_at: int | None
    below: list[dict[str, Any]]
    unknown: list[str]


def check_prices_if_due(now: int, credits_per_usd: int, *, origin: Origin) -> CheckedPrices | None:
    """Run the check of the day if no process has done so. After a failure, the next attempt is possible in `RETRY_MS`."""
    is_due = (PriceCheck.id == 1) & (PriceCheck.due_at <= now)
    if not PriceCheck.update(due_at=now + RETRY_MS).where(is_due).execute():
        return None
    return check_prices(now, credits_per_usd, origin=origin)


def check_prices(now: int, credits_per_usd: int, *, origin: Origin) -> CheckedPrices:
    """Compare the prices of all models on enabled channels, except free ones, and store the result."""
    compared = compare_prices(credits_per_usd)
    for comparison in compared.known:
        _follow(comparison, origin)
    found = _result(compared, now)
    next_check = now - now % DAY_MS + DAY_MS + CHECK_AT_MS
    with transaction():
        PriceCheck.update(
            due_at=next_check, checked_at=now, below=found.below[:MAX_STORED], unknown=found.unknown[:MAX_STORED]
        ).where(PriceCheck.id == 1).execute()
    return found


def latest_check() -> CheckedPrices:
    """Return the stored result of the latest check."""
    row = PriceCheck.get_or_none(PriceCheck.id == 1)
    return CheckedPrices(row.checked_at, list(row.below), list(row.unknown)) if row else CheckedPrices(None, [], [])


def _follow(comparison: PriceComparison, origin: Origin) -> None:
    ids = [cost.route for cost in comparison.costs]
    no_costs = ChannelModel.cost_per_1k_input.is_null() & ChannelModel.cost_per_1k_output.is_null()
    rows = ChannelModel.select().where(ChannelModel.id.in_(ids) & (ChannelModel.costs_listed | no_costs))
    following = {row.id for row in rows if row.costs_listed or not row.further_costs}
    update_costs([cost for cost in comparison.costs if cost.route in following], origin)


def _result(compared: Comparisons, now: int) -> CheckedPrices:
    rows: Any = AIModel.select(AIModel.id).where(AIModel.is_free | (AIModel.status != "active")).tuples()
    ignored = {id for (id,) in rows}
    below = [
        {
            "model": one.model,
            "rates": list(one.rates_below_cost),
            "sources": list(one.sources),
            "changes": None if one.changes is None else one.changes.isoformat(),
        }
        for one in compared.known
        if one.is_below_cost and one.model not in ignored
    ]
    return CheckedPrices(now, below, [one.model for one in compared.unknown if one.model not in ignored])

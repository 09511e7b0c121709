"""A price change made by somebody who was looking at the price in force."""

from __future__ import annotations

from uuid import UUID

from shared.clock import now_ms
from shared.database import is_sqlite, transaction
from shared.errors import InvalidInput
from shared.models import AIModel, Price
from shared.operations.prices import Rates, set_price


def price_in_force(model_id: str) -> Price | None:
    """The price that a call of this model begins with now, None before the first."""
    found: Price | None = (
        Price.select()
        .where((Price.model == model_id) & (Price.effective_at <= now_ms()))
        .order_by(Price.effective_at.desc())
        .first()
    )
    return found


def replace_price(model_id: str, rates: Rates, seen: UUID | None, *, actor: str, address: str = "") -> Price:
    """Set a price from now on, provided that the price in force is still the one that was `seen` (None: no price).

    Raises `InvalidInput` when it is another one by now, so that neither a second click nor a colleague's change made in between
    is followed by a price that nobody meant.
    """
    with transaction():
        if not is_sqlite():  # there the transaction itself is the lock
            AIModel.select().where(AIModel.id == model_id).for_update().first()
        current = price_in_force(model_id)
        if (current.id if current else None) != seen:
            raise InvalidInput("The price has changed since you opened this page; nothing was set. Look at it, then send again.")
        return set_price(
            model_id,
            input=rates.input,
            output=rates.output,
            cached_input=rates.cached_input,
            per_call=rates.per_call,
            minimum=rates.minimum,
            per_5_seconds=rates.per_5_seconds,
            per_1k_characters=rates.per_1k_characters,
            cache_write=rates.cache_write,
            actor=actor,
            address=address,
        )

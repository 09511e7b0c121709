"""Drafts of prices: written down, compared with what is in force, published from some moment on, or thrown away."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple
from uuid import UUID

from shared.clock import now_ms
from shared.database import is_sqlite, transaction
from shared.errors import InvalidInput, NotFound
from shared.models import AIModel, Price, PriceDraft
from shared.operations.audit import Origin, record
from shared.operations.prices import Rates, set_price
from shared.operations.prices_in_force import price_in_force

# The columns of a price, by the names of `Rates`.
COLUMNS = {
    "input": "credits_per_1k_input",
    "output": "credits_per_1k_output",
    "cached_input": "credits_per_1k_cached_input",
    "cache_write": "credits_per_1k_cache_write",
    "per_call": "credits_per_call",
    "minimum": "minimum_credits",
    "per_5_seconds": "credits_per_5_seconds",
    "per_1k_characters": "credits_per_1k_characters",
}


def rates_of(row: Price | PriceDraft) -> Rates:
    """The rates of a price or a draft."""
    return Rates(**{name: getattr(row, column) for name, column in COLUMNS.items()})


def find_draft(model_id: str) -> PriceDraft | None:
    """The draft for this model, if somebody has begun one."""
    found: PriceDraft | None = PriceDraft.get_or_none(PriceDraft.model == model_id)
    return found


def save_draft(model_id: str, rates: Rates, *, actor: str, address: str = "") -> PriceDraft:
    """Write a draft down, in place of a former one. It charges nobody.

    Raises `NotFound` for the model, `InvalidInput` for a price out of range.
    """
    with transaction():
        model = AIModel.get_or_none(AIModel.id == model_id)
        if model is None:
            raise NotFound(f"No model {model_id!r} in the catalogue.")
        rates.check(model.is_free)
        former = find_draft(model_id)
        values: dict[str, Any] = {column: getattr(rates, name) for name, column in COLUMNS.items()}
        values |= {"author": actor[:254], "updated_at": now_ms()}
        if former is None:
            PriceDraft.create(model=model_id, **values)
        else:
            PriceDraft.update(values).where(PriceDraft.model == model_id).execute()
        before = asdict(rates_of(former)) if former else None
        record(Origin(actor, address), "price.draft", model_id, before=before, after=asdict(rates))
        return PriceDraft.get(PriceDraft.model == model_id)


class Seen(NamedTuple):
    """What somebody looked at when they published: the draft's rates as `written`, and the id of the price in force, if any."""

    draft: str
    price: UUID | None


def written(draft: PriceDraft) -> str:
    """The rates of a draft in a line: two that charge the same are the same."""
    return " ".join(f"{name}={rate}" for name, rate in asdict(rates_of(draft)).items() if rate is not None)


def publish_draft(model_id: str, seen: Seen, effective_at: int | None = None, *, actor: str, address: str = "") -> Price:
    """Make a draft a price, from now or from `effective_at` (ms UTC) on. Calls that run keep the price they began with.

    Raises `NotFound` without a draft, and `InvalidInput` when it or the price in force is another one by now or the moment has
    passed: neither a second click nor a colleague's change made in between is followed by a price that nobody meant.
    """
    with transaction():
        if not is_sqlite():  # there the transaction itself is the lock
            AIModel.select().where(AIModel.id == model_id).for_update().first()
        draft, current = find_draft(model_id), price_in_force(model_id)
        if draft is None:
            raise NotFound(f"There is no draft of a price for {model_id!r}: it was published or thrown away.")
        if seen != (written(draft), current.id if current else None):
            raise InvalidInput(
                "The price has changed since you opened this page; nothing was published. Look at it, then send again."
            )
        PriceDraft.delete().where(PriceDraft.model == model_id).execute()
        return set_price(model_id, **asdict(rates_of(draft)), effective_at=effective_at, actor=actor, address=address)


def discard_draft(model_id: str, *, actor: str, address: str = "") -> None:
    """Throw a draft away; one that is not there is thrown away already."""
    with transaction():
        if PriceDraft.delete().where(PriceDraft.model == model_id).execute():
            record(Origin(actor, address), "price.draft", model_id, after={"discarded": True})

"""Prices: rows with an effective date. Rows are never changed; a newer row replaces an older one."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, Price, PriceDraft
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.validation import check_integer

MAX_PRICE = 10**12


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in whole credits: per 1,000 tokens, per call, minimum of a call, per 5 seconds of video, per 1,000 characters.

    None for `cached_input` or `cache_write` (tokens read from or written to the provider's prompt cache) means the input price.
    None for a media price means that it does not apply.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    per_call: int = 0
    minimum: int = 10
    per_5_seconds: int | None = None
    per_1k_characters: int | None = None
    cache_write: int | None = None

    @property
    def is_zero(self) -> bool:
        return not (self.input or self.output or self.per_call or self.per_5_seconds or self.per_1k_characters)

    def check(self, free: bool) -> None:
        """Raise `InvalidInput` for a price out of range, or for a model without a price that is not free."""
        for what, value in asdict(self).items():
            if value is not None:
                check_integer(f"price ({what.replace('_', ' ')})", value, 0, MAX_PRICE)
        if self.is_zero and not free:
            raise InvalidInput("A model without a price must be marked as free. Set a price above 0, or use --free.")


# Columns of `Price` and `PriceDraft` by field of `Rates`.
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
    """Return the rates of a price or draft."""
    return Rates(**{name: getattr(row, column) for name, column in COLUMNS.items()})


def rate_columns(rates: Rates) -> dict[str, int | None]:
    """Return the values of a price's or draft's columns."""
    return {column: getattr(rates, name) for name, column in COLUMNS.items()}


def set_price(model_id: str, rates: Rates, effective_at: int | None = None, *, origin: Origin) -> Price:
    """Set a model's price, from now on or from a later time (`effective_at`, ms UTC). Running calls keep their price.

    Raises `InvalidInput` for a past time, so that past charges stay explainable.
    """
    if effective_at is not None and effective_at < now_ms():
        raise InvalidInput("A price cannot take effect in the past. Omit the time to set it now.")
    with transaction():
        model = AIModel.get_or_none(AIModel.id == model_id)
        if model is None:
            raise NotFound(f"No model {model_id!r} in the catalog. Create it with `yout model create`.")
        rates.check(model.is_free)
        moment = _free_moment(model_id, effective_at)
        price = insert_price(model_id, rates, moment)
        record_audit_entry(origin, "price.set", model_id, after={**asdict(rates), "effective_at": moment})
        bump_catalog_version()
        return price


def insert_price(model_id: str, rates: Rates, effective_at: int) -> Price:
    """Insert a row for validated rates. For functions of this package, inside their transaction."""
    return Price.create(model=model_id, effective_at=effective_at, **rate_columns(rates))


def _free_moment(model_id: str, effective_at: int | None) -> int:
    """Return the time to store. Of two changes within one millisecond, the second gets the next millisecond."""
    moment = now_ms() if effective_at is None else effective_at
    while Price.select().where((Price.model == model_id) & (Price.effective_at == moment)).exists():
        if effective_at is not None:
            raise InvalidInput(f"The model {model_id!r} already has a price that takes effect at this time. Choose another time.")
        moment += 1
    return moment

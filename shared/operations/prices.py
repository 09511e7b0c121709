"""Prices: effective-dated rows, never changed, only followed by a newer one."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.models import AIModel, Price
from shared.operations.audit import Origin, record
from shared.operations.validation import check_whole
from shared.operations.version import bump_catalog_version

LARGEST_PRICE = 10**12


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in whole credits: per 1,000 tokens, per call, and the least of a call; of media also per 5 seconds of video and per
    1,000 characters of speech (None: not priced by these).

    None for `cached_input` or `cache_write` (input read from the vendor's prompt cache, or written to it) means "as input".
    """

    input: int
    output: int
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
        """Raise `InvalidInput` for a price out of range, or for no price at all of a model that is not free."""
        for what, value in asdict(self).items():
            if value is not None:
                check_whole(f"price ({what.replace('_', ' ')})", value, 0, LARGEST_PRICE)
        if self.is_zero and not free:
            raise InvalidInput("A model without a price must be marked free; give a price above 0, or --free.")


def set_price(
    model_id: str,
    *,
    input: int,
    output: int,
    cached_input: int | None = None,
    per_call: int = 0,
    minimum: int = 10,
    per_5_seconds: int | None = None,
    per_1k_characters: int | None = None,
    cache_write: int | None = None,
    effective_at: int | None = None,
    actor: str,
    address: str = "",
) -> Price:
    """Give a model a new price, from now on or from a later moment (`effective_at`, ms UTC).

    Raises `InvalidInput` for a past moment: what was charged must stay explicable. Calls that run keep the price they began with.
    """
    rates = Rates(input, output, cached_input, per_call, minimum, per_5_seconds, per_1k_characters, cache_write)
    if effective_at is not None and effective_at < now_ms():
        raise InvalidInput("A price cannot take effect in the past; leave the moment out to set it now.")
    with transaction():
        model = AIModel.get_or_none(AIModel.id == model_id)
        if model is None:
            raise NotFound(f"No model {model_id!r} in the catalogue; `yout model create` makes one.")
        rates.check(model.is_free)
        moment = _free_moment(model_id, effective_at)
        price = insert_price(model_id, rates, moment)
        record(Origin(actor, address), "price.set", model_id, after={**asdict(rates), "effective_at": moment})
        bump_catalog_version()
        return price


def insert_price(model_id: str, rates: Rates, effective_at: int) -> Price:
    """Insert the row for rates that were checked. For functions of this package, inside their transaction."""
    return Price.create(
        model=model_id,
        effective_at=effective_at,
        credits_per_1k_input=rates.input,
        credits_per_1k_output=rates.output,
        credits_per_1k_cached_input=rates.cached_input,
        credits_per_call=rates.per_call,
        minimum_credits=rates.minimum,
        credits_per_5_seconds=rates.per_5_seconds,
        credits_per_1k_characters=rates.per_1k_characters,
        credits_per_1k_cache_write=rates.cache_write,
    )


def _free_moment(model_id: str, effective_at: int | None) -> int:
    """The moment to store. Two changes within one millisecond get one after the other."""
    moment = now_ms() if effective_at is None else effective_at
    while Price.select().where((Price.model == model_id) & (Price.effective_at == moment)).exists():
        if effective_at is not None:
            raise InvalidInput(f"The model {model_id!r} has a price from that very moment on; choose another moment.")
        moment += 1
    return moment

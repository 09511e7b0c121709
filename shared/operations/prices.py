"""Prices: rows with an effective date. Rows are never changed; a newer row replaces an older one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from shared.billing.price_rows import further_rates
from shared.billing.rates import BASE_KINDS, TIER_PREFIX, PriceList, Rate
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import RATE_KINDS, AIModel, Price, PriceDraft, PriceRate
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.validation import check_integer
from shared.text.translation import lazy_gettext

MAX_PRICE = 10**12
MAX_RATES = 100  # of a price
MAX_ABOVE_TOKENS = 10**9
MAX_PERMILLE = 100_000  # a hundred times the token rates
_TIER = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RATE = re.compile(r"(?P<kind>[a-z0-9_:-]+)(?:@(?P<above>[0-9]+))?\s*=\s*(?P<credits>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in whole credits: per 1,000 tokens, per call, minimum of a call, per 5 seconds of video, per 1,000 characters.

    None for `cached_input` or `cache_write` (tokens read from or written to the provider's prompt cache) means the input price.
    None for a media price means that it does not apply. `rates` are all other rates, each kind in ascending order of prompt
    length (`shared.billing.rates.Rate`).
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    per_call: int = 0
    minimum: int = 10
    per_5_seconds: int | None = None
    per_1k_characters: int | None = None
    cache_write: int | None = None
    rates: tuple[Rate, ...] = ()

    @property
    def is_zero(self) -> bool:
        if any(rate.credits for rate in self.rates if not rate.kind.startswith(TIER_PREFIX)):
            return False
        return not (self.input or self.output or self.per_call or self.per_5_seconds or self.per_1k_characters)

    def check(self, free: bool) -> None:
        """Raise `InvalidInput` for a price out of range, or for a model without a price that is not free."""
        for what in COLUMNS:
            value = getattr(self, what)
            if value is not None:
                check_integer(f"price ({what.replace('_', ' ')})", value, 0, MAX_PRICE)
        self._check_rates()
        if self.is_zero and not free:
            raise InvalidInput(
                lazy_gettext("A model without a price must be marked as free. Set a price above 0, or use --free.")
            )

    def _check_rates(self) -> None:
        """Raise `InvalidInput` for rates that are out of range, duplicated, or lower for longer prompts."""
        if len(self.rates) > MAX_RATES:
            raise InvalidInput(lazy_gettext("A price has at most {maximum} further rates.", maximum=MAX_RATES))
        latest: dict[str, Rate] = {}
        for rate in self.rates:
            check_rate(rate)
            base = getattr(self, rate.kind) if rate.kind in BASE_KINDS else None
            if rate.kind in BASE_KINDS and (base is None or not rate.above_tokens):
                raise InvalidInput(
                    lazy_gettext("The price {kind!r} must be set; its further rates are for longer prompts only.", kind=rate.kind)
                )
            former = latest.get(rate.kind)
            if former is None and base is None and rate.above_tokens:
                raise InvalidInput(
                    lazy_gettext("The rate {kind!r} needs a value for all prompts, without a length.", kind=rate.kind)
                )
            if former is not None and former.above_tokens >= rate.above_tokens:
                raise InvalidInput(
                    lazy_gettext(
                        "The rates of {kind!r} must be in ascending order of prompt length, each length once.", kind=rate.kind
                    )
                )
            if rate.credits < (former.credits if former is not None else base or 0):
                raise InvalidInput(lazy_gettext("The rate {kind!r} must not be lower for longer prompts.", kind=rate.kind))
            latest[rate.kind] = rate


def check_rate(rate: Rate, kinds: Collection[str] = RATE_KINDS) -> None:
    """Raise `InvalidInput` unless a rate is of one of `kinds` or a service tier, and its numbers are within the limits."""
    tier = rate.kind.removeprefix(TIER_PREFIX) if rate.kind.startswith(TIER_PREFIX) else None
    if rate.kind not in kinds and (tier is None or not _TIER.fullmatch(tier)):
        raise InvalidInput(
            lazy_gettext("Unknown rate {kind!r}. Choose one of {kinds}, or tier:NAME.", kind=rate.kind, kinds=", ".join(kinds))
        )
    check_integer(f"rate ({rate.kind})", rate.credits, 0, MAX_PERMILLE if tier else MAX_PRICE)
    check_integer(f"prompt length of the rate ({rate.kind})", rate.above_tokens, 0, 0 if tier else MAX_ABOVE_TOKENS)


def parse_rates(lines: Iterable[str]) -> tuple[Rate, ...]:
    """Parse and sort rates such as `web_search=10000`, `input@200000=2500` (above 200,000 input tokens) and `tier:flex=500`."""
    found = []
    for line in lines:
        match = _RATE.fullmatch(line.strip())
        if match is None:
            raise InvalidInput(
                lazy_gettext(
                    "A rate must look like web_search=10000, input@200000=2500 or tier:flex=500, not {text!r}.", text=line[:80]
                )
            )
        found.append(Rate(match["kind"], int(match["above"] or 0), int(match["credits"])))
    return tuple(sorted(found))


def format_rate(rate: Rate) -> str:
    """Return a rate in the format of `parse_rates`."""
    above = f"@{rate.above_tokens}" if rate.above_tokens else ""
    return f"{rate.kind}{above}={rate.credits}"


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


def rates_of(row: Price | PriceDraft | PriceList) -> Rates:
    """Return the rates of a price or draft."""
    return Rates(**{name: getattr(row, column) for name, column in COLUMNS.items()}, rates=further_rates(row))


def rate_columns(rates: Rates) -> dict[str, int | None]:
    """Return the values of the columns that a price and a draft share."""
    return {column: getattr(rates, name) for name, column in COLUMNS.items()}


def set_price(model_id: str, rates: Rates, effective_at: int | None = None, *, origin: Origin) -> Price:
    """Set a model's price, from now on or from a later time (`effective_at`, ms UTC). Running calls keep their price.

    Raises `InvalidInput` for a past time, so that past charges stay explainable.
    """
    if effective_at is not None and effective_at < now_ms():
        raise InvalidInput(lazy_gettext("A price cannot take effect in the past. Omit the time to set it now."))
    with transaction():
        model = AIModel.get_or_none(AIModel.id == model_id)
        if model is None:
            raise NotFound(
                lazy_gettext("No model {model_id!r} in the catalog. Create it with `yout model create`.", model_id=model_id)
            )
        rates.check(model.is_free)
        moment = _free_moment(model_id, effective_at)
        price = insert_price(model_id, rates, moment)
        record_audit_entry(origin, "price.set", model_id, after={**asdict(rates), "effective_at": moment})
        bump_catalog_version()
        return price


def insert_price(model_id: str, rates: Rates, effective_at: int) -> Price:
    """Insert a row for validated rates. For functions of this package, inside their transaction."""
    price = Price.create(model=model_id, effective_at=effective_at, **rate_columns(rates))
    for rate in rates.rates:
        PriceRate.create(price=price, **rate._asdict())
    return price


def _free_moment(model_id: str, effective_at: int | None) -> int:
    """Return the effective date to store. Of two changes within one millisecond, the second gets the next millisecond."""
    moment = now_ms() if effective_at is None else effective_at
    while Price.select().where((Price.model == model_id) & (Price.effective_at == moment)).exists():
        if effective_at is not None:
            raise InvalidInput(
                lazy_gettext(
                    "The model {model_id!r} already has a price that takes effect at this time. Choose another time.",
                    model_id=model_id,
                )
            )
        moment += 1
    return moment

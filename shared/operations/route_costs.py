"""Cost prices of a route: what its provider charges us. They are used for costs and margins, never for charges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from shared.billing.provider_cost import COST_COLUMNS
from shared.billing.rates import BASE_KINDS, Rate
from shared.core.errors import InvalidInput
from shared.models import RATE_KINDS
from shared.operations.prices import MAX_PRICE, MAX_RATES, Rates, check_rate, format_rate, parse_rates
from shared.operations.validation import check_integer
from shared.text.translation import lazy_gettext

_KINDS = (*COST_COLUMNS, *(kind for kind in RATE_KINDS if kind not in COST_COLUMNS))


class RouteCosts(NamedTuple):
    """Credits per 1,000 input and output tokens (None: unknown), and further costs, sorted.

    The kinds of `further` are those of a price's rates and `shared.billing.provider_cost.COST_COLUMNS`.
    """

    input: int | None = None
    output: int | None = None
    further: tuple[Rate, ...] = ()

    def columns(self) -> dict[str, Any]:
        """Return the columns of `ChannelModel`. Raises `InvalidInput`."""
        _check_further(self.further)
        return {
            "cost_per_1k_input": None if self.input is None else check_integer("cost of input", self.input, 0, MAX_PRICE),
            "cost_per_1k_output": None if self.output is None else check_integer("cost of output", self.output, 0, MAX_PRICE),
            "further_costs": [list(rate) for rate in self.further],
        }


def costs_of(rates: Rates) -> RouteCosts:
    """Return the costs of a list price in credits."""
    columns = [(kind, getattr(rates, kind)) for kind in COST_COLUMNS]
    further = [Rate(kind, 0, value) for kind, value in columns if value or (value == 0 and kind in BASE_KINDS)]
    return RouteCosts(rates.input, rates.output, tuple(sorted([*further, *rates.rates])))


def parse_costs(text: str) -> tuple[Rate, ...]:
    """Parse further costs, one a line, such as `cached_input=15` or `input@200000=300`. Raises `InvalidInput`."""
    further = parse_rates(line for line in text.splitlines() if line.strip())
    _check_further(further)
    return further


def format_costs(further: Iterable[Sequence[Any]]) -> str:
    """Return further costs in the format of `parse_costs`."""
    return "\n".join(format_rate(Rate(*rate)) for rate in further)


def _check_further(further: Sequence[Rate]) -> None:
    if len(further) > MAX_RATES:
        raise InvalidInput(lazy_gettext("A route has at most {maximum} further costs.", maximum=MAX_RATES))
    if len({rate[:2] for rate in further}) < len(further):
        raise InvalidInput(lazy_gettext("Each further cost can be given only once for each prompt length."))
    for rate in further:
        check_rate(rate, _KINDS)
        if rate.kind in ("input", "output") and not rate.above_tokens:
            raise InvalidInput(
                lazy_gettext(
                    "The cost of {kind} has its own field; further costs of {kind} need a prompt length.", kind=rate.kind
                )
            )
        if rate.kind.startswith("per_") and rate.above_tokens:
            raise InvalidInput(lazy_gettext("The cost '{kind}' does not depend on the prompt length.", kind=rate.kind))

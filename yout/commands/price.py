"""`yout price`: prices of models. They are never changed; a newer price replaces the one in force."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group
from yout.result import Result

if TYPE_CHECKING:  # commands import what they need only when they run
    from shared.models import Price

_RATES = {
    "input": "credits per 1,000 input tokens",
    "output": "credits per 1,000 output tokens",
    "cached_input": "credits per 1,000 cached input tokens",
    "cache_write": "credits per 1,000 cache write tokens",
    "per_call": "credits per call",
    "per_5_seconds": "credits per 5 seconds of video",
    "per_1k_characters": "credits per 1,000 characters of speech",
    "minimum": "minimum charge per call, in credits",
}
RATE_HELP = "a further rate, such as audio_input=1000, input@200000=2500, web_search=10000 or tier:flex=500 (repeatable)"


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "price", "manage prices")
    change = add_command(verbs, "set", "set a model's price; rates that are not given stay as they are", _set)
    change.add_argument("id", metavar="MODEL")
    for name, help in _RATES.items():
        change.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=help)
    change.add_argument("--rate", action="append", default=[], metavar="KIND=N", help=RATE_HELP)
    change.add_argument(
        "--no-rate", action="append", default=[], metavar="KIND", help="remove a further rate, such as input@200000 (repeatable)"
    )
    change.add_argument(
        "--from", dest="effective", type=_moment, metavar="TIME", help="when it takes effect, in UTC (default now)"
    )
    show = add_command(verbs, "show", "show a model's price in force", _show)
    show.add_argument("id", metavar="MODEL")


def _set(call: CommandContext) -> Result:
    from shared.operations.prices import Rates, format_rate, parse_rates, rates_of, set_price
    from shared.operations.prices_in_force import current_price

    arguments = call.arguments
    current = current_price(arguments.id)
    rates = rates_of(current) if current is not None else Rates()
    given = {name: getattr(arguments, name) for name in _RATES if getattr(arguments, name) is not None}
    kept = {rate[:2]: rate for rate in rates.rates}
    names = {format_rate(rate).partition("=")[0]: key for key, rate in kept.items()}
    for name in arguments.no_rate:
        if name not in names:
            raise UsageError(f"the price of {arguments.id!r} has no rate {name!r}")
        del kept[names[name]]
    kept |= {rate[:2]: rate for rate in parse_rates(arguments.rate)}
    price = set_price(
        arguments.id,
        replace(rates, **given, rates=tuple(sorted(kept.values()))),
        arguments.effective,
        origin=call.origin,
    )
    return Result(_document(price, call.arguments.id), f"The price of {arguments.id} is set.")


def _show(call: CommandContext) -> Result:
    from shared.core.errors import NotFound
    from shared.operations.prices_in_force import current_price

    price = current_price(call.arguments.id)
    if price is None:
        raise NotFound(f"The model {call.arguments.id!r} has no price.")
    document = _document(price, call.arguments.id)
    return Result(document, "\n".join(f"{name}: {value}" for name, value in document.items() if value not in (None, [])))


def _document(price: Price, model: str) -> dict[str, Any]:
    from shared.core.timestamps import format_timestamp
    from shared.operations.prices import format_rate, rates_of

    rates = rates_of(price)
    listed = {**asdict(rates), "rates": [format_rate(rate) for rate in rates.rates]}
    return {"id": str(price.id), "model": model, "effective_at": format_timestamp(price.effective_at), **listed}


def _moment(text: str) -> int:
    """Parse an ISO 8601 time (UTC unless it says otherwise) to milliseconds."""
    try:
        parsed = datetime.fromisoformat(text)
        moment = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"a UTC time such as 2027-01-31T09:30 is required, not {text!r}") from None
    return int(moment * 1000)

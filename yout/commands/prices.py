"""`yout prices`: prices of models. Prices are never edited: a new price replaces the one in force."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group
from yout.result import Result

if TYPE_CHECKING:  # commands import what they need only when they run
    from shared.models import Price
    from shared.operations.price_sync import SyncedPrice
    from shared.operations.prices import Rates

RATES = {
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
    verbs = add_command_group(commands, "prices", "manage prices")
    change = add_command(verbs, "set", "set a model's price; rates that are not given are kept", _set)
    change.add_argument("id", metavar="MODEL")
    for name, help in RATES.items():
        change.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=help)
    change.add_argument("--rate", action="append", default=[], metavar="KIND=N", help=RATE_HELP)
    change.add_argument(
        "--no-rate", action="append", default=[], metavar="KIND", help="remove a further rate, such as input@200000 (repeatable)"
    )
    change.add_argument(
        "--from", dest="effective", type=_time_ms, metavar="TIME", help="when it takes effect, in UTC (default now)"
    )
    show = add_command(verbs, "show", "show a model's price in force", _show)
    show.add_argument("id", metavar="MODEL")
    add_command(verbs, "check", "compare prices with the providers' list prices, as the worker does every night", _check)
    sync = add_command(verbs, "sync", "draft prices from the providers' list prices", _sync)
    sync.add_argument("--publish", action="store_true", help="publish the drafts, effective now")
    sync.add_argument(
        "--markup", type=int, default=0, metavar="PERCENT", help="markup on list prices, rounded up to whole credits (default 0)"
    )
    sync.add_argument("--channel", metavar="NAME", help="only models that this channel serves")
    sync.add_argument("--model", action="append", default=[], metavar="ID", help="only this model (repeatable)")


def _set(call: CommandContext) -> Result:
    from shared.operations.prices import Rates, format_rate, parse_rates, rates_of, set_price
    from shared.operations.prices_in_force import current_price

    arguments = call.arguments
    current = current_price(arguments.id)
    rates = rates_of(current) if current is not None else Rates()
    given = {name: getattr(arguments, name) for name in RATES if getattr(arguments, name) is not None}
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


def _check(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.price_check import check_prices

    found = check_prices(now_ms(), call.settings.credits_per_usd, origin=call.origin)
    lines = [
        f"{one['model']}: below the list price of {', '.join(one['sources'])} ({', '.join(one['rates'])})" for one in found.below
    ]
    lines += [f"{id}: no list price." for id in found.unknown]
    data = {"id": "prices", "below": found.below, "unknown": found.unknown}
    return Result(data, "\n".join(lines) or "No price is below the list price.")


def _sync(call: CommandContext) -> Result:
    from shared.operations.price_sync import compare_prices, sync_prices

    arguments = call.arguments
    compared = compare_prices(
        call.settings.credits_per_usd,
        markup_percent=arguments.markup,
        channel=arguments.channel,
        models=arguments.model,
    )
    synced = sync_prices(compared.known, publish=arguments.publish, origin=call.origin)
    lines = [_synced_line(price) for price in synced] + [f"{id}: no list price. {reason}" for id, reason in compared.unknown]
    data = {
        "id": "prices",
        "markup_percent": arguments.markup,
        "models": [_synced_document(price) for price in synced],
        "unknown": [{"model": id, "reason": reason} for id, reason in compared.unknown],
    }
    return Result(data, "\n".join(lines) or "No models to compare.")


def _synced_document(price: SyncedPrice) -> dict[str, Any]:
    compared = price.comparison
    return {
        "model": compared.model,
        "status": price.status,
        "reason": price.reason or None,
        "sources": list(compared.sources),
        "list_price": {"input": compared.cost.input, "output": compared.cost.output},
        "current": None if compared.live is None else _rates_document(compared.live),
        "current_margin_percent": compared.live_margin._asdict(),
        "price": _rates_document(compared.proposed),
        "margin_percent": compared.proposed_margin._asdict(),
        "list_price_changes": None if compared.changes is None else compared.changes.isoformat(),
    }


def _synced_line(price: SyncedPrice) -> str:
    compared = price.comparison
    if price.status == "refused":
        return f"{compared.model}: refused. {price.reason}"
    before, after, parts = compared.live, compared.proposed, []
    for name in ("input", "output"):
        current, new = getattr(before, name, None), getattr(after, name)
        change = f"{new}" if current == new else f"{'none' if current is None else current} → {new}"
        margin = getattr(compared.proposed_margin, name)
        parts.append(f"{name} {change}" + ("" if margin is None else f" (margin {margin} %)"))
    if before is not None and price.status != "unchanged" and before.input == after.input and before.output == after.output:
        parts.append("other rates differ")
    if compared.changes is not None:
        parts.append(f"list price changes on {compared.changes}")
    return f"{compared.model}: {price.status}. {', '.join(parts)}"


def _rates_document(rates: Rates) -> dict[str, Any]:
    from shared.operations.prices import format_rate

    return {**asdict(rates), "rates": [format_rate(rate) for rate in rates.rates]}


def _document(price: Price, model: str) -> dict[str, Any]:
    from shared.core.timestamps import format_timestamp
    from shared.operations.prices import rates_of

    listed = _rates_document(rates_of(price))
    return {"id": str(price.id), "model": model, "effective_at": format_timestamp(price.effective_at), **listed}


def _time_ms(text: str) -> int:
    """Parse an ISO 8601 time to milliseconds. The default time zone is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
        moment = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"a UTC time such as 2027-01-31T09:30 is required, not {text!r}") from None
    return int(moment * 1000)

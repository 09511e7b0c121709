"""Commands on the catalog of another installation: plans, channels, models and prices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shared.core.errors import InvalidInput, NotFound
from yout.arguments import CommandContext, UsageError, read_secret_option
from yout.commands.alias import deprecation_options
from yout.commands.channel import parse_settings
from yout.commands.plan import plan_terms
from yout.remote.api_client import ApiClient, Document, segment
from yout.result import Result


def create_plan(call: CommandContext, api: ApiClient) -> Result:
    return _plan(api.send("POST", "/plans/", {"name": call.arguments.name, **plan_terms(call.arguments)}))


def change_plan(call: CommandContext, api: ApiClient) -> Result:
    changes = plan_terms(call.arguments)
    if call.arguments.offer is not None:
        changes["status"] = "active" if call.arguments.offer else "disabled"
    return _plan(api.send("PATCH", f"/plans/{segment(call.arguments.name)}/", changes))


def list_plans(_: CommandContext, api: ApiClient) -> Result:
    plans = [_plan(plan) for plan in api.items("/plans/", "plans")]
    return Result({"id": "plans", "plans": [plan.data for plan in plans]}, "\n".join(plan.text for plan in plans) or "No plans.")


def _plan(plan: Document) -> Result:
    closed = "" if plan["status"] == "active" else ", closed to new subscribers"
    return Result(plan, f"Plan {plan['name']} ({plan['id']}): {plan['monthly_credits']} credits per month{closed}.")


def create_channel(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    body = {"name": arguments.name, **_provider(call), "secret": read_secret_option(arguments.secret)}
    channel = api.send("POST", "/channels/", body)
    return Result(channel, f"Created channel {channel['name']} ({channel['id']}) for {channel['base_url']}.")


def _provider(call: CommandContext) -> Document:
    """Return the dialect, base URL and settings that the options or the template name."""
    from shared.catalog.templates import TEMPLATES

    arguments = call.arguments
    given, settings = {"dialect": arguments.dialect, "base_url": arguments.base_url}, parse_settings(arguments.setting)
    if arguments.template is not None:
        if arguments.dialect is not None:
            raise UsageError("--dialect cannot be combined with --template")
        template = TEMPLATES.get(arguments.template)
        if template is None:
            raise NotFound(f"No template {arguments.template!r}. Choose one of {', '.join(TEMPLATES)}.")
        if template.needs_base_url and arguments.base_url is None:
            raise InvalidInput(f"{template.name} needs your own base URL, such as {template.base_url}.")
        given = {"dialect": template.dialect, "base_url": arguments.base_url or template.base_url}
        settings = {**template.channel_settings, **settings}
    missing = next((name for name, value in given.items() if value is None), None)
    if missing is not None:
        raise UsageError(f"the following arguments are required: --{missing.replace('_', '-')} (or a --template)")
    return {**given, "settings": settings}


def create_model(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    if arguments.from_template:
        raise UsageError("--from-template works only on the installation itself; pass the prices and limits")
    details = {
        "kind": arguments.kind,
        "description": arguments.description,
        "context_window": arguments.context_window,
        "max_output_tokens": arguments.max_output,
        "capabilities": arguments.capability,
        "modality": arguments.modality,
        "free": arguments.free,
        "full_hold": arguments.full_hold,
        "upstream_model": arguments.upstream_model,
    }
    price = {**_given_rates(vars(arguments)), "rates": _parsed(arguments.rate)}
    model = api.send("POST", "/models/", {"id": arguments.id, "channel": arguments.channel, "price": price, **details})
    return Result(model, f"Created model {model['id']} on channel {arguments.channel}.")


def publish_model(call: CommandContext, api: ApiClient) -> Result:
    model = api.send("PATCH", f"/models/{segment(call.arguments.id)}/", {"status": "active"})
    return Result(model, f"Model {model['id']} is enabled.")


def deprecate_model(call: CommandContext, api: ApiClient) -> Result:
    from shared.core.timestamps import format_timestamp

    changes = {
        name: format_timestamp(value) if name.endswith("_at") else value
        for name, value in deprecation_options(vars(call.arguments)).items()
    }
    if not changes:
        raise InvalidInput("Nothing to change. Pass at least one option, such as --successor or --shutdown.")
    model = api.send("PATCH", f"/models/{segment(call.arguments.id)}/", changes)
    dates = f"deprecated from {model['deprecated_at']}, shut down from {model['shutdown_at']}, successor {model['successor']}"
    return Result(model, f"Model {model['id']}: {dates}.")


def set_price(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    current = _in_force(api, arguments.id) or {"rates": []}
    price: Document = {name: current[name] for name in _COLUMNS.values() if name in current} | _given_rates(vars(arguments))
    kept = {_rate_name(rate): rate for rate in current["rates"]}
    for name in arguments.no_rate:
        if kept.pop(name, None) is None:
            raise UsageError(f"the price of {arguments.id!r} has no rate {name!r}")
    kept |= {_rate_name(rate): rate for rate in _parsed(arguments.rate)}
    body: Document = {"model": arguments.id, **price, "rates": list(kept.values())}
    if arguments.effective is not None:
        body["effective_at"] = datetime.fromtimestamp(arguments.effective / 1000, UTC).isoformat()
    return Result(api.send("POST", "/prices/", body), f"The price of {arguments.id} is set.")


def show_price(call: CommandContext, api: ApiClient) -> Result:
    price = _in_force(api, call.arguments.id)
    if price is None:
        raise NotFound(f"The model {call.arguments.id!r} has no price.")
    return Result(price, "\n".join(f"{name}: {value}" for name, value in price.items() if value not in (None, [])))


# Fields of a price in the API by option.
_COLUMNS = {
    "input": "credits_per_1k_input",
    "output": "credits_per_1k_output",
    "cached_input": "credits_per_1k_cached_input",
    "cache_write": "credits_per_1k_cache_write",
    "per_call": "credits_per_call",
    "minimum": "minimum_credits",
    "per_5_seconds": "credits_per_5_seconds",
    "per_1k_characters": "credits_per_1k_characters",
}


def _given_rates(options: dict[str, Any]) -> Document:
    return {field: options[name] for name, field in _COLUMNS.items() if options[name] is not None}


def _parsed(lines: list[str]) -> list[Document]:
    from shared.operations.prices import parse_rates

    return [rate._asdict() for rate in parse_rates(lines)]


def _rate_name(rate: Document) -> str:
    return f"{rate['kind']}@{rate['above_tokens']}" if rate["above_tokens"] else str(rate["kind"])


def _in_force(api: ApiClient, model: str) -> Document | None:
    """Return the model's price in force, or None. Raises `NotFound` for an unknown model."""
    api.get(f"/models/{segment(model)}/")
    now = datetime.now(UTC)
    passed = [price for price in api.items("/prices/", "prices", model=model) if _time(price["effective_at"]) <= now]
    return max(passed, key=lambda price: _time(price["effective_at"]), default=None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)

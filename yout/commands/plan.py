"""`yout plan`: subscription plans."""

from __future__ import annotations

import argparse
from typing import Any

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result

_NUMBERS = {
    "monthly_credits": "credits granted per period",
    "rollover_cap": "maximum plan credits at the start of a period (default twice the monthly credits)",
    "price_cents": "price per month in cents (the smallest unit of the currency)",
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "concurrency": "concurrent requests",
    "media_days": "media retention in days (default: the platform's)",
    "usage_days": "retention of calls in days, at least 30 (default: the platform's)",
    "owner_overage_cap": "highest overage cap that customers can set themselves (default: only staff set it)",
}
_SWITCHES = {"overage": "overage_allowed", "store": "stores_content", "self_service": "self_service"}


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "plan", "manage plans")
    create = add_command(verbs, "create", "create a plan", _create)
    create.add_argument("name", metavar="NAME")
    _add_terms(create)
    change = add_command(verbs, "change", "change a plan; options that are not given stay unchanged", _change)
    change.add_argument("name", metavar="NAME")
    _add_terms(change)
    change.add_argument("--offer", action=argparse.BooleanOptionalAction, help="whether new accounts can subscribe")
    add_command(verbs, "list", "list all plans", _list)


def _add_terms(command: Parser) -> None:
    for name, help in _NUMBERS.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=help)
    command.add_argument("--allow-model", action="append", metavar="ID", help="included model (repeatable; default all)")
    command.add_argument(
        "--overage",
        action=argparse.BooleanOptionalAction,
        help="whether subscribers can enable overage",
    )
    command.add_argument(
        "--self-service",
        action=argparse.BooleanOptionalAction,
        help="whether customers can buy the plan through Stripe; it needs a price and monthly credits",
    )
    command.add_argument("--store", action=argparse.BooleanOptionalAction, help="whether subscribers can store conversations")


def plan_terms(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the terms given on the command line."""
    given = {name: getattr(arguments, name) for name in _NUMBERS}
    given |= {term: getattr(arguments, option) for option, term in _SWITCHES.items()}
    given["allowed_models"] = arguments.allow_model
    return {name: value for name, value in given.items() if value is not None}


def _create(call: CommandContext) -> Result:
    from shared.operations.plans import create_plan

    return _result(create_plan(call.arguments.name, plan_terms(call.arguments), origin=call.origin))


def _change(call: CommandContext) -> Result:
    from shared.operations.plans import set_plan_status, update_plan

    arguments = call.arguments
    row = update_plan(arguments.name, plan_terms(arguments), origin=call.origin)
    if arguments.offer is not None:
        row = set_plan_status(row.id, "active" if arguments.offer else "disabled", origin=call.origin)
    return _result(row)


def _list(_call: CommandContext) -> Result:
    from shared.models import Plan

    plans = [_result(row) for row in Plan.select().order_by(Plan.name)]
    text = "\n".join(plan.text for plan in plans) or "No plans. Create one with: yout plan create NAME"
    return Result({"id": "plans", "plans": [plan.data for plan in plans]}, text)


def _result(row: Any) -> Result:
    from shared.operations.plans import DEFAULT_TERMS

    data = {"id": str(row.id), "name": row.name, "status": row.status, **{term: getattr(row, term) for term in DEFAULT_TERMS}}
    offered = "" if row.status == "active" else ", closed to new subscribers"
    overage = ", overage allowed" if row.overage_allowed else ""
    return Result(data, f"Plan {row.name} ({row.id}): {row.monthly_credits} credits per month{overage}{offered}.")

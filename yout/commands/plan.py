"""`yout plan`: what accounts can subscribe to."""

from __future__ import annotations

import argparse
from typing import Any

from yout.arguments import Commands, Invocation, Parser, add_command, add_noun
from yout.result import Result

_NUMBERS = {
    "monthly_credits": "credits that each period grants",
    "rollover_cap": "most plan credits at the start of a period (default twice the monthly credits)",
    "price_cents": "price a month, in cents, for display",
    "rpm": "requests a minute",
    "tpm": "tokens a minute",
    "concurrency": "calls at once",
    "media_days": "days that media are kept (default: the platform's)",
}
_SWITCHES = {"overage": "overage_allowed", "store": "stores_content"}


def register(commands: Commands[Parser]) -> None:
    verbs = add_noun(commands, "plan", "make and change plans")
    create = add_command(verbs, "create", "make a plan", _create)
    create.add_argument("name", metavar="NAME")
    _add_terms(create)
    change = add_command(verbs, "change", "change what a plan promises; what is not named stays", _change)
    change.add_argument("name", metavar="NAME")
    _add_terms(change)
    change.add_argument("--offer", action=argparse.BooleanOptionalAction, help="whether anybody new can get it")
    add_command(verbs, "list", "show all plans", _list)


def _add_terms(command: Parser) -> None:
    for name, help in _NUMBERS.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=help)
    command.add_argument("--allow-model", action="append", metavar="ID", help="a model it includes (repeatable; default all)")
    command.add_argument(
        "--overage",
        action=argparse.BooleanOptionalAction,
        help="whether subscribers may go on when their credits are used up",
    )
    command.add_argument("--store", action=argparse.BooleanOptionalAction, help="whether it may keep conversations")


def _terms(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line names."""
    named = {name: getattr(arguments, name) for name in _NUMBERS}
    named |= {term: getattr(arguments, option) for option, term in _SWITCHES.items()}
    named["allowed_models"] = arguments.allow_model
    return {name: value for name, value in named.items() if value is not None}


def _create(call: Invocation) -> Result:
    from shared.operations.plans import create_plan

    return _shown(create_plan(call.arguments.name, _terms(call.arguments), actor=call.actor))


def _change(call: Invocation) -> Result:
    from shared.operations.plans import change_plan, set_plan_status

    arguments = call.arguments
    row = change_plan(arguments.name, _terms(arguments), actor=call.actor)
    if arguments.offer is not None:
        row = set_plan_status(row.id, "active" if arguments.offer else "disabled", actor=call.actor)
    return _shown(row)


def _list(_call: Invocation) -> Result:
    from shared.models import Plan

    plans = [_shown(row) for row in Plan.select().order_by(Plan.name)]
    text = "\n".join(plan.text for plan in plans) or "No plans yet; `yout plan create NAME` makes one."
    return Result({"id": "plans", "plans": [plan.data for plan in plans]}, text)


def _shown(row: Any) -> Result:
    from shared.operations.plans import TERMS

    data = {"id": str(row.id), "name": row.name, "status": row.status, **{term: getattr(row, term) for term in TERMS}}
    offered = "" if row.status == "active" else ", not offered any more"
    overage = ", overage allowed" if row.overage_allowed else ""
    return Result(data, f"Plan {row.name} ({row.id}): {row.monthly_credits} credits a month{overage}{offered}.")

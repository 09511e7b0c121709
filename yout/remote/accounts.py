"""Commands on the accounts of another installation: plans, members, keys and credits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.core.errors import InvalidInput
from yout.arguments import CommandContext, UsageError
from yout.remote.api_client import ApiClient, Document, segment
from yout.result import Result

_LIMITS = ("rpm", "tpm", "concurrency", "monthly_credit_limit", "daily_credit_limit")


def create_account(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    if arguments.invite:
        raise InvalidInput("--invite works only on the installation itself. Omit it, and create a password link in its console.")
    account = api.send("POST", "/accounts/", {"email": arguments.email, "name": arguments.name})
    if arguments.credits:
        grant = {"amount": arguments.credits, "reason": "initial credits"}
        account["balance"] = api.send("POST", f"/accounts/{account['id']}/entries/", grant)["balance_after"]
    return Result(account, f"Created account {account['email']} ({account['id']}) with {account['balance']} credits.")


def change_email(call: CommandContext, api: ApiClient) -> Result:
    account = api.send("PATCH", _account(call), {"email": call.arguments.new_email})
    return Result(account, f"Account {account['id']} now has the email {account['email']}.")


def subscribe(call: CommandContext, api: ApiClient) -> Result:
    return _set_plan(call, api, plan=call.arguments.plan)


def change_plan(call: CommandContext, api: ApiClient) -> Result:
    return _set_plan(call, api, plan=call.arguments.plan, when="now" if call.arguments.now else "next_period")


def cancel_plan(call: CommandContext, api: ApiClient) -> Result:
    when = "now" if call.arguments.now else "next_period"
    return _subscription(call, api.send("DELETE", f"{_account(call)}subscription/?when={when}"))


def keep_plan(call: CommandContext, api: ApiClient) -> Result:
    return _set_plan(call, api)


def suspend_plan(call: CommandContext, api: ApiClient) -> Result:
    return _set_plan(call, api, suspended=True)


def resume_plan(call: CommandContext, api: ApiClient) -> Result:
    return _set_plan(call, api, suspended=False)


def set_overage(call: CommandContext, api: ApiClient) -> Result:
    return _set_plan(call, api, overage_cap=call.arguments.cap)


def _set_plan(call: CommandContext, api: ApiClient, **terms: Any) -> Result:
    """Set the plan of an account: the one of `terms`, otherwise its own."""
    path = f"{_account(call)}subscription/"
    if "plan" not in terms:
        terms["plan"] = api.get(path)["plan"]["id"]
    return _subscription(call, api.send("PUT", path, terms))


def _subscription(call: CommandContext, found: Document) -> Result:
    state = "suspended" if found["suspended"] else "cancelled" if found["cancelled_at"] else "active"
    text = f"{call.arguments.email} has the plan {found['plan']['name']} ({state}), overage up to {found['overage_cap']} credits."
    return Result(found, text)


def add_member(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    limits = {"monthly_credit_limit": arguments.monthly, "daily_credit_limit": arguments.daily}
    body = {"email": arguments.email, "role": arguments.role, **limits}
    member = api.send("POST", f"/accounts/{segment(arguments.account)}/members/", body)
    return Result(member, f"{member['email']} added as {member['role']}.")


def update_member(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    given = {"monthly_credit_limit": arguments.monthly, "daily_credit_limit": arguments.daily}
    changes: Document = {name: value or None for name, value in given.items() if value is not None}
    if arguments.role is not None:
        changes["role"] = arguments.role
    member = api.send("PATCH", _member(call), changes)
    return Result(member, f"{member['email']} updated. Changes take effect with the next call.")


def suspend_member(call: CommandContext, api: ApiClient) -> Result:
    member = api.send("PATCH", _member(call), {"status": "suspended"})
    return Result(member, f"{member['email']} suspended.")


def resume_member(call: CommandContext, api: ApiClient) -> Result:
    member = api.send("PATCH", _member(call), {"status": "active"})
    return Result(member, f"{member['email']} reinstated.")


def remove_member(call: CommandContext, api: ApiClient) -> Result:
    return Result(api.send("DELETE", _member(call)), f"{call.arguments.email} is removed, and their keys are revoked.")


def transfer_account(call: CommandContext, api: ApiClient) -> Result:
    return Result(api.send("POST", f"{_member(call)}transfer/"), f"{call.arguments.email} owns the account now.")


def list_members(call: CommandContext, api: ApiClient) -> Result:
    account = call.arguments.account
    members = list(api.items(f"/accounts/{segment(account)}/members/", "members"))
    lines = [f"{member['id']}  {member['role']:9}  {member['email']}" for member in members]
    return Result({"id": account, "members": members}, "\n".join(lines) or "No members.")


def create_key(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    given = {name: getattr(arguments, name) for name in _LIMITS}
    given |= {"allowed_models": arguments.allow_model, "allowed_ips": arguments.allow_ip, "member": arguments.member}
    body: Document = {"name": arguments.name, **{name: value for name, value in given.items() if value is not None}}
    if arguments.days is not None:
        body["expires_at"] = _in_days(arguments.days)
    if arguments.manage:
        body["can_manage"] = True
    key = api.send("POST", f"{_account(call)}keys/", body)
    text = f"Created key {key['id']} ({key['name']}). Store the secret now; it will not be shown again."
    return Result(key, f"{key['secret']}\n{text}")


def update_key(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    changes: Document = {name: getattr(arguments, name) or None for name in _LIMITS if getattr(arguments, name) is not None}
    for option, field in (("allow_model", "allowed_models"), ("allow_ip", "allowed_ips")):
        if (given := getattr(arguments, option)) is not None:
            changes[field] = None if given == ["all"] else given
    if arguments.days is not None:
        changes["expires_at"] = _in_days(arguments.days) if arguments.days else None
    if arguments.name is not None:
        changes["name"] = arguments.name
    if arguments.manage is not None:
        changes["can_manage"] = arguments.manage == "yes"
    if not changes:
        raise InvalidInput("Nothing to change. Pass at least one option, such as --name or --rpm.")
    key = api.send("PATCH", _key(call), changes)
    return Result(key, f"Key {key['prefix']} ({key['id']}) updated: {', '.join(changes)}.")


def limit_key(call: CommandContext, api: ApiClient) -> Result:
    key = api.send("PATCH", _key(call), {"monthly_credit_limit": call.arguments.credits or None})
    limit = key["limits"].get("monthly_credit_limit")
    return Result(
        key, f"Key {key['prefix']} ({key['id']}) has {f'a limit of {limit} credits per month' if limit else 'no limit'}."
    )


def revoke_key(call: CommandContext, api: ApiClient) -> Result:
    key = api.send("DELETE", _key(call))
    return Result(key, f"Key {key['prefix']} ({key['id']}) was revoked at {key['revoked_at']}.")


def grant_credits(call: CommandContext, api: ApiClient) -> Result:
    arguments = call.arguments
    entry = api.send("POST", f"{_account(call)}entries/", {"amount": arguments.credits, "reason": arguments.reason})
    text = (
        f"{entry['kind'].capitalize()} of {entry['amount']:+d} credits for {arguments.email}. Balance: {entry['balance_after']}"
    )
    return Result({"id": entry["account"], **entry}, f"{text} credits.")


def _account(call: CommandContext) -> str:
    return f"/accounts/{segment(call.arguments.email)}/"


def _member(call: CommandContext) -> str:
    return f"/accounts/{segment(call.arguments.account)}/members/{segment(call.arguments.email)}/"


def _key(call: CommandContext) -> str:
    if call.arguments.account is None:
        raise UsageError("the following arguments are required on another installation: --account")
    return f"/accounts/{segment(call.arguments.account)}/keys/{segment(call.arguments.key)}/"


def _in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()

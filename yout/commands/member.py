"""`yout member`: the members of an account."""

from __future__ import annotations

from typing import Any

from shared.identity.roles import ASSIGNABLE_ROLES
from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result, format_timestamp


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "member", "manage the members of accounts")
    add = add_command(verbs, "add", "add a person to an account, with a password link if they have no password", _add)
    update = add_command(verbs, "update", "change a member's role and limits", _update)
    for command in (add, update):
        _identify(command)
        command.add_argument("--role", choices=ASSIGNABLE_ROLES, required=command is add, help="the member's role")
        note = "" if command is add else "; 0 removes the limit"
        command.add_argument("--monthly", type=int, metavar="N", help=f"maximum credits per calendar month (UTC){note}")
        command.add_argument("--daily", type=int, metavar="N", help=f"maximum credits per day (UTC){note}")
    for verb, help, run in (
        ("suspend", "refuse a member's keys and sessions until they are reinstated", _suspend),
        ("resume", "reinstate a suspended member", _resume),
        ("remove", "remove a member and revoke their keys", _remove),
        ("transfer", "make a member the account's owner", _transfer),
    ):
        _identify(add_command(verbs, verb, help, run))
    listing = add_command(verbs, "list", "list an account's members", _list)
    listing.add_argument("account", metavar="ACCOUNT", help="email or ID of the account")


def _identify(command: Parser) -> None:
    command.add_argument("account", metavar="ACCOUNT", help="email or ID of the account")
    command.add_argument("email", metavar="EMAIL", help="email (or ID) of the member")


def _add(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.identity.account_links import LASTS_MS, PASSWORD, make_token
    from shared.operations.members import MemberTerms, add_member

    arguments = call.arguments
    terms = MemberTerms(arguments.role, arguments.monthly, arguments.daily)
    added = add_member(arguments.account, arguments.email, terms, origin=call.origin)
    data, text = _data(added.member), f"{added.member.person.email} added as {added.member.role}."
    if not added.is_new:
        return Result({**data, "url": None}, text)
    expires_at = now_ms() + LASTS_MS
    token = make_token(call.settings.secret_key, PASSWORD, added.member.person.id, None, expires_at)
    url = f"{call.settings.edge_url}/password/{token}"
    note = f"Anyone with this link can set their password, once, until {format_timestamp(expires_at)}."
    return Result({**data, "url": url}, f"{text} They have no password yet:\n{url}\n{note}")


def _update(call: CommandContext) -> Result:
    from shared.operations.members import MemberTerms, change_member, find_member

    arguments, account = call.arguments, _account(call)
    row = find_member(account, arguments.email)
    given = ((arguments.monthly, row.monthly_credit_limit), (arguments.daily, row.daily_credit_limit))
    limits = [old if new is None else new or None for new, old in given]
    changed = change_member(account, row.id, MemberTerms(arguments.role or row.role, *limits), origin=call.origin)
    return Result(_data(changed), f"{changed.person.email} updated. Changes take effect with the next call.")


def _suspend(call: CommandContext) -> Result:
    from shared.operations.members import set_member_suspended

    row = set_member_suspended(_account(call), call.arguments.email, True, origin=call.origin)
    return Result(_data(row), f"{row.person.email} suspended.")


def _resume(call: CommandContext) -> Result:
    from shared.operations.members import set_member_suspended

    row = set_member_suspended(_account(call), call.arguments.email, False, origin=call.origin)
    return Result(_data(row), f"{row.person.email} reinstated.")


def _remove(call: CommandContext) -> Result:
    from shared.operations.members import remove_member

    row = remove_member(_account(call), call.arguments.email, origin=call.origin)
    return Result(_data(row), f"{row.person.email} is removed, and their keys are revoked.")


def _transfer(call: CommandContext) -> Result:
    from shared.operations.members import transfer_ownership

    row = transfer_ownership(_account(call), call.arguments.email, origin=call.origin)
    return Result(_data(row), f"{row.person.email} owns the account now.")


def _list(call: CommandContext) -> Result:
    from shared.operations.members import list_members

    account = _account(call)
    members = [
        {**_data(row.member), "spent_this_month": row.spent_month, "spent_today": row.spent_day} for row in list_members(account)
    ]
    lines = [f"{member['id']}  {member['role']:9}  {member['email']}" for member in members]
    return Result({"id": str(account), "members": members}, "\n".join(lines) or "No members.")


def _account(call: CommandContext) -> Any:
    """Return the id of the account, whose owner is added if the previous release created it."""
    from shared.core.database import transaction
    from shared.operations.accounts import find_account, require_customer_account
    from shared.operations.people import sync_owner

    with transaction():
        account = find_account(call.arguments.account)
        require_customer_account(account)
        sync_owner(account.id)
        return account.id


def _data(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "account": str(row.account.id),
        "person": str(row.person.id),
        "email": row.person.email,
        "role": row.role,
        "monthly_credit_limit": row.monthly_credit_limit,
        "daily_credit_limit": row.daily_credit_limit,
        "suspended_at": row.suspended_at,
    }

"""`yout key`: API keys."""

from __future__ import annotations

from typing import Any

from shared.core.errors import InvalidInput
from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result, format_timestamp

_NUMBERS = {
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "concurrency": "concurrent requests",
    "monthly_credit_limit": "maximum credits per calendar month (UTC)",
    "daily_credit_limit": "maximum credits per day (UTC)",
}
_DAY_MS = 24 * 3600 * 1000


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "key", "manage API keys")
    create = add_command(verbs, "create", "create a key and print its secret once", _create)
    create.add_argument("email", metavar="EMAIL", help="email or ID of the account")
    create.add_argument("--name", default="default", help="what the key is for")
    create.add_argument("--rpm", type=int, metavar="N", help="requests per minute")
    create.add_argument("--tpm", type=int, metavar="N", help="tokens per minute")
    create.add_argument("--concurrency", type=int, metavar="N", help="concurrent requests")
    create.add_argument("--monthly-credit-limit", type=int, metavar="N", help="maximum credits per calendar month (UTC)")
    create.add_argument("--daily-credit-limit", type=int, metavar="N", help="maximum credits per day (UTC)")
    create.add_argument("--member", metavar="EMAIL", help="email or ID of the member whose key it is (default the owner)")
    create.add_argument("--allow-model", action="append", metavar="ID", help="allowed model (repeatable; default all)")
    create.add_argument("--allow-ip", action="append", metavar="NETWORK", help="allowed network (repeatable; default all)")
    create.add_argument("--days", type=int, metavar="N", help="days until it expires (default never)")
    create.add_argument(
        "--manage", action="store_true", help="allow it to manage keys and purge the account even if it has limits"
    )
    update = add_command(verbs, "update", "change a key's name, limits, models, addresses or expiry", _update)
    update.add_argument("key", metavar="ID")
    update.add_argument("--name", help="what the key is for")
    for name, what in _NUMBERS.items():
        update.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"{what}; 0 removes the limit")
    update.add_argument("--allow-model", action="append", metavar="ID", help="allowed model (repeatable); 'all' for all")
    update.add_argument("--allow-ip", action="append", metavar="NETWORK", help="allowed network (repeatable); 'all' for all")
    update.add_argument("--days", type=int, metavar="N", help="days from now until it expires; 0 for never")
    update.add_argument("--manage", choices=("yes", "no"), help="whether it can manage keys and purge the account")
    limit = add_command(verbs, "limit", "change a key's monthly credit limit", _limit)
    limit.add_argument("key", metavar="ID")
    limit.add_argument("credits", type=int, metavar="CREDITS", help="credits per calendar month (UTC); 0 removes the limit")
    revoke = add_command(verbs, "revoke", "revoke a key permanently", _revoke)
    revoke.add_argument("key", metavar="ID")
    for command in (update, limit, revoke):
        command.add_argument("--account", metavar="EMAIL", help="email or ID of the account; needed with YOUT_ADMIN_URL")


def _create(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.accounts import find_account
    from shared.operations.keys import KeyOptions, create_key
    from shared.operations.members import find_member

    arguments = call.arguments
    options = KeyOptions(
        expires_at=None if arguments.days is None else now_ms() + arguments.days * _DAY_MS,
        rpm=arguments.rpm,
        tpm=arguments.tpm,
        concurrency=arguments.concurrency,
        allowed_models=arguments.allow_model,
        allowed_ips=arguments.allow_ip,
        monthly_credit_limit=arguments.monthly_credit_limit,
        can_manage=True if arguments.manage else None,
        daily_credit_limit=arguments.daily_credit_limit,
    )
    member = find_member(find_account(arguments.email).id, arguments.member).id if arguments.member else None
    created = create_key(arguments.email, arguments.name, options, member=member, origin=call.origin)
    row = created.row
    data = {
        "id": str(row.id),
        "secret": created.secret,
        "prefix": row.prefix,
        "name": row.name,
        "account": str(row.account.id),
        "expires_at": row.expires_at,
        "monthly_credit_limit": row.monthly_credit_limit,
        "daily_credit_limit": row.daily_credit_limit,
        "member": str(row.member or row.account.id),
        "can_manage": row.can_manage,
    }
    return Result(data, f"{created.secret}\nCreated key {row.id} ({row.name}). Store the secret now; it will not be shown again.")


def _update(call: CommandContext) -> Result:
    from shared.operations.key_changes import update_key

    changes = _changes(vars(call.arguments))
    if not changes:
        raise InvalidInput("Nothing to change. Pass at least one option, such as --name or --rpm.")
    row = update_key(call.arguments.key, changes, origin=call.origin)
    data = {"id": str(row.id), "prefix": row.prefix, **{field: getattr(row, field) for field in changes}}
    return Result(data, f"Key {row.prefix} ({row.id}) updated: {', '.join(changes)}.")


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """Convert the options to the `changes` of `update_key`."""
    from shared.core.clock import now_ms

    changes: dict[str, Any] = {name: given[name] or None for name in _NUMBERS if given[name] is not None}
    for option, field in (("allow_model", "allowed_models"), ("allow_ip", "allowed_ips")):
        if given[option] is not None:
            changes[field] = None if given[option] == ["all"] else given[option]
    if given["days"] is not None:
        changes["expires_at"] = now_ms() + given["days"] * _DAY_MS if given["days"] else None
    if given["name"] is not None:
        changes["name"] = given["name"]
    if given["manage"] is not None:
        changes["can_manage"] = given["manage"] == "yes"
    return changes


def _limit(call: CommandContext) -> Result:
    from shared.operations.key_changes import update_key

    row = update_key(call.arguments.key, {"monthly_credit_limit": call.arguments.credits or None}, origin=call.origin)
    data = {"id": str(row.id), "prefix": row.prefix, "monthly_credit_limit": row.monthly_credit_limit}
    limit = "no monthly limit" if row.monthly_credit_limit is None else f"a limit of {row.monthly_credit_limit} credits per month"
    return Result(data, f"Key {row.prefix} ({row.id}) has {limit}.")


def _revoke(call: CommandContext) -> Result:
    from shared.operations.keys import revoke_key

    row = revoke_key(call.arguments.key, origin=call.origin)
    data = {"id": str(row.id), "prefix": row.prefix, "revoked_at": row.revoked_at}
    return Result(data, f"Key {row.prefix} ({row.id}) was revoked at {format_timestamp(row.revoked_at)}.")

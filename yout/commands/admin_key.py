"""`yout admin-key`: keys of the administration API."""

from __future__ import annotations

from typing import Any

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result, format_timestamp

_DAY_MS = 24 * 3600 * 1000


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "admin-key", "manage keys of the administration API")
    create = add_command(verbs, "create", "create an admin key and print its secret once", _create)
    create.add_argument("name", metavar="NAME", help="what the key is for; the audit log shows it")
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        metavar="SCOPE",
        help="what it may do, such as accounts:read, or all (repeatable)",
    )
    create.add_argument("--days", type=int, metavar="N", help="days until it expires (default never)")
    add_command(verbs, "list", "list all admin keys", _list)
    revoke = add_command(verbs, "revoke", "revoke an admin key permanently", _revoke)
    revoke.add_argument("key", metavar="KEY", help="ID or name of the admin key")


def _create(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.admin_keys import create_admin_key

    arguments = call.arguments
    expires_at = None if arguments.days is None else now_ms() + arguments.days * _DAY_MS
    created = create_admin_key(arguments.name, arguments.scope, expires_at, origin=call.origin)
    data = {**_data(created.row), "secret": created.secret}
    note = f"Created admin key {created.row.id} ({created.row.name}). Store the secret now; it will not be shown again."
    return Result(data, f"{created.secret}\n{note}")


def _list(_: CommandContext) -> Result:
    from shared.operations.admin_keys import list_admin_keys

    keys = [_data(row) for row in list_admin_keys()]
    lines = [f"{key['id']}  {key['prefix']}  {_state(key)}  {key['name']}  {' '.join(key['scopes'])}" for key in keys]
    return Result({"id": "admin-keys", "admin_keys": keys}, "\n".join(lines) or "No admin keys.")


def _revoke(call: CommandContext) -> Result:
    from shared.operations.admin_keys import revoke_admin_key

    row = revoke_admin_key(call.arguments.key, origin=call.origin)
    return Result(_data(row), f"Admin key {row.name} ({row.id}) was revoked at {format_timestamp(row.revoked_at)}.")


def _data(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    return "no expiry" if key["expires_at"] is None else f"until {format_timestamp(key['expires_at'])}"

"""What staff change about an account and its keys, one function an action."""

from __future__ import annotations

from uuid import UUID

from console.actions.origin import by
from shared.core.errors import InvalidInput
from shared.core.formats import credits
from shared.models import ApiKey
from shared.operations import accounts, keys
from shared.text.plain_text import one_line


def adjust_credits(account: UUID, amount: int, reason: str) -> str:
    """Grant credits, or take them back with a negative amount."""
    done = accounts.grant_credits(account, amount, reason, **by())
    verb, where = ("granted", "to") if amount > 0 else ("taken", "from")
    balance = credits(done.account.balance)
    return f"{credits(abs(amount))} credits {verb} {where} {done.account.email}. The balance is now {balance}."


def suspend_account(account: UUID) -> str:
    row = accounts.set_account_status(account, "suspended", **by())
    return f"{row.email} is suspended. Its keys are refused from the next request on; running calls finish."


def activate_account(account: UUID) -> str:
    row = accounts.set_account_status(account, "active", **by())
    return f"{row.email} is active. Its keys work again."


def revoke_key(key: ApiKey, confirmation: str) -> str:
    """Revoke a key for good, if its name was typed. Raises `InvalidInput` if another was."""
    if one_line(confirmation) != one_line(key.name):
        raise InvalidInput(f"That is not the key's name. Type {key.name} exactly to revoke it.")
    keys.revoke_key(key.id, **by())
    return f"Key {key.prefix} revoked. Calls with it fail from now on."

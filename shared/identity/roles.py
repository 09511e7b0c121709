"""Roles of an account's members, and what each may do. Pure.

read      see balance, usage, calls, plan and members
call      call models; use the account's conversations, shares and media
keys      create, edit and revoke one's own API keys
all_keys  the same for the keys of all members
pay       redeem codes, payments and plans
members   invite, change, suspend and remove members
account   transfer, export, purge and close the account
"""

from __future__ import annotations

from typing import Literal, get_args

from shared.core.errors import AccessDenied, InvalidInput
from shared.text.translation import lazy_gettext

Permission = Literal["read", "call", "keys", "all_keys", "pay", "members", "account"]
OWNER = "owner"
_EVERYTHING = frozenset[Permission](get_args(Permission))
ROLES: dict[str, frozenset[Permission]] = {
    OWNER: _EVERYTHING,
    "admin": _EVERYTHING - {"account"},
    "billing": frozenset({"read", "pay"}),
    "developer": frozenset({"read", "call", "keys"}),
    "viewer": frozenset({"read"}),
}
ASSIGNABLE_ROLES = tuple(role for role in ROLES if role != OWNER)  # the owner's role is only transferred
SUSPENDED = "Your membership in this account is suspended. Contact its owner."


def may(role: str, permission: Permission) -> bool:
    """Return whether members with this role may do it."""
    return permission in ROLES.get(role, ())


def refusal(role: str) -> AccessDenied:
    """Return the error for a member whose role does not allow something."""
    return AccessDenied(f"Your role in this account, {role}, does not allow this. Ask its owner.", "role_not_allowed")


def require(role: str, permission: Permission) -> None:
    """Raise `AccessDenied` unless members with this role may do it."""
    if not may(role, permission):
        raise refusal(role)


def check_assignable_role(role: str) -> str:
    """Return the role if a member can be given it. Raises `InvalidInput`."""
    if role not in ASSIGNABLE_ROLES:
        raise InvalidInput(lazy_gettext("The role must be one of {roles}.", roles=", ".join(ASSIGNABLE_ROLES)))
    return role

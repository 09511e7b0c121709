"""Permissions by role. Every signed-in person can view every page; each change is an action of this table.

A route that changes something is denied unless it declares an action of the table (`console/security/access_control.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

ACTIONS: dict[str, frozenset[str]] = {
    "account.create": frozenset({"owner", "billing", "support"}),
    "account.credits": frozenset({"owner", "billing"}),
    "account.email": frozenset({"owner", "support"}),
    "account.members": frozenset({"owner", "support"}),
    "account.note": frozenset({"owner", "billing", "support"}),
    "account.password": frozenset({"owner", "support"}),
    "account.plan": frozenset({"owner", "billing"}),
    "account.purge": frozenset({"owner"}),
    "account.status": frozenset({"owner", "billing", "support"}),
    "admin_key.manage": frozenset({"owner"}),  # a key can do whatever the owner can
    "alias.edit": frozenset({"owner"}),
    "code.edit": frozenset({"owner", "billing"}),
    "hold.release": frozenset({"owner", "billing", "support"}),
    "hold.settle": frozenset({"owner", "billing"}),
    "job.end": frozenset({"owner", "billing", "support"}),
    "job.poll": frozenset({"owner", "billing", "support"}),
    "job.refund": frozenset({"owner", "billing"}),
    "key.edit": frozenset({"owner", "support"}),
    "key.revoke": frozenset({"owner", "support"}),
    "key.revoke_many": frozenset({"owner"}),
    "key.rotate": frozenset({"owner", "support"}),
    "ledger.verify": frozenset({"owner", "billing", "support"}),
    "model.edit": frozenset({"owner"}),
    "model.price": frozenset({"owner", "billing"}),
    "model.route": frozenset({"owner", "support"}),
    "model.try": frozenset({"owner", "support"}),
    "model.status": frozenset({"owner", "support"}),
    "channel.edit": frozenset({"owner"}),  # whoever sets the base URL can receive the secret
    "channel.status": frozenset({"owner", "support"}),
    "channel.test": frozenset({"owner", "support"}),
    "channel.secret": frozenset({"owner"}),
    "payment.invoice": frozenset({"owner", "billing"}),
    "payment.settings": frozenset({"owner"}),
    "plan.edit": frozenset({"owner", "billing"}),
    "staff.manage": frozenset({"owner"}),
}
_F = TypeVar("_F", bound=Callable[..., object])


def is_allowed(role: str, action: str) -> bool:
    """Return whether the role permits the action."""
    return role in ACTIONS.get(action, frozenset())


def action(name: str) -> Callable[[_F], _F]:
    """Mark a view as performing an action. Raises `KeyError` if the table lacks it."""
    ACTIONS[name]

    def mark(view: _F) -> _F:
        view.console_action = name  # type: ignore[attr-defined]  # read by `access_control`
        return view

    return mark


def self_service(view: _F) -> _F:
    """Mark a view as changing only the signed-in person's own data, which every role may do."""
    view.console_oneself = True  # type: ignore[attr-defined]  # read by `access_control`
    return view


def is_self_service(view: object) -> bool:
    """Return whether a view was marked with `self_service`."""
    return getattr(view, "console_oneself", False)


def view_action(view: object) -> str | None:
    """Return the action of a view, or None."""
    return getattr(view, "console_action", None)

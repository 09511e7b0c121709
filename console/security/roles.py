"""Who may do what: the whole matrix. Everybody who is signed in may look at every page; each change is an action below.

An action that is not in the matrix is nobody's, and a changing route without an action is refused
(`console/security/access_control.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

ACTIONS: dict[str, frozenset[str]] = {
    "account.credits": frozenset({"owner", "billing"}),
    "account.email": frozenset({"owner", "support"}),
    "account.note": frozenset({"owner", "billing", "support"}),
    "account.plan": frozenset({"owner", "billing"}),
    "account.purge": frozenset({"owner"}),
    "account.status": frozenset({"owner", "billing", "support"}),
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
    "channel.edit": frozenset({"owner"}),  # where a secret is sent to is as good as the secret
    "channel.status": frozenset({"owner", "support"}),
    "channel.test": frozenset({"owner", "support"}),
    "channel.secret": frozenset({"owner"}),
    "plan.edit": frozenset({"owner", "billing"}),
    "staff.manage": frozenset({"owner"}),
}
_F = TypeVar("_F", bound=Callable[..., object])


def allowed(role: str, action: str) -> bool:
    """Whether staff of this role may do this."""
    return role in ACTIONS.get(action, frozenset())


def action(name: str) -> Callable[[_F], _F]:
    """Mark a view as doing this action. Raises `KeyError` for one that the matrix doesn't know."""
    ACTIONS[name]

    def mark(view: _F) -> _F:
        view.console_action = name  # type: ignore[attr-defined]  # a mark on a function, read by `gate`
        return view

    return mark


def oneself(view: _F) -> _F:
    """Mark a view as changing only what is the signed-in person's own: every role may."""
    view.console_oneself = True  # type: ignore[attr-defined]  # a mark on a function, read by `gate`
    return view


def of_oneself(view: object) -> bool:
    """Whether a view was marked so."""
    return getattr(view, "console_oneself", False)


def action_of(view: object) -> str | None:
    """The action of a view, None when it was marked with none."""
    return getattr(view, "console_action", None)

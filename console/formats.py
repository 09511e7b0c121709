"""How the console's templates write figures, times, ids and changes; `shared/core/formats.py` has what all pages share."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_login import current_user

from console.security.roles import allowed
from shared.core.formats import THIN, credits, duration, exact, short_id, signed, usd, when
from shared.core.settings import Settings


def percent(share: float | None) -> str:
    """`0.42 %`; `–` for none."""
    return "–" if share is None else f"{100 * share:.2f}{THIN}%"


def worth(amount: int) -> str:
    """What credits are worth at the installation's rate."""
    return usd(amount, current_app.extensions["yout_settings"].credits_per_usd)


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """(field, before, after) of an audit entry, in the order of the entry; "" where a side has none."""
    names = dict.fromkeys([*(before or {}), *(after or {})])
    return [(name, _shown(before, name), _shown(after, name)) for name in names]


def _shown(values: dict[str, Any] | None, name: str) -> str:
    if values is None or name not in values:
        return ""
    value = values[name]
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return exact(value) if name.endswith("_at") else credits(value)
    return str(value)


def install(app: Flask, settings: Settings) -> None:
    """Give the templates these filters, and what every page needs to know."""
    app.jinja_env.filters.update(
        credits=credits, signed=signed, duration=duration, percent=percent, when=when, short_id=short_id, usd=worth, exact=exact
    )
    app.jinja_env.globals.update(
        changes=changes,
        may=lambda action: bool(current_user.is_authenticated and allowed(current_user.role, action)),
        console_menu=lambda: app.extensions["admin"][0].menu(),
        production=settings.production,
    )

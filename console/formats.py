"""Template filters for numbers, times, ids and audit changes; `shared/core/formats.py` has those that all pages share."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_login import current_user

from console.security.roles import allowed
from shared.core.formats import THIN, credits, duration, exact, short_id, signed, usd, when
from shared.core.settings import Settings


def percent(share: float | None) -> str:
    """Return `0.42 %`, or `–` for None."""
    return "–" if share is None else f"{100 * share:.2f}{THIN}%"


def worth(amount: int) -> str:
    """Return the value of credits in USD at the installation's rate."""
    return usd(amount, current_app.extensions["yout_settings"].credits_per_usd)


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return (field, before, after) for each field of an audit entry, in its order; "" if a side lacks the field."""
    names = dict.fromkeys([*(before or {}), *(after or {})])
    return [(name, _display(before, name), _display(after, name)) for name in names]


def _display(values: dict[str, Any] | None, name: str) -> str:
    if values is None or name not in values:
        return ""
    value = values[name]
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return exact(value) if name.endswith("_at") else credits(value)
    return str(value)


def install(app: Flask, settings: Settings) -> None:
    """Add the template filters and globals."""
    app.jinja_env.filters.update(
        credits=credits, signed=signed, duration=duration, percent=percent, when=when, short_id=short_id, usd=worth, exact=exact
    )
    app.jinja_env.globals.update(
        changes=changes,
        may=lambda action: bool(current_user.is_authenticated and allowed(current_user.role, action)),
        console_menu=lambda: app.extensions["admin"][0].menu(),
        production=settings.production,
    )

"""Template filters for numbers, times, ids and audit changes; `shared/core/formats.py` has those that all pages share."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_login import current_user

from console.security.roles import is_allowed
from shared.billing.price_text import PriceLine, price_summary, price_summary_usd
from shared.billing.rates import PriceList
from shared.core.formats import (
    code_spans,
    format_credits,
    format_duration,
    format_exact_time,
    format_percent,
    format_signed,
    format_usd,
    short_id,
    time_element,
)
from shared.core.settings import Settings
from shared.ledger.reasons import shown_reason
from shared.payments.labels import provider_label, purpose_label, shown_state
from shared.payments.money import format_money
from shared.text.translation import gettext


def in_usd(amount: int) -> str:
    """Return the value of credits in USD at the installation's rate."""
    return format_usd(amount, current_app.extensions["yout_settings"].credits_per_usd)


def price_in_usd(kind: str, price: PriceList) -> str:
    """Return the main rates of a price in USD at the installation's rate."""
    return price_summary_usd(kind, price, current_app.extensions["yout_settings"].credits_per_usd)


def rate_in_usd(line: PriceLine) -> str:
    """Return one rate in USD at the installation's rate."""
    return line.usd(current_app.extensions["yout_settings"].credits_per_usd)


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return (field, before, after) for each field of an audit entry, in its order. A value is "" if that side lacks the
    field."""
    names = dict.fromkeys([*(before or {}), *(after or {})])
    return [(name, _display(before, name), _display(after, name)) for name in names]


def _display(values: dict[str, Any] | None, name: str) -> str:
    if values is None or name not in values:
        return ""
    value = values[name]
    if isinstance(value, bool) or value is None:
        return {True: gettext("yes"), False: gettext("no"), None: gettext("none")}[value]
    if isinstance(value, int):
        return format_exact_time(value) if name.endswith("_at") else format_credits(value)
    return str(value)


def install(app: Flask, settings: Settings) -> None:
    """Add the template filters and globals."""
    app.jinja_env.filters.update(
        credits=format_credits,
        signed=format_signed,
        duration=format_duration,
        percent=format_percent,
        when=time_element,
        codes=code_spans,
        short_id=short_id,
        usd=in_usd,
        exact=format_exact_time,
        reason=shown_reason,
        money=format_money,
        payment_provider=provider_label,
        payment_purpose=purpose_label,
        payment_state=shown_state,
        rate_usd=rate_in_usd,
    )
    app.jinja_env.globals.update(
        changes=changes,
        price_summary=price_summary,
        price_in_usd=price_in_usd,
        may=lambda action: bool(current_user.is_authenticated and is_allowed(current_user.role, action)),
        console_menu=lambda: app.extensions["admin"][0].menu(),
        production=settings.production,
    )

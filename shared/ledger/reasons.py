"""Reasons of ledger entries for pages. Entries store them in English; those that staff typed are shown unchanged. Pure."""

from __future__ import annotations

import re

from shared.core.formats import format_date
from shared.core.timestamps import parse_timestamp
from shared.text.translation import gettext

PERIOD = "period from "
_PAYMENT = re.compile(r"payment ([0-9a-f]{32})( was paid back|: the dispute was won|)")  # shared/payments/orders.py


def shown_reason(reason: str) -> str:
    """Return the reason of an entry that the platform posted in the language of the request, with its time as a date."""
    if reason == "opening credits":
        return gettext("opening credits")
    if reason == "the subscription has ended":
        return gettext("the subscription has ended")
    if found := _PAYMENT.fullmatch(reason):
        return _payment_reason(found[1], found[2])
    plan, colon, rest = reason.rpartition(": ")
    if not colon:
        return reason
    if rest == "beyond the rollover cap":
        return gettext("{plan}: beyond the rollover cap", plan=plan)
    if rest == "raised within the period":
        return gettext("{plan}: raised within the period", plan=plan)
    if rest.startswith(PERIOD):
        try:
            return gettext("{plan}: period from {day}", plan=plan, day=format_date(parse_timestamp(rest.removeprefix(PERIOD))))
        except ValueError:  # typed by staff
            return reason
    return reason


def _payment_reason(reference: str, suffix: str) -> str:
    if suffix.endswith("paid back"):
        return gettext("payment {payment} was paid back", payment=reference)
    if suffix:
        return gettext("payment {payment}: the dispute was won", payment=reference)
    return gettext("payment {payment}", payment=reference)

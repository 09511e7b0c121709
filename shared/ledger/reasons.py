"""Reasons of ledger entries for pages. Entries store them in English; those that staff typed are shown unchanged. Pure."""

from __future__ import annotations

from shared.core.formats import format_date
from shared.core.timestamps import parse_timestamp
from shared.text.translation import gettext

PERIOD = "period from "


def shown_reason(reason: str) -> str:
    """Return the reason of an entry that the platform posted in the language of the request, with its time as a date."""
    if reason == "opening credits":
        return gettext("opening credits")
    if reason == "the subscription has ended":
        return gettext("the subscription has ended")
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

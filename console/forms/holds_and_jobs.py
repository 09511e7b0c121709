"""Forms for holds and media jobs. Each requires a reason."""

from __future__ import annotations

from wtforms import StringField
from wtforms.validators import InputRequired, Length

from console.forms.fields import LocalizedForm, WholeNumber
from shared.text.translation import lazy_gettext


def _reason(id: str) -> StringField:
    """Return a required reason field. `id` must be unique on the page."""
    checks = [InputRequired(lazy_gettext("Enter a reason.")), Length(max=500)]
    return StringField(lazy_gettext("Reason"), checks, description=lazy_gettext("Recorded in the audit log."), id=id)


class ReasonForm(LocalizedForm):
    reason = _reason("reason")


class SettleForm(LocalizedForm):
    credits = WholeNumber(
        lazy_gettext("Credits to charge"), description=lazy_gettext("At most the amount held. The rest is released.")
    )
    reason = _reason("settle-reason")


class RefundForm(LocalizedForm):
    reason = _reason("refund-reason")

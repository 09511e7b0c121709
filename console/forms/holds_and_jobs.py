"""The forms of holds and jobs: every one asks for a reason."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from console.forms.fields import WholeNumber


def _reason(id: str) -> StringField:
    """Two forms of a page need two ids."""
    checks = [InputRequired("Say why; the audit log keeps it."), Length(max=500)]
    return StringField("Reason", checks, description="Kept in the audit log.", id=id)


class ReasonForm(FlaskForm):
    reason = _reason("reason")


class SettleForm(FlaskForm):
    credits = WholeNumber("Credits to charge", description="At most what is held. The rest is given back.")
    reason = _reason("settle-reason")


class RefundForm(FlaskForm):
    reason = _reason("refund-reason")

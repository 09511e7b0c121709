"""The forms about customers: their plan, notes, keys, purge; plans and redeem codes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from console.forms.fields import OnceForm, WholeNumber
from shared.models import ApiKey
from shared.operations.subscriptions import WHEN

_AS_PLAN = "Empty: the plan's limit."
_AS_PLATFORM = "Empty: the platform's default."


class PlanForm(FlaskForm):
    """What a plan promises."""

    monthly_credits = WholeNumber("Credits a month")
    rollover_cap = WholeNumber("Most that stays at renewal", optional=True, description="Empty: twice the monthly credits.")
    price_cents = WholeNumber("Price a month, in cents", description="For display; nothing is collected here.")
    rpm = WholeNumber("Requests a minute", optional=True, description=_AS_PLATFORM)
    tpm = WholeNumber("Tokens a minute", optional=True, description=_AS_PLATFORM)
    concurrency = WholeNumber("Calls at once", optional=True, description=_AS_PLATFORM)
    media_days = WholeNumber("Days that media are kept", optional=True, description=_AS_PLATFORM)
    allowed_models = StringField("Models", [Length(max=10_000)], description="Comma separated ids; empty: all.")
    overage_allowed = BooleanField("Subscribers may go on beyond their pool, up to a cap of their own")
    stores_content = BooleanField("Subscribers may have conversations stored")

    def terms(self) -> dict[str, Any]:
        """As `shared.operations.plans` takes them."""
        models = [model.strip() for model in (self.allowed_models.data or "").split(",") if model.strip()]
        return {
            "monthly_credits": self.monthly_credits.number(),
            "rollover_cap": self.rollover_cap.data,
            "price_cents": self.price_cents.number(),
            "rpm": self.rpm.data,
            "media_days": self.media_days.data,
            "tpm": self.tpm.data,
            "concurrency": self.concurrency.data,
            "allowed_models": models or None,
            "overage_allowed": self.overage_allowed.data,
            "stores_content": self.stores_content.data,
        }


class NewPlanForm(OnceForm, PlanForm):
    name = StringField("Name", [InputRequired("Name the plan."), Length(max=100)])


class SubscribeForm(OnceForm):
    """Give an account a plan, or another one. Choices of `plan` are set by the view."""

    plan = SelectField("Plan", choices=[])
    when = SelectField("When", choices=list(WHEN), default="next_period")


class OverageForm(FlaskForm):
    cap = WholeNumber("Overage cap, credits a period", description="0 switches it off.")


class NoteForm(OnceForm):
    text = TextAreaField("Note", [InputRequired("Write the note."), Length(max=4_000)], description="Only staff read it.")


class EmailForm(FlaskForm):
    """`confirmation` must be the account's current address."""

    email = StringField("New e-mail address", [InputRequired("Enter the new e-mail address."), Length(max=254)])
    confirmation = StringField("Type the current e-mail to confirm", [InputRequired("Type the e-mail address.")])


class PurgeForm(FlaskForm):
    confirmation = StringField("Type the account's e-mail to confirm", [InputRequired("Type the e-mail address.")])


class KeyForm(FlaskForm):
    """A key's name and limits."""

    name = StringField("Name", [InputRequired("Enter a name."), Length(max=100)])
    monthly_credit_limit = WholeNumber("Credits per month", optional=True, description="Empty: no limit.")
    rpm = WholeNumber("Requests per minute", optional=True, description=_AS_PLAN)
    tpm = WholeNumber("Tokens per minute", optional=True, description=_AS_PLAN)
    concurrency = WholeNumber("Concurrent requests", optional=True, description=_AS_PLAN)
    expires = DateField("Expires (UTC)", [Optional()], description="At the end of that day. Empty: never.")
    allowed_models = StringField("Models", [Length(max=10_000)], description="Comma-separated ids. Empty: all.")
    allowed_ips = StringField("Addresses", [Length(max=10_000)], description="Comma-separated addresses or networks. Empty: all.")
    can_manage = BooleanField("Can manage keys and purge the account")

    @classmethod
    def of(cls, key: ApiKey) -> KeyForm:
        """The form filled in with a key's current values."""
        lists = {name: ", ".join(getattr(key, name) or ()) for name in ("allowed_models", "allowed_ips")}
        return cls(formdata=None, obj=key, data=lists | {"expires": _day(key.expires_at)})

    def changes(self, key: ApiKey) -> dict[str, Any]:
        """The fields for `shared.operations.key_changes`. An expiry on the same day keeps its time of day."""
        found = {name: self[name].data for name in ("name", "monthly_credit_limit", "rpm", "tpm", "concurrency")}
        found |= {name: _listed(self[name].data) for name in ("allowed_models", "allowed_ips")}
        if self.expires.data != _day(key.expires_at):
            found["expires_at"] = _end_of_day(self.expires.data)
        return found if key.parent is not None else {**found, "can_manage": self.can_manage.data}


def _day(moment: int | None) -> date | None:
    return None if moment is None else datetime.fromtimestamp(moment / 1000, UTC).date()


def _end_of_day(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(23, 59, 59), UTC).timestamp() * 1000)


def _listed(text: str | None) -> list[str] | None:
    return [entry.strip() for entry in (text or "").split(",") if entry.strip()] or None


class RotateForm(OnceForm):
    grace_hours = WholeNumber("Hours that the old key still works", description="0: it is revoked at once.")


class RevokeManyForm(FlaskForm):
    """`confirmation` must be the number of keys that the page showed."""

    confirmation = StringField("Type the number of keys to confirm", [InputRequired("Type the number.")])


class CodesForm(OnceForm):
    """A batch of redeem codes."""

    credits = WholeNumber("Credits of each code")
    count = WholeNumber("How many codes")
    days = WholeNumber("Days that they can be used", optional=True, description="Empty: no end.")
    note = StringField("Note", [Length(max=200)], description="For staff: what they are for.")

    def validate_days(self, field: Any) -> None:
        """A batch that has expired from the start helps nobody."""
        if field.data is not None and not 1 <= field.data <= 36_500:
            raise ValidationError("Give 1 to 36 500 days, or leave it empty.")

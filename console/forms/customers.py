"""Forms for accounts, plans, API keys and redeem codes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from wtforms import BooleanField, DateField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from console.forms.fields import LocalizedForm, SingleUseForm, WholeNumber
from shared.models import ApiKey
from shared.operations.subscriptions import CHANGE_TIMES

_PLAN_DEFAULT_HELP = "Leave empty to use the plan's limit."
_PLATFORM_DEFAULT_HELP = "Leave empty to use the platform default."


class PlanForm(LocalizedForm):
    """The credits, limits and features of a plan."""

    monthly_credits = WholeNumber("Credits per month")
    rollover_cap = WholeNumber(
        "Maximum rollover at renewal", optional=True, description="Leave empty for twice the monthly credits."
    )
    price_cents = WholeNumber("Price per month (cents)", description="For display only; no payment is collected.")
    rpm = WholeNumber("Requests per minute", optional=True, description=_PLATFORM_DEFAULT_HELP)
    tpm = WholeNumber("Tokens per minute", optional=True, description=_PLATFORM_DEFAULT_HELP)
    concurrency = WholeNumber("Concurrent requests", optional=True, description=_PLATFORM_DEFAULT_HELP)
    media_days = WholeNumber("Media retention (days)", optional=True, description=_PLATFORM_DEFAULT_HELP)
    allowed_models = StringField(
        "Models", [Length(max=10_000)], description="Comma-separated IDs. Leave empty to allow every model."
    )
    overage_allowed = BooleanField("Allow overage, up to a cap set per subscriber")
    stores_content = BooleanField("Allow subscribers to store conversations")

    def plan_terms(self) -> dict[str, Any]:
        """Return the fields as `shared.operations.plans` takes them."""
        models = [model.strip() for model in (self.allowed_models.data or "").split(",") if model.strip()]
        return {
            "monthly_credits": self.monthly_credits.required_value(),
            "rollover_cap": self.rollover_cap.data,
            "price_cents": self.price_cents.required_value(),
            "rpm": self.rpm.data,
            "media_days": self.media_days.data,
            "tpm": self.tpm.data,
            "concurrency": self.concurrency.data,
            "allowed_models": models or None,
            "overage_allowed": self.overage_allowed.data,
            "stores_content": self.stores_content.data,
        }


class NewPlanForm(SingleUseForm, PlanForm):
    name = StringField("Name", [InputRequired("Enter a name."), Length(max=100)])


class NewAccountForm(SingleUseForm):
    """Creates an account without credits and without a password."""

    email = StringField("Email", [InputRequired("Enter the customer's email."), Length(max=254)])
    name = StringField("Name", [Length(max=200)], description="Optional. Only staff see it.")


class PasswordLinkForm(SingleUseForm):
    """A button that creates a password link."""


class SubscribeForm(SingleUseForm):
    """Assigns a plan to an account. The view sets the choices of `plan`."""

    plan = SelectField("Plan", choices=[])
    when = SelectField("When", choices=list(CHANGE_TIMES), default="next_period")


class OverageForm(LocalizedForm):
    cap = WholeNumber("Overage cap (credits per period)", description="0 turns overage off.")


class NoteForm(SingleUseForm):
    text = TextAreaField("Note", [InputRequired("Enter a note."), Length(max=4_000)], description="Visible to staff only.")


class EmailForm(LocalizedForm):
    """`confirmation` must be the account's current email."""

    email = StringField("New email", [InputRequired("Enter the new email."), Length(max=254)])
    confirmation = StringField("Type the current email to confirm", [InputRequired("Type the email.")])


class PurgeForm(LocalizedForm):
    confirmation = StringField("Type the account's email to confirm", [InputRequired("Type the email.")])


class KeyForm(LocalizedForm):
    """A key's name and limits."""

    name = StringField("Name", [InputRequired("Enter a name."), Length(max=100)])
    monthly_credit_limit = WholeNumber("Credits per month", optional=True, description="Leave empty for no limit.")
    rpm = WholeNumber("Requests per minute", optional=True, description=_PLAN_DEFAULT_HELP)
    tpm = WholeNumber("Tokens per minute", optional=True, description=_PLAN_DEFAULT_HELP)
    concurrency = WholeNumber("Concurrent requests", optional=True, description=_PLAN_DEFAULT_HELP)
    expires = DateField(
        "Expires (UTC)", [Optional()], description="Valid through the end of that day. Leave empty for no expiry."
    )
    allowed_models = StringField(
        "Models", [Length(max=10_000)], description="Comma-separated IDs. Leave empty to allow every model."
    )
    allowed_ips = StringField(
        "IP addresses", [Length(max=10_000)], description="Comma-separated addresses or networks. Leave empty to allow all."
    )
    can_manage = BooleanField("Can manage keys and purge the account")

    @classmethod
    def from_key(cls, key: ApiKey) -> KeyForm:
        """Return the form filled in with a key's current values."""
        lists = {name: ", ".join(getattr(key, name) or ()) for name in ("allowed_models", "allowed_ips")}
        return cls(formdata=None, obj=key, data=lists | {"expires": _day(key.expires_at)})

    def key_changes(self, key: ApiKey) -> dict[str, Any]:
        """Return the fields for `shared.operations.key_changes`. An unchanged expiry date keeps its time of day."""
        fields = {name: self[name].data for name in ("name", "monthly_credit_limit", "rpm", "tpm", "concurrency")}
        fields |= {name: _split_list(self[name].data) for name in ("allowed_models", "allowed_ips")}
        if self.expires.data != _day(key.expires_at):
            fields["expires_at"] = _end_of_day(self.expires.data)
        return fields if key.parent is not None else {**fields, "can_manage": self.can_manage.data}


def _day(timestamp: int | None) -> date | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp / 1000, UTC).date()


def _end_of_day(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(23, 59, 59), UTC).timestamp() * 1000)


def _split_list(text: str | None) -> list[str] | None:
    return [entry.strip() for entry in (text or "").split(",") if entry.strip()] or None


class RotateForm(SingleUseForm):
    grace_hours = WholeNumber("Grace period (hours)", description="How long the old key keeps working. 0 revokes it now.")


class RevokeManyForm(LocalizedForm):
    """`confirmation` must be the number of keys that the page showed."""

    confirmation = StringField("Type the number of keys to confirm", [InputRequired("Type the number.")])


class CodesForm(SingleUseForm):
    """A batch of redeem codes."""

    credits = WholeNumber("Credits per code")
    count = WholeNumber("Number of codes")
    days = WholeNumber("Valid for (days)", optional=True, description="Leave empty for no expiry.")
    note = StringField("Note", [Length(max=200)], description="What the codes are for. Visible to staff only.")

    def validate_days(self, field: Any) -> None:
        """Reject a batch that would have expired from the start."""
        if field.data is not None and not 1 <= field.data <= 36_500:
            raise ValidationError("Enter 1 to 36 500 days, or leave it empty.")

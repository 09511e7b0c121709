"""Forms for accounts, plans, API keys and redeem codes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from wtforms import BooleanField, DateField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from console.forms.fields import LocalizedForm, SingleUseForm, WholeNumber
from shared.identity.roles import ASSIGNABLE_ROLES
from shared.models import ApiKey, Member
from shared.operations.members import MemberTerms
from shared.operations.subscriptions import CHANGE_TIMES
from shared.text.translation import gettext, lazy_gettext
from shared.text.words import WORDS

_PLAN_DEFAULT_HELP = lazy_gettext("Leave empty to use the plan's limit.")
_PLATFORM_DEFAULT_HELP = lazy_gettext("Leave empty to use the platform default.")
_CHANGE_TIMES = {"now": lazy_gettext("now"), "next_period": lazy_gettext("at the next renewal")}


class PlanForm(LocalizedForm):
    """The credits, limits and features of a plan."""

    monthly_credits = WholeNumber(lazy_gettext("Credits per month"))
    rollover_cap = WholeNumber(
        lazy_gettext("Maximum rollover at renewal"),
        optional=True,
        description=lazy_gettext("Leave empty for twice the monthly credits."),
    )
    price_cents = WholeNumber(
        lazy_gettext("Price per month"),
        description=lazy_gettext("In the smallest unit of the currency of payments, such as cents."),
    )
    rpm = WholeNumber(lazy_gettext("Requests per minute"), optional=True, description=_PLATFORM_DEFAULT_HELP)
    tpm = WholeNumber(lazy_gettext("Tokens per minute"), optional=True, description=_PLATFORM_DEFAULT_HELP)
    concurrency = WholeNumber(lazy_gettext("Concurrent requests"), optional=True, description=_PLATFORM_DEFAULT_HELP)
    media_days = WholeNumber(lazy_gettext("Media retention (days)"), optional=True, description=_PLATFORM_DEFAULT_HELP)
    usage_days = WholeNumber(
        lazy_gettext("Call retention (days)"),
        optional=True,
        description=lazy_gettext("At least 30. Leave empty to use the platform default."),
    )
    allowed_models = StringField(
        lazy_gettext("Models"),
        [Length(max=10_000)],
        description=lazy_gettext("Comma-separated IDs. Leave empty to allow every model."),
    )
    overage_allowed = BooleanField(lazy_gettext("Allow overage, up to a cap set per subscriber"))
    stores_content = BooleanField(lazy_gettext("Allow subscribers to store conversations"))
    self_service = BooleanField(lazy_gettext("Sell to customers through Stripe; needs a price and monthly credits"))
    owner_overage_cap = WholeNumber(
        lazy_gettext("Maximum overage cap that customers can set"),
        optional=True,
        description=lazy_gettext("In credits per period. Leave empty if only staff set it."),
    )

    def plan_terms(self) -> dict[str, Any]:
        """Return the fields as `shared.operations.plans` takes them."""
        models = [model.strip() for model in (self.allowed_models.data or "").split(",") if model.strip()]
        return {
            "monthly_credits": self.monthly_credits.required_value(),
            "rollover_cap": self.rollover_cap.data,
            "price_cents": self.price_cents.required_value(),
            "rpm": self.rpm.data,
            "media_days": self.media_days.data,
            "usage_days": self.usage_days.data,
            "tpm": self.tpm.data,
            "concurrency": self.concurrency.data,
            "allowed_models": models or None,
            "overage_allowed": self.overage_allowed.data,
            "stores_content": self.stores_content.data,
            "self_service": self.self_service.data,
            "owner_overage_cap": self.owner_overage_cap.data,
        }


class NewPlanForm(SingleUseForm, PlanForm):
    name = StringField(lazy_gettext("Name"), [InputRequired(lazy_gettext("Enter a name.")), Length(max=100)])


class NewAccountForm(SingleUseForm):
    """Creates an account without credits and without a password."""

    email = StringField(lazy_gettext("Email"), [InputRequired(lazy_gettext("Enter the customer's email.")), Length(max=254)])
    name = StringField(lazy_gettext("Name"), [Length(max=200)], description=lazy_gettext("Optional. Only staff see it."))
    invite = BooleanField(lazy_gettext("Email the owner an invitation to set a password"))


class PasswordLinkForm(SingleUseForm):
    """A button that creates a password link."""


class SubscribeForm(SingleUseForm):
    """Assigns a plan to an account. The view sets the choices of `plan`."""

    plan = SelectField(lazy_gettext("Plan"), choices=[])
    when = SelectField(lazy_gettext("When"), choices={time: _CHANGE_TIMES[time] for time in CHANGE_TIMES}, default="next_period")


class OverageForm(LocalizedForm):
    cap = WholeNumber(lazy_gettext("Overage cap (credits per period)"), description=lazy_gettext("0 turns overage off."))


class NoteForm(SingleUseForm):
    text = TextAreaField(
        lazy_gettext("Note"),
        [InputRequired(lazy_gettext("Enter a note.")), Length(max=4_000)],
        description=lazy_gettext("Visible to staff only."),
    )


class EmailForm(LocalizedForm):
    """`confirmation` must be the account's current email."""

    email = StringField(lazy_gettext("New email"), [InputRequired(lazy_gettext("Enter the new email.")), Length(max=254)])
    confirmation = StringField(
        lazy_gettext("Type the current email to confirm"), [InputRequired(lazy_gettext("Type the email."))]
    )


class PurgeForm(LocalizedForm):
    confirmation = StringField(
        lazy_gettext("Type the account's email to confirm"), [InputRequired(lazy_gettext("Type the email."))]
    )


class MemberForm(LocalizedForm):
    """A member's role and limits."""

    role = SelectField(lazy_gettext("Role"), choices={role: WORDS[role] for role in ASSIGNABLE_ROLES})
    monthly_credit_limit = WholeNumber(
        lazy_gettext("Credits per month"), optional=True, description=lazy_gettext("Leave empty for no limit.")
    )
    daily_credit_limit = WholeNumber(
        lazy_gettext("Credits per day"), optional=True, description=lazy_gettext("Leave empty for no limit.")
    )

    @classmethod
    def from_member(cls, member: Member) -> MemberForm:
        """Return the form filled in with a member's current values."""
        return cls(formdata=None, obj=member)

    def terms(self) -> MemberTerms:
        """Return the values for `shared.operations.members`."""
        return MemberTerms(self.role.data, self.monthly_credit_limit.data, self.daily_credit_limit.data)


class NewMemberForm(SingleUseForm, MemberForm):
    email = StringField(lazy_gettext("Email"), [InputRequired(lazy_gettext("Enter their email.")), Length(max=254)])


class KeyForm(LocalizedForm):
    """A key's name and limits."""

    name = StringField(lazy_gettext("Name"), [InputRequired(lazy_gettext("Enter a name.")), Length(max=100)])
    monthly_credit_limit = WholeNumber(
        lazy_gettext("Credits per month"), optional=True, description=lazy_gettext("Leave empty for no limit.")
    )
    daily_credit_limit = WholeNumber(
        lazy_gettext("Credits per day"), optional=True, description=lazy_gettext("Leave empty for no limit.")
    )
    rpm = WholeNumber(lazy_gettext("Requests per minute"), optional=True, description=_PLAN_DEFAULT_HELP)
    tpm = WholeNumber(lazy_gettext("Tokens per minute"), optional=True, description=_PLAN_DEFAULT_HELP)
    concurrency = WholeNumber(lazy_gettext("Concurrent requests"), optional=True, description=_PLAN_DEFAULT_HELP)
    expires = DateField(
        lazy_gettext("Expires (UTC)"),
        [Optional()],
        description=lazy_gettext("Valid through the end of that day. Leave empty for no expiry."),
    )
    allowed_models = StringField(
        lazy_gettext("Models"),
        [Length(max=10_000)],
        description=lazy_gettext("Comma-separated IDs. Leave empty to allow every model."),
    )
    allowed_ips = StringField(
        lazy_gettext("IP addresses"),
        [Length(max=10_000)],
        description=lazy_gettext("Comma-separated addresses or networks. Leave empty to allow all."),
    )
    can_manage = BooleanField(lazy_gettext("Can manage keys and purge the account"))

    @classmethod
    def from_key(cls, key: ApiKey) -> KeyForm:
        """Return the form filled in with a key's current values."""
        lists = {name: ", ".join(getattr(key, name) or ()) for name in ("allowed_models", "allowed_ips")}
        return cls(formdata=None, obj=key, data=lists | {"expires": _day(key.expires_at)})

    def key_changes(self, key: ApiKey) -> dict[str, Any]:
        """Return the fields for `shared.operations.key_changes`. An unchanged expiry date keeps its time of day."""
        numbers = ("monthly_credit_limit", "daily_credit_limit", "rpm", "tpm", "concurrency")
        fields = {name: self[name].data for name in ("name", *numbers)}
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
    grace_hours = WholeNumber(
        lazy_gettext("Grace period (hours)"), description=lazy_gettext("How long the old key keeps working. 0 revokes it now.")
    )


class RevokeManyForm(LocalizedForm):
    """`confirmation` must be the number of keys that the page showed."""

    confirmation = StringField(
        lazy_gettext("Type the number of keys to confirm"), [InputRequired(lazy_gettext("Type the number."))]
    )


class CodesForm(SingleUseForm):
    """A batch of redeem codes."""

    credits = WholeNumber(lazy_gettext("Credits per code"))
    count = WholeNumber(lazy_gettext("Number of codes"))
    days = WholeNumber(lazy_gettext("Valid for (days)"), optional=True, description=lazy_gettext("Leave empty for no expiry."))
    note = StringField(
        lazy_gettext("Note"), [Length(max=200)], description=lazy_gettext("What the codes are for. Visible to staff only.")
    )

    def validate_days(self, field: Any) -> None:
        """Reject a batch that would have expired from the start."""
        if field.data is not None and not 1 <= field.data <= 36_500:
            raise ValidationError(gettext("Enter 1 to 36 500 days, or leave it empty."))

"""The forms of the catalogue: models, their prices and routes, channels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask_wtf import FlaskForm
from wtforms import BooleanField, HiddenField, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from console.forms.fields import OnceForm, WholeNumber
from shared.core.errors import InvalidInput
from shared.models import DIALECTS, MODEL_KINDS
from shared.operations.channels import read_settings

_PER_1K = "Credits per 1 000 tokens."


class RatesForm(FlaskForm):
    """Whole credits. What a kind of model is never charged by stays empty."""

    input = WholeNumber("Input", description=_PER_1K)
    output = WholeNumber("Output", description=_PER_1K)
    cached_input = WholeNumber("Cached input", optional=True, description="Empty: as input.")
    cache_write = WholeNumber("Written to a cache", optional=True, description="Empty: as input.")
    per_call = WholeNumber("Per call", description="Of a picture: for each.")
    per_5_seconds = WholeNumber("Per 5 seconds", optional=True, description="Of video.")
    per_1k_characters = WholeNumber("Per 1 000 characters", optional=True, description="Of speech.")
    minimum = WholeNumber("Least of a call")


class PublishForm(OnceForm):
    """`seen_draft` and `seen_price` are the draft and the price in force that the page showed."""

    effective_at = StringField(
        "In force from (UTC)", description="Empty: at once. Calls that run keep the price they began with."
    )
    seen_draft = HiddenField()
    seen_price = HiddenField()

    def validate_effective_at(self, field: Any) -> None:
        """A moment as browsers write it, or as people do."""
        if field.data and self.moment() is None:
            raise ValidationError("Write a moment such as 2027-01-31 09:30, in UTC.")

    def moment(self) -> int | None:
        """Milliseconds UTC, or None for "at once"."""
        try:
            found = datetime.fromisoformat((self.effective_at.data or "").strip())
            found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)  # an offset may lead out of the calendar
        except (ValueError, OverflowError):
            return None
        return int(found.timestamp() * 1000)


_LONGEST = "Empty: unknown; by Anthropic's channels, what the vendor publishes of the model, else 8,192."


class ModelForm(FlaskForm):
    """What the catalogue says of a model."""

    description = TextAreaField("Description", [Length(max=2_000)], description="What customers read in the catalogue.")
    owned_by = StringField("Made by", [InputRequired("Say who made the model."), Length(max=100)], default="yout")
    context_window = WholeNumber("Context window, tokens", optional=True, description="Empty: unknown.")
    max_output_tokens = WholeNumber("Longest output, tokens", optional=True, description=_LONGEST)
    capabilities = StringField("Capabilities", [Length(max=400)], description="Comma separated: vision, tools, reasoning.")
    modality = StringField("Modality", [Length(max=64)], description="Such as text+image->text; empty: as the kind.")
    free = BooleanField("Free for visitors, within their daily allowance")

    def tags(self) -> list[str]:
        """The capabilities, one by one."""
        return [tag.strip() for tag in (self.capabilities.data or "").split(",") if tag.strip()]


class NewModelForm(OnceForm, ModelForm, RatesForm):
    """A model with its first price and its first channel. Choices of `channel` are set by the view."""

    model = StringField("Id", [InputRequired("Give the id that callers send as `model`."), Length(max=200)])
    kind = SelectField("Kind", choices=list(MODEL_KINDS))
    channel = SelectField("Channel", choices=[])
    upstream_model = StringField("The vendor's name for it", [Length(max=200)], description="Empty: the same as the id.")


class RouteForm(FlaskForm):
    """How one channel serves one model."""

    upstream_model = StringField("The vendor's name for the model", [Length(max=200)], description="Empty: the model's id.")
    priority = WholeNumber("Priority", description="A lower one is tried first.")
    weight = WholeNumber("Weight", description="Shares out calls among equal priorities.")
    cost_input = WholeNumber("Its cost to us, input", optional=True, description=f"{_PER_1K} Empty: unknown.")
    cost_output = WholeNumber("Its cost to us, output", optional=True, description=f"{_PER_1K} Empty: unknown.")


class NewRouteForm(OnceForm, RouteForm):
    """One more channel for a model. Choices of `channel` are set by the view."""

    channel = SelectField("Channel", choices=[])


class ChannelForm(FlaskForm):
    """Where a channel sends its calls."""

    base_url = StringField("Base URL", [InputRequired("Give the address, such as https://api.example.com/v1."), Length(max=500)])
    settings = TextAreaField("Vendor's quirks", [Length(max=10_000)], default="{}", description="A JSON object; {} for none.")

    def validate_settings(self, field: Any) -> None:
        """A JSON object, or nothing."""
        try:
            read_settings(field.data or "")
        except InvalidInput as problem:
            raise ValidationError(str(problem)) from None

    def quirks(self) -> dict[str, Any]:
        """The settings, decoded."""
        return read_settings(self.settings.data or "")


class NewChannelForm(OnceForm, ChannelForm):
    """A channel with its secret, which is never shown again."""

    name = StringField("Name", [InputRequired("Name the channel."), Length(max=100)])
    dialect = SelectField("Dialect", choices=list(DIALECTS))
    secret = PasswordField("Secret", [Optional(), Length(max=10_000)], description="Empty for an upstream that asks for none.")


class DraftsForm(OnceForm):
    """Take the models in that are known of a channel's vendor."""

    markup = WholeNumber("Markup on the list price, per cent")


class RestForm(FlaskForm):
    """Let a channel rest."""

    minutes = WholeNumber("Minutes")
    reason = StringField("Why", [InputRequired("Say why; colleagues read it beside the channel."), Length(max=200)])


class TryForm(OnceForm):
    """One call as a customer makes it. `account` pays for it."""

    prompt = TextAreaField(
        "Message", [InputRequired("Write a message."), Length(max=8_000)], default="Say hello in one sentence."
    )
    account = StringField("Paid by the account", [InputRequired("Give the e-mail of the account that pays."), Length(max=254)])

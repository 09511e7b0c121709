"""Forms for models, prices, routes and channels."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from wtforms import BooleanField, DateField, HiddenField, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from console.forms.fields import LocalizedForm, SingleUseForm, WholeNumber
from shared.billing.rates import BASE_KINDS, Rate
from shared.core.errors import InvalidInput
from shared.models import DIALECTS, MODEL_KINDS, RATE_KINDS, AIModel, ModelAlias
from shared.operations.channels import read_settings
from shared.operations.model_details import ModelDetails
from shared.operations.prices import Rates, parse_rates
from shared.operations.route_costs import RouteCosts, parse_costs
from shared.text.translation import gettext, lazy_gettext
from shared.text.words import WORDS

_PER_1K = lazy_gettext("Credits per 1 000 tokens.")


class RatesForm(LocalizedForm):
    """Prices in whole credits. Rates that do not apply to the kind of model stay empty."""

    KINDS = tuple(kind for kind in RATE_KINDS if kind not in BASE_KINDS)

    input = WholeNumber(lazy_gettext("Input"), description=_PER_1K)
    output = WholeNumber(lazy_gettext("Output"), description=_PER_1K)
    cached_input = WholeNumber(
        lazy_gettext("Cached input"), optional=True, description=lazy_gettext("Leave empty to use the input price.")
    )
    cache_write = WholeNumber(
        lazy_gettext("Cache write"), optional=True, description=lazy_gettext("Leave empty to use the input price.")
    )
    per_call = WholeNumber(
        lazy_gettext("Per call"), description=lazy_gettext("For image models: per image. For rerank models: per search unit.")
    )
    per_5_seconds = WholeNumber(lazy_gettext("Per 5 seconds"), optional=True, description=lazy_gettext("For video models."))
    per_1k_characters = WholeNumber(
        lazy_gettext("Per 1 000 characters"), optional=True, description=lazy_gettext("For speech models.")
    )
    minimum = WholeNumber(lazy_gettext("Minimum charge per call"))
    # Kinds of `shared.billing.rates`. For an empty one, calls are refused, or the fallback's rate applies.
    cache_write_1h = WholeNumber(
        lazy_gettext("Cache write, 1 hour"), optional=True, description=lazy_gettext("Leave empty to refuse it.")
    )
    audio_input = WholeNumber(
        lazy_gettext("Audio input"), optional=True, description=lazy_gettext("Leave empty to refuse audio and video.")
    )
    cached_audio_input = WholeNumber(
        lazy_gettext("Cached audio input"), optional=True, description=lazy_gettext("Leave empty to use the audio price.")
    )
    audio_output = WholeNumber(lazy_gettext("Audio output"), optional=True, description=lazy_gettext("Leave empty to refuse it."))
    image_input = WholeNumber(
        lazy_gettext("Image input"), optional=True, description=lazy_gettext("Leave empty to use the input price.")
    )
    image_output = WholeNumber(lazy_gettext("Image output"), optional=True, description=lazy_gettext("Leave empty to refuse it."))
    reasoning = WholeNumber(
        lazy_gettext("Reasoning"), optional=True, description=lazy_gettext("Leave empty to use the output price.")
    )
    web_search = WholeNumber(
        lazy_gettext("Per web search"), optional=True, description=lazy_gettext("Credits per search. Leave empty to refuse them.")
    )
    second = WholeNumber(
        lazy_gettext("Per second of audio"), optional=True, description=lazy_gettext("For transcription models.")
    )
    more_rates = TextAreaField(
        lazy_gettext("Long prompts and service tiers"),
        [Length(max=4_000)],
        description=lazy_gettext(
            "One per line: input@200000=2500 for prompts above 200 000 tokens, tier:flex=500 for half the token rates."
        ),
    )

    def validate_more_rates(self, field: Any) -> None:
        """Reject lines that cannot be parsed."""
        try:
            parse_rates((field.data or "").splitlines())
        except InvalidInput as problem:
            raise ValidationError(str(problem)) from None

    def further_in_use(self) -> bool:
        """Return whether any rate beyond the price's columns has a value or an error."""
        fields = [self.more_rates, *(self[kind] for kind in self.KINDS)]
        return any(field.errors or field.data not in (None, "") for field in fields)

    def further_rates(self) -> tuple[Rate, ...]:
        """Return the rates beyond the price's columns."""
        plain = [Rate(kind, 0, self[kind].data) for kind in self.KINDS if self[kind].data is not None]
        return tuple(sorted([*plain, *parse_rates((self.more_rates.data or "").splitlines())]))

    def rates(self) -> Rates:
        return Rates(
            self.input.required_value(),
            self.output.required_value(),
            cached_input=self.cached_input.data,
            cache_write=self.cache_write.data,
            per_call=self.per_call.required_value(),
            minimum=self.minimum.required_value(),
            per_5_seconds=self.per_5_seconds.data,
            per_1k_characters=self.per_1k_characters.data,
            rates=self.further_rates(),
        )


class PublishForm(SingleUseForm):
    """`seen_draft` and `seen_price` identify the draft and the current price that the page showed."""

    effective_at = StringField(
        lazy_gettext("Effective from (UTC)"),
        description=lazy_gettext("Leave empty to publish now. Calls in progress keep their price."),
    )
    seen_draft = HiddenField()
    seen_price = HiddenField()

    def validate_effective_at(self, field: Any) -> None:
        """Accept `datetime-local` values and typed ISO timestamps."""
        if field.data and self.effective_at_ms() is None:
            raise ValidationError(gettext("Enter a UTC date and time, such as 2027-01-31 09:30."))

    def effective_at_ms(self) -> int | None:
        """Return milliseconds UTC, or None for "now"."""
        try:
            parsed = datetime.fromisoformat((self.effective_at.data or "").strip())
            parsed = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)  # may overflow the calendar
        except (ValueError, OverflowError):
            return None
        return int(parsed.timestamp() * 1000)


_MAX_OUTPUT_HELP = lazy_gettext("Leave empty if unknown. Anthropic channels then use the provider's published limit, else 8,192.")


class ModelForm(LocalizedForm):
    """The catalog entry of a model."""

    description = TextAreaField(
        lazy_gettext("Description"), [Length(max=2_000)], description=lazy_gettext("Shown to customers in the catalog.")
    )
    owned_by = StringField(
        lazy_gettext("Owned by"), [InputRequired(lazy_gettext("Enter the model's owner.")), Length(max=100)], default="yout"
    )
    context_window = WholeNumber(
        lazy_gettext("Context window (tokens)"), optional=True, description=lazy_gettext("Leave empty if unknown.")
    )
    max_output_tokens = WholeNumber(lazy_gettext("Maximum output tokens"), optional=True, description=_MAX_OUTPUT_HELP)
    capabilities = StringField(
        lazy_gettext("Capabilities"),
        [Length(max=400)],
        description=lazy_gettext("Comma-separated, such as vision, tools, reasoning."),
    )
    modality = StringField(
        lazy_gettext("Modality"),
        [Length(max=64)],
        description=lazy_gettext("Such as text+image->text. Leave empty for the kind's default."),
    )
    free = BooleanField(lazy_gettext("Free for visitors, within their daily limit"))
    full_hold = BooleanField(lazy_gettext("Always hold the maximum cost of a call, even if few credits are available"))

    def capability_list(self) -> list[str]:
        """Return the capabilities as a list."""
        return [tag.strip() for tag in (self.capabilities.data or "").split(",") if tag.strip()]

    def details(self, kind: str) -> ModelDetails:
        return ModelDetails(
            kind=kind,
            description=self.description.data or "",
            owned_by=self.owned_by.data,
            context_window=self.context_window.data,
            max_output_tokens=self.max_output_tokens.data,
            capabilities=self.capability_list(),
            modality=(self.modality.data or "").strip() or None,
            free=self.free.data,
            full_hold=self.full_hold.data,
        )


class NewModelForm(SingleUseForm, ModelForm, RatesForm):
    """A model with its first price and channel. The view sets the choices of `channel`."""

    model = StringField(
        lazy_gettext("Model ID"), [InputRequired(lazy_gettext("Enter the ID that callers send as `model`.")), Length(max=200)]
    )
    kind = SelectField(lazy_gettext("Kind"), choices={kind: WORDS[kind] for kind in MODEL_KINDS})
    channel = SelectField(lazy_gettext("Channel"), choices=[])
    upstream_model = StringField(
        lazy_gettext("Provider's model name"), [Length(max=200)], description=lazy_gettext("Leave empty to use the model ID.")
    )


class AliasForm(LocalizedForm):
    """The model of an alias, and the dates of its deprecation and shutdown."""

    model = StringField(
        lazy_gettext("Model"),
        [InputRequired(lazy_gettext("Enter the ID of a model.")), Length(max=200)],
        description=lazy_gettext("Or another alias."),
    )
    deprecated = DateField(
        lazy_gettext("Deprecated from (UTC)"),
        [Optional()],
        description=lazy_gettext("Calls get a Deprecation header. Leave empty if it is not deprecated."),
    )
    shutdown = DateField(
        lazy_gettext("Shutdown (UTC)"),
        [Optional()],
        description=lazy_gettext("Calls are refused from 00:00 on that day. Leave empty for no shutdown."),
    )
    successor = StringField(
        lazy_gettext("Successor"),
        [Length(max=200)],
        description=lazy_gettext("The name to use instead. Leave empty for the model."),
    )

    @classmethod
    def from_alias(cls, alias: ModelAlias) -> AliasForm:
        """Return the form filled in with an alias's current values."""
        return cls(formdata=None, obj=alias, data={"deprecated": _day(alias.deprecated_at), "shutdown": _day(alias.shutdown_at)})

    def alias_fields(self) -> dict[str, Any]:
        """Return the fields as arguments of `shared.operations.model_aliases`."""
        return {
            "model": self.model.data.strip(),
            "successor": (self.successor.data or "").strip() or None,
            "deprecated_at": _start_of_day(self.deprecated.data),
            "shutdown_at": _start_of_day(self.shutdown.data),
        }


class DeprecationForm(LocalizedForm):
    """The announced deprecation of a model."""

    deprecated = DateField(
        lazy_gettext("Deprecated from (UTC)"),
        [Optional()],
        description=lazy_gettext("Calls get a Deprecation header from now on."),
    )
    shutdown = DateField(
        lazy_gettext("Shutdown (UTC)"),
        [Optional()],
        description=lazy_gettext("Calls go to the successor from 00:00 on that day. Without a successor they are refused."),
    )
    successor = StringField(
        lazy_gettext("Successor"),
        [Length(max=200)],
        description=lazy_gettext("A model or an alias. Calls get a Link header to it."),
    )

    @classmethod
    def from_model(cls, model: AIModel) -> DeprecationForm:
        """Return the form filled in with a model's current values."""
        return cls(formdata=None, obj=model, data={"deprecated": _day(model.deprecated_at), "shutdown": _day(model.shutdown_at)})

    def fields(self) -> dict[str, Any]:
        """Return the fields as arguments of `shared.operations.model_deprecation`."""
        return {
            "successor": (self.successor.data or "").strip() or None,
            "deprecated_at": _start_of_day(self.deprecated.data),
            "shutdown_at": _start_of_day(self.shutdown.data),
        }


class NewAliasForm(SingleUseForm, AliasForm):
    name = StringField(
        lazy_gettext("Alias"), [InputRequired(lazy_gettext("Enter the name that callers send as `model`.")), Length(max=200)]
    )


def _day(timestamp: int | None) -> date | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp / 1000, UTC).date()


def _start_of_day(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp() * 1000)


class RouteForm(LocalizedForm):
    """How one channel serves one model."""

    upstream_model = StringField(
        lazy_gettext("Provider's model name"), [Length(max=200)], description=lazy_gettext("Leave empty to use the model ID.")
    )
    priority = WholeNumber(lazy_gettext("Priority"), description=lazy_gettext("Lower numbers are tried first."))
    weight = WholeNumber(lazy_gettext("Weight"), description=lazy_gettext("Splits calls between channels of equal priority."))
    cost_input = WholeNumber(
        lazy_gettext("Provider cost, input"),
        optional=True,
        description=lazy_gettext("Credits per 1 000 tokens. Leave empty if unknown."),
    )
    cost_output = WholeNumber(
        lazy_gettext("Provider cost, output"),
        optional=True,
        description=lazy_gettext("Credits per 1 000 tokens. Leave empty if unknown."),
    )
    further_costs = TextAreaField(
        lazy_gettext("Further provider costs"),
        [Length(max=5_000)],
        description=lazy_gettext(
            "One per line, such as cached_input=15, input@200000=300, web_search=10000, per_call=40 or tier:flex=500."
        ),
    )

    def validate_further_costs(self, field: Any) -> None:
        """Require costs in the format of `parse_costs`."""
        try:
            parse_costs(field.data or "")
        except InvalidInput as error:
            raise ValidationError(str(error)) from None

    def costs(self) -> RouteCosts:
        return RouteCosts(self.cost_input.data, self.cost_output.data, parse_costs(self.further_costs.data or ""))


class NewRouteForm(SingleUseForm, RouteForm):
    """A form that adds a channel to a model. The view sets the choices of `channel`."""

    channel = SelectField(lazy_gettext("Channel"), choices=[])


class ChannelRuleForm(LocalizedForm):
    """When a channel is flagged, and whether it is paused then."""

    margin_floor = WholeNumber(
        lazy_gettext("Margin floor (percent)"), description=lazy_gettext("Flagged if the margin of a day's calls is lower.")
    )
    count_tolerance = WholeNumber(
        lazy_gettext("Token count tolerance (percent)"),
        description=lazy_gettext("Flagged if the provider's counts of a day differ from ours by more."),
    )
    pauses_when_flagged = BooleanField(lazy_gettext("Pause when flagged"))


class ProbeRuleForm(LocalizedForm):
    """How a channel is compared with reference channels, or whether it is one."""

    is_reference = BooleanField(lazy_gettext("Reference: other channels of its models are compared with it"))
    daily_probes = WholeNumber(
        lazy_gettext("Probes per day"), description=lazy_gettext("Three short calls each, for all models together. 0 for none.")
    )
    daily_probe_credits = WholeNumber(
        lazy_gettext("Maximum cost per day (credits)"),
        description=lazy_gettext("What you pay the providers for a day's probes, as far as their costs are known."),
    )
    lowers_weight_when_different = BooleanField(lazy_gettext("Lower the weight of models that are different"))


class ChannelForm(LocalizedForm):
    """The base URL, dialect and settings of a channel."""

    base_url = StringField(
        lazy_gettext("Base URL"),
        [InputRequired(lazy_gettext("Enter a URL, such as https://api.example.com/v1.")), Length(max=500)],
    )
    settings = TextAreaField(
        lazy_gettext("Provider settings"),
        [Length(max=10_000)],
        default="{}",
        description=lazy_gettext("A JSON object. {} for none."),
    )

    def validate_settings(self, field: Any) -> None:
        """Require a JSON object. Empty is allowed."""
        try:
            read_settings(field.data or "")
        except InvalidInput as problem:
            raise ValidationError(str(problem)) from None

    def provider_settings(self) -> dict[str, Any]:
        """Return the provider settings, decoded."""
        return read_settings(self.settings.data or "")


class NewChannelForm(SingleUseForm, ChannelForm):
    """A channel with its secret, which is never shown again."""

    name = StringField(lazy_gettext("Name"), [InputRequired(lazy_gettext("Enter a name.")), Length(max=100)])
    dialect = SelectField(lazy_gettext("Dialect"), choices=list(DIALECTS))
    secret = PasswordField(
        lazy_gettext("Secret"),
        [Optional(), Length(max=10_000)],
        description=lazy_gettext("Leave empty if the upstream needs none."),
    )


class AllowForm(LocalizedForm):
    """Allows a parameter that no price covers."""

    parameter = StringField(
        lazy_gettext("Parameter"),
        [InputRequired(lazy_gettext("Enter a parameter, such as plugins.")), Length(max=100)],
        description=lazy_gettext("The name in the error of refused calls."),
    )
    worst_case = StringField(
        lazy_gettext("Worst case"),
        [InputRequired(lazy_gettext("Enter the worst-case cost of a call.")), Length(max=300)],
        description=lazy_gettext("For example: 0.02 USD per call."),
    )


class DisallowForm(LocalizedForm):
    """Refuses a parameter again."""

    parameter = HiddenField(validators=[InputRequired(), Length(max=100)])


class DraftModelsForm(SingleUseForm):
    """Adds the models of the channel's provider template to the catalog."""

    markup = WholeNumber(lazy_gettext("Markup on list price (%)"))


class PauseForm(LocalizedForm):
    """Pauses a channel."""

    minutes = WholeNumber(lazy_gettext("Minutes"))
    reason = StringField(
        lazy_gettext("Reason"), [InputRequired(lazy_gettext("Enter a reason. It is shown with the channel.")), Length(max=200)]
    )


class TestCallForm(SingleUseForm):
    """A test call as a customer makes it, charged to `account`."""

    prompt = TextAreaField(
        lazy_gettext("Message"),
        [InputRequired(lazy_gettext("Enter a message.")), Length(max=8_000)],
        default="Say hello in one sentence.",
    )
    account = StringField(
        lazy_gettext("Account to charge"),
        [InputRequired(lazy_gettext("Enter the email of the account to charge.")), Length(max=254)],
    )

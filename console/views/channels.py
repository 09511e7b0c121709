"""Channels: create, edit, test, pause, enable, disable, replace the secret. Pages never select the sealed secret."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import request, url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro
from peewee import fn

from console.actions import catalog as actions
from console.charts import channel_charts, difference_chart
from console.dashboard import channel_health, channel_timeseries
from console.forms.catalog import (
    AllowForm,
    ChannelForm,
    ChannelRuleForm,
    DisallowForm,
    DraftModelsForm,
    NewChannelForm,
    PauseForm,
    ProbeRuleForm,
)
from console.forms.fields import SecretForm
from console.time_ranges import DEFAULT_RANGE
from console.views.form_handling import run_action, submit_form
from console.views.list_view import Filter, ListView, bulk_action
from console.views.view import action_route, page_route
from shared.catalog.reader import channel_route, route_of
from shared.catalog.snapshot import Route
from shared.catalog.templates import TEMPLATES, ChannelTemplate, no_log_warning
from shared.core.clock import now_ms
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import DIALECTS, ENABLED_STATUSES, AIModel, Channel, ChannelCheck, ChannelModel
from shared.operations import channel_checks, model_probes
from shared.operations.channels import ALLOWED, find_channel
from shared.probes.evidence import KINDS, RUN_PROBES, THRESHOLD
from shared.text.translation import gettext, lazy_gettext, ngettext

PROBE_DAYS = 30
KIND_LABELS = {
    "answers": lazy_gettext("Answers"),
    "token_counts": lazy_gettext("Token counts"),
    "logprobs": lazy_gettext("Log probabilities"),
    "tool_calls": lazy_gettext("Tool calls"),
    "choices": lazy_gettext("Choices"),
}
_SHOWN = [field for field in Channel._meta.sorted_fields if field.name != "sealed_secret"]


class ChannelsView(ListView):
    model = Channel
    row_name = "name"
    list_template = "channels/list.html"
    column_list = ("name", "status", "health", "failed", "models", "dialect", "base_url", "has_secret", "updated_at")
    column_labels = {
        "name": lazy_gettext("Channel"),
        "status": lazy_gettext("State"),
        "health": lazy_gettext("Last 24 h"),
        "failed": lazy_gettext("Failed"),
        "models": lazy_gettext("Models"),
        "dialect": lazy_gettext("Dialect"),
        "base_url": lazy_gettext("Base URL"),
        "has_secret": lazy_gettext("Secret"),
        "updated_at": lazy_gettext("Changed"),
    }
    column_sortable_list = ("name", "status", "dialect", "base_url", "updated_at")
    column_default_sort = "name"
    column_searchable_list = ("name", "base_url")
    column_filters = (
        Filter(Channel.status, lazy_gettext("State"), [(status, status) for status in ENABLED_STATUSES]),
        Filter(Channel.dialect, lazy_gettext("Dialect"), [(dialect, dialect) for dialect in DIALECTS]),
    )
    column_formatters = {column: macro(f"{column}_cell") for column in column_list if column != "dialect"}
    column_formatters_export = {
        "health": lambda *cell: cell[2].health.state if cell[2].health else "",
        "updated_at": lambda *cell: format_timestamp(cell[2].updated_at),
    }
    right_columns = frozenset({"failed", "models"})
    clipped_columns = frozenset({"name", "base_url"})

    def get_query(self) -> Any:
        """Return the channels, without their secrets."""
        return _select()

    def add_details(self, rows: list[Any]) -> None:
        """Add the health of each channel in the last 24 hours, and its number of models."""
        counts: Any = (
            ChannelModel.select(ChannelModel.channel, fn.COUNT(ChannelModel.id))
            .where(ChannelModel.status == "active")
            .group_by(ChannelModel.channel)
            .tuples()
        )
        serving, now = dict(counts), now_ms()
        health = channel_health(DEFAULT_RANGE.span(now), now)
        flagged = {channel.id for channel, _ in channel_checks.flagged_channels()}
        different = model_probes.different_channels()
        for row in rows:
            row.flagged, row.different = row.id in flagged, row.id in different
            row.models, row.health = serving.get(row.id, 0), health.get(row.id)
            row.failed = row.health.tally.failed if row.health else 0
            row.paused = row.status == "active" and bool(row.out_until) and row.out_until > now

    @bulk_action(
        "enable",
        "channel.status",
        lazy_gettext("Enable channels"),
        lambda count: ngettext("Enable {count} channel", "Enable {count} channels", count),
        lazy_gettext("They receive calls within a second."),
    )
    def enable_selected(self, row: Channel) -> None:
        """Enable a channel."""
        actions.enable_channel(row.name)

    @bulk_action(
        "disable",
        "channel.status",
        lazy_gettext("Disable channels"),
        lambda count: ngettext("Disable {count} channel", "Disable {count} channels", count),
        lazy_gettext("New calls stop within a second. Calls in progress finish."),
    )
    def disable_selected(self, row: Channel) -> None:
        """Disable a channel."""
        actions.disable_channel(row.name)

    @page_route("/new")
    def new(self) -> ResponseReturnValue:
        template = TEMPLATES.get(request.args.get("template", ""))
        return self._new(_form_of(template) if template else NewChannelForm(formdata=None))

    @action_route("/new", "channel.edit")
    def create(self) -> ResponseReturnValue:
        form = NewChannelForm()
        done = submit_form(form, lambda: actions.create_channel(form), lambda: _url_by_name(form.name.data.strip()))
        return done or (self._new(form), 422)

    @page_route("/<uuid:channel_id>")
    def detail(self, channel_id: UUID) -> ResponseReturnValue:
        return self._page(_find(channel_id))

    @action_route("/<uuid:channel_id>/edit", "channel.edit")
    def edit(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), ChannelForm()
        done = submit_form(form, lambda: actions.update_channel(channel.name, form), _channel_url(channel_id))
        return done or (self._page(channel, edit=form), 422)

    @action_route("/<uuid:channel_id>/rule", "channel.edit")
    def rule(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), ChannelRuleForm()
        done = submit_form(form, lambda: actions.update_channel_rule(channel.name, form), _channel_url(channel_id))
        return done or (self._page(channel, rule=form), 422)

    @action_route("/<uuid:channel_id>/probes", "channel.edit")
    def probes(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), ProbeRuleForm()
        done = submit_form(form, lambda: actions.update_probe_rule(channel.name, form), _channel_url(channel_id))
        return done or (self._page(channel, probes=form), 422)

    @action_route("/<uuid:channel_id>/compare", "channel.edit")
    def restart_comparison(self, channel_id: UUID) -> ResponseReturnValue:
        channel, model = _find(channel_id), request.form.get("model", "")
        return run_action(lambda: actions.restart_comparison(channel.name, model), _channel_url(channel_id))

    @action_route("/<uuid:channel_id>/allow", "channel.edit")
    def allow(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), AllowForm()
        done = submit_form(form, lambda: actions.allow_parameter(channel.name, form), _channel_url(channel_id))
        return done or (self._page(channel, allow=form), 422)

    @action_route("/<uuid:channel_id>/disallow", "channel.edit")
    def disallow(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), DisallowForm()
        done = submit_form(form, lambda: actions.disallow_parameter(channel.name, form), _channel_url(channel_id))
        return done or (self._page(channel), 422)

    @action_route("/test", "channel.test")
    def test_all(self) -> ResponseReturnValue:
        """Test one chat model of every active channel, one after another."""
        return self.page("channels/tested.html", results=actions.test_channels(_probe_routes()))

    @action_route("/<uuid:channel_id>/test", "channel.test")
    def test(self, channel_id: UUID) -> ResponseReturnValue:
        return self.page("channels/tested.html", results=actions.test_channels(_probe_routes(_find(channel_id).id)))

    @action_route("/<uuid:channel_id>/pause", "channel.status")
    def pause(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), PauseForm()
        done = submit_form(
            form,
            lambda: actions.pause_channel(channel.name, form.minutes.required_value(), form.reason.data),
            _channel_url(channel_id),
        )
        return done or (self._page(channel, pause=form), 422)

    @action_route("/<uuid:channel_id>/resume", "channel.status")
    def resume(self, channel_id: UUID) -> ResponseReturnValue:
        channel = _find(channel_id)
        return run_action(lambda: actions.pause_channel(channel.name, 0, ""), _channel_url(channel_id))

    @action_route("/<uuid:channel_id>/enable", "channel.status")
    def enable(self, channel_id: UUID) -> ResponseReturnValue:
        channel = _find(channel_id)
        return run_action(lambda: actions.enable_channel(channel.name), _channel_url(channel_id))

    @action_route("/<uuid:channel_id>/disable", "channel.status")
    def disable(self, channel_id: UUID) -> ResponseReturnValue:
        channel = _find(channel_id)
        return run_action(lambda: actions.disable_channel(channel.name), _channel_url(channel_id))

    @action_route("/<uuid:channel_id>/secret", "channel.secret")
    def secret(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), SecretForm()
        target = _channel_url(channel.id)
        done = submit_form(form, lambda: actions.replace_channel_secret(channel.name, form.secret.data), target)
        return done or (self._page(channel, secret=form), 422)

    @action_route("/<uuid:channel_id>/drafts", "model.edit")
    def drafts(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), DraftModelsForm()
        done = submit_form(
            form,
            lambda: actions.draft_models(channel.name, form.markup.required_value()),
            url_for("models.index", show="disabled"),
        )
        return done or (self._page(channel, drafts=form), 422)

    @action_route("/<uuid:channel_id>/import", "model.edit")
    def import_models(self, channel_id: UUID) -> ResponseReturnValue:
        _find(channel_id)
        channel = Channel.get_by_id(channel_id)  # includes the sealed secret, which is used only for the request
        return run_action(lambda: actions.import_models(channel_route(channel)), url_for("models.index", show="unpriced"))

    def _new(self, form: NewChannelForm) -> str:
        return self.page("channels/new.html", form=form, templates=TEMPLATES.values())

    def _page(
        self,
        channel: Channel,
        *,
        secret: SecretForm | None = None,
        edit: ChannelForm | None = None,
        pause: PauseForm | None = None,
        drafts: DraftModelsForm | None = None,
        allow: AllowForm | None = None,
        rule: ChannelRuleForm | None = None,
        probes: ProbeRuleForm | None = None,
    ) -> str:
        routes = (
            ChannelModel.select(ChannelModel, AIModel.id, AIModel.status).join(AIModel).where(ChannelModel.channel == channel)
        )
        now = now_ms()
        span = DEFAULT_RANGE.span(now)
        quirks = json.dumps(channel.settings or {}, indent=2, ensure_ascii=False)
        return self.page(
            "channels/detail.html",
            channel=channel,
            form=secret or SecretForm(formdata=None),
            edit=edit or ChannelForm(formdata=None, base_url=channel.base_url, settings=quirks),
            pause=pause or PauseForm(formdata=None, minutes=30),
            drafts=drafts or DraftModelsForm(formdata=None, markup=20),
            allow=allow or AllowForm(formdata=None),
            allowed=(channel.settings or {}).get(ALLOWED) or {},
            rule=rule or ChannelRuleForm(formdata=None, data=channel_checks.rule_of(channel)._asdict()),
            check=_check_of(channel),
            probes=probes or ProbeRuleForm(formdata=None, data=model_probes.rule_of(channel)._asdict()),
            comparison=_comparison_of(channel, now),
            known=_template_model_count(channel),
            warning=no_log_warning(channel.dialect, channel.base_url, channel.settings or {}),
            routes=list(routes.order_by(AIModel.id)),
            charts=channel_charts(channel_timeseries(channel.id, span, now), span.step),
            words=DEFAULT_RANGE.label,
            now=now,
        )


def _check_of(channel: Channel) -> dict[str, Any] | None:
    """Return the figures of the channel's latest check, or None if it was not checked yet."""
    row = ChannelCheck.get_or_none(ChannelCheck.channel == channel)
    if row is None or row.checked_at is None:
        return None
    return {
        "row": row,
        "problems": channel_checks.describe_problems(row, channel_checks.rule_of(channel)),
        "margin": channel_checks.margin_rate(row),
        "input": channel_checks.input_difference(row),
        "output": channel_checks.output_difference(row),
    }


def _comparison_of(channel: Channel, now: int) -> dict[str, Any]:
    """Return the comparisons of a channel's models, and the results of its probes of the last days."""
    sums = model_probes.daily_sums(channel.id, now - PROBE_DAYS * model_probes.DAY_MS)
    total = model_probes.total_sums(sums)
    return {
        "models": model_probes.compared_models(channel.id),
        "kinds": [(KIND_LABELS[kind], total[kind]) for kind in KINDS if kind in total],
        "probes": total.get(model_probes.ALL_PROBES),
        "chart": difference_chart(model_probes.chart_rows(sums, now, PROBE_DAYS)),
        "days": PROBE_DAYS,
        "run_probes": RUN_PROBES,
        "threshold": THRESHOLD,
    }


def _template_model_count(channel: Channel) -> int:
    """Return how many models the template of the channel's provider lists."""
    template = TEMPLATES.get(str((channel.settings or {}).get("provider", "")))
    return len(template.models) if template else 0


def _form_of(template: ChannelTemplate) -> NewChannelForm:
    """Return the form filled in from a template. Only the operator knows the values of placeholders in braces."""
    return NewChannelForm(
        formdata=None,
        name=template.id,
        dialect=template.dialect,
        base_url=template.base_url,
        settings=json.dumps(template.channel_settings, indent=2, ensure_ascii=False),
    )


def _channel_url(channel_id: UUID) -> str:
    return url_for("channels.detail", channel_id=channel_id)


def _url_by_name(name: str) -> str:
    return _channel_url(find_channel(name).id)


def _probe_routes(channel_id: UUID | None = None) -> list[Route]:
    """Return one chat model per channel to test: of the given channel in any state, or of all active channels."""
    selected = (Channel.id == channel_id) if channel_id else ((Channel.status == "active") & (ChannelModel.status == "active"))
    links: Any = (
        ChannelModel.select(ChannelModel, Channel)
        .join(Channel)
        .switch(ChannelModel)
        .join(AIModel)
        .where(selected & (AIModel.kind == "chat"))
        .order_by(Channel.name, ChannelModel.id)
    )
    first: dict[UUID, Route] = {}
    for link in links:
        first.setdefault(link.channel.id, route_of(link))
    return list(first.values())


def _select() -> Any:
    """Select channels with `has_secret` instead of the secret."""
    return Channel.select(*_SHOWN, (Channel.sealed_secret != "").alias("has_secret"))


def _find(channel_id: UUID) -> Channel:
    channel: Channel | None = _select().where(Channel.id == channel_id).first()
    if channel is None:
        raise NotFound(gettext("No channel {channel_id}.", channel_id=channel_id))
    return channel

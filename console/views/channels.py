"""Channels: where calls are sent; switch one on and off, replace its secret. The sealed secret is never selected for a page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue
from peewee import fn

from console import actions
from console.forms import SecretForm
from console.views.submission import perform, submit
from console.views.view import View, changes, shows
from shared.errors import NotFound
from shared.models import AIModel, Channel, ChannelModel

_SHOWN = [field for field in Channel._meta.sorted_fields if field.name != "sealed_secret"]


class ChannelsView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        counts: Any = (
            ChannelModel.select(ChannelModel.channel, fn.COUNT(ChannelModel.id))
            .where(ChannelModel.status == "active")
            .group_by(ChannelModel.channel)
            .tuples()
        )
        return self.page("channels/list.html", channels=list(_select().order_by(Channel.name)), serving=dict(counts))

    @shows("/<uuid:channel_id>")
    def detail(self, channel_id: UUID) -> ResponseReturnValue:
        return self._page(_find(channel_id), SecretForm())

    @changes("/<uuid:channel_id>/enable", "channel.status")
    def enable(self, channel_id: UUID) -> ResponseReturnValue:
        channel = _find(channel_id)
        return perform(lambda: actions.enable_channel(channel.name), url_for("channels.detail", channel_id=channel_id))

    @changes("/<uuid:channel_id>/disable", "channel.status")
    def disable(self, channel_id: UUID) -> ResponseReturnValue:
        channel = _find(channel_id)
        return perform(lambda: actions.disable_channel(channel.name), url_for("channels.detail", channel_id=channel_id))

    @changes("/<uuid:channel_id>/secret", "channel.secret")
    def secret(self, channel_id: UUID) -> ResponseReturnValue:
        channel, form = _find(channel_id), SecretForm()
        target = url_for("channels.detail", channel_id=channel.id)
        done = submit(form, lambda: actions.replace_channel_secret(channel.name, form.secret.data), target)
        return done or (self._page(channel, form), 422)

    def _page(self, channel: Channel, form: SecretForm) -> str:
        routes = (
            ChannelModel.select(ChannelModel, AIModel.id, AIModel.status).join(AIModel).where(ChannelModel.channel == channel)
        )
        return self.page("channels/detail.html", channel=channel, form=form, routes=list(routes.order_by(AIModel.id)))


def _select() -> Any:
    """Channels with `has_secret` in the place of the secret."""
    return Channel.select(*_SHOWN, (Channel.sealed_secret != "").alias("has_secret"))


def _find(channel_id: UUID) -> Channel:
    channel: Channel | None = _select().where(Channel.id == channel_id).first()
    if channel is None:
        raise NotFound(f"No channel {channel_id}.")
    return channel

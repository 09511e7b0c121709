"""`/api/admin/channels/`: create, change, pause and disable channels."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import (
    BOOLEAN,
    ID,
    OPEN_OBJECT,
    PAGE,
    STRING,
    TIMESTAMP,
    described,
    enum,
    nullable,
    page_of,
    response_schema,
)
from edge.http.body_types import ClosedBody
from edge.http.paging import split_page
from shared.core.clock import now_ms
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import DIALECTS, ENABLED_STATUSES, Channel
from shared.operations.channels import (
    MAX_SECRET_LENGTH,
    create_channel,
    set_channel_status,
    update_channel,
    update_channel_secret,
)
from shared.operations.model_routes import MAX_PAUSE_MS, pause_channel
from shared.text.translation import lazy_gettext

channels = Blueprint("admin_channels", __name__)

CHANNEL_PATH = {"channel_id": described(STRING, "Id of the channel, or its name.")}
CHANNEL = response_schema(
    {
        "id": ID,
        "name": described(STRING, "Name of the channel.", "openai"),
        "dialect": described(enum(*DIALECTS), "Wire format of the provider.", "openai"),
        "base_url": described(STRING, "Base URL of the provider's API.", "https://api.openai.com/v1"),
        "has_secret": described(BOOLEAN, "Whether the channel has a secret, which is never returned.", True),
        "settings": described(OPEN_OBJECT, "The dialect's settings for the provider.", {}),
        "status": described(enum(*ENABLED_STATUSES), "`disabled` channels get no new calls.", "active"),
        "paused_until": described(nullable(TIMESTAMP), "When the pause of the channel ends; null if it is not paused."),
        "pause_reason": described(nullable(STRING), "Reason of the pause; null if it is not paused.", "quota used up"),
        "created": TIMESTAMP,
    }
)

Dialect = Literal["openai", "anthropic", "gemini", "responses"]
Secret = Annotated[str, Meta(max_length=MAX_SECRET_LENGTH)]
Url = Annotated[str, Meta(min_length=1, max_length=500)]


class NewChannel(ClosedBody, kw_only=True):
    """A channel to create."""

    EXAMPLE = {"name": "openai", "dialect": "openai", "base_url": "https://api.openai.com/v1", "secret": "sk-…"}

    name: Annotated[str, Meta(min_length=1, max_length=100, description="Name of the channel, which cannot be changed.")]
    dialect: Annotated[Dialect, Meta(description="Wire format of the provider.")]
    base_url: Annotated[Url, Meta(description="Base URL of the provider's API.")]
    secret: Annotated[Secret, Meta(description="The provider's API key; stored encrypted, and never returned.")] = ""
    settings: Annotated[dict[str, Any] | None, Meta(description="The dialect's settings for the provider.")] = None


class ChannelChanges(ClosedBody, kw_only=True):
    """The fields of a channel to change, at least one."""

    EXAMPLE = {"status": "disabled"}

    base_url: Annotated[Url | UnsetType, Meta(description="Base URL of the provider's API.")] = UNSET
    secret: Annotated[Secret | UnsetType, Meta(description="The provider's new API key.")] = UNSET
    settings: Annotated[dict[str, Any] | UnsetType, Meta(description="All settings; they replace the former ones.")] = UNSET
    status: Annotated[
        Literal["active", "disabled"] | UnsetType,
        Meta(description="`disabled` channels get no new calls; running ones finish."),
    ] = UNSET


class Pause(ClosedBody, kw_only=True):
    """How long a channel is paused."""

    EXAMPLE = {"seconds": 3600, "reason": "quota used up"}

    seconds: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_PAUSE_MS // 1000)], Meta(description="Length of the pause; 0 resumes the channel.")
    ]
    reason: Annotated[str, Meta(max_length=200, description="Reason, shown to staff. Required for a pause.")] = ""


@admin_route(
    channels,
    "GET",
    "/channels/",
    "channels:read",
    "List channels",
    returns=page_of("channels", CHANNEL),
    description="The channels, oldest first.",
    query=PAGE,
)
def list_all(call: AdminCall) -> Document:
    """List the channels."""
    limit, after = call.page
    query = Channel.select().order_by(Channel.id).limit(limit + 1)
    if after is not None:
        query = query.where(Channel.id > after)
    rows, last = split_page(list(query), limit)
    return {"channels": [channel_document(row) for row in rows], "next": str(last.id) if last is not None else None}


@admin_route(
    channels,
    "POST",
    "/channels/",
    "channels:write",
    "Create a channel",
    status=201,
    body=NewChannel,
    returns=CHANNEL,
    notes=lazy_gettext("The channel serves no calls until a route connects it to a model."),
)
def create(call: AdminCall) -> Document:
    """Create a channel."""
    body = call.body
    return channel_document(
        create_channel(
            body.name,
            body.dialect,
            body.base_url,
            body.secret,
            secret_key=call.settings.secret_key,
            settings=body.settings,
            origin=call.origin,
        )
    )


@admin_route(
    channels, "GET", "/channels/<channel_id>/", "channels:read", "Retrieve a channel", path=CHANNEL_PATH, returns=CHANNEL
)
def show(_: AdminCall, channel_id: str) -> Document:
    """Return a channel."""
    return channel_document(find_by_id_or_name(channel_id))


@admin_route(
    channels,
    "PATCH",
    "/channels/<channel_id>/",
    "channels:write",
    "Update a channel",
    path=CHANNEL_PATH,
    body=ChannelChanges,
    returns=CHANNEL,
    notes=lazy_gettext(
        "Only the fields in the body change; running calls finish with the former values. Channels are not deleted, because"
        " calls refer to them."
    ),
)
def update(call: AdminCall, channel_id: str) -> Document:
    """Update the fields in the body."""
    row, changes = find_by_id_or_name(channel_id), call.changes
    name = row.name
    update_channel(name, base_url=changes.get("base_url"), settings=changes.get("settings"), origin=call.origin)
    if "secret" in changes:
        update_channel_secret(name, changes["secret"], secret_key=call.settings.secret_key, origin=call.origin)
    if "status" in changes:
        set_channel_status(name, changes["status"], origin=call.origin)
    return channel_document(Channel.get_by_id(row.id))


@admin_route(
    channels,
    "POST",
    "/channels/<channel_id>/pause/",
    "channels:write",
    "Pause or resume a channel",
    path=CHANNEL_PATH,
    body=Pause,
    returns=CHANNEL,
    notes=lazy_gettext("A paused channel gets no new calls until the pause ends."),
)
def pause(call: AdminCall, channel_id: str) -> Document:
    """Pause a channel, or resume it."""
    name = find_by_id_or_name(channel_id).name
    return channel_document(pause_channel(name, call.body.seconds * 1000, call.body.reason, origin=call.origin))


def find_by_id_or_name(text: str) -> Channel:
    """Return the channel with this id or name. Raises `NotFound`."""
    found: Channel | None
    try:
        found = Channel.get_or_none(Channel.id == UUID(text))  # first: another channel can have it as its name
    except ValueError:
        found = None
    if found is None:
        found = Channel.get_or_none(Channel.name == text.strip())
    if found is None:
        raise NotFound(f"No channel {text!r}.")
    return found


def channel_document(row: Channel) -> Document:
    """Return a channel in the format of the API."""
    paused = row.out_until is not None and row.out_until > now_ms()
    return {
        "id": str(row.id),
        "name": row.name,
        "dialect": row.dialect,
        "base_url": row.base_url,
        "has_secret": bool(row.sealed_secret),
        "settings": row.settings or {},
        "status": row.status,
        "paused_until": format_timestamp(row.out_until) if paused else None,
        "pause_reason": row.out_reason if paused else None,
        "created": format_timestamp(row.created_at),
    }

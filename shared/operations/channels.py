"""Channels: one credential at one base URL of an upstream."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import peewee

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.models import DIALECTS, SWITCH, Channel
from shared.operations.audit import Origin, record
from shared.operations.validation import check_choice, check_text
from shared.operations.version import bump_catalog_version
from shared.secrets import seal

LONGEST_SECRET = 10_000
LONGEST_SETTINGS = 10_000  # characters of JSON


def find_channel(name: str) -> Channel:
    """The channel of this name. Raises `NotFound`."""
    channel = Channel.get_or_none(Channel.name == name.strip())
    if channel is None:
        raise NotFound(f"No channel {name!r}; `yout channel create` makes one.")
    return channel


def create_channel(
    name: str,
    dialect: str,
    base_url: str,
    secret: str,
    *,
    secret_key: str,
    settings: dict[str, Any] | None = None,
    actor: str,
    address: str = "",
) -> Channel:
    """Make a channel. It serves nothing until a model is put on it.

    `secret` is what the vendor gave, empty for an upstream that asks for none; it is sealed with the installation's
    `secret_key`. `settings` are the vendor's quirks, a JSON object that the dialect understands.
    """
    name = check_text("name of the channel", name, 100)
    check_choice("dialect", dialect, DIALECTS)
    base_url = check_base_url(base_url)
    settings = _check_settings(settings)
    sealed = seal(_check_secret(secret), secret_key)
    with transaction():
        try:
            channel = Channel.create(
                name=name, dialect=dialect, base_url=base_url, sealed_secret=sealed, settings=settings
            )  # fmt: skip
        except peewee.IntegrityError:
            raise InvalidInput(
                f"A channel {name!r} exists already. Change its address or secret in the console, or take another name."
            ) from None
        record(Origin(actor, address), "channel.create", name, after={"dialect": dialect, "base_url": base_url})
        bump_catalog_version()
        return channel


def update_channel(
    name: str, *, base_url: str | None = None, settings: dict[str, Any] | None = None, actor: str, address: str = ""
) -> Channel:
    """Change where a channel sends its calls, or the vendor's quirks. None leaves a value as it is."""
    changes: dict[str, Any] = {}
    if base_url is not None:
        changes["base_url"] = check_base_url(base_url)
    if settings is not None:
        changes["settings"] = _check_settings(settings)
    return _change(name, changes, "channel.update", Origin(actor, address))


def set_channel_status(name: str, status: str, *, actor: str, address: str = "") -> Channel:
    """Switch a channel on (`active`) or off (`disabled`). Calls that are running on it finish."""
    check_choice("status", status, SWITCH)
    return _change(name, {"status": status}, "channel.status", Origin(actor, address))


def update_channel_secret(name: str, secret: str, *, secret_key: str, actor: str, address: str = "") -> Channel:
    """Replace a channel's secret. The trail tells that it changed, never what it was."""
    sealed = seal(_check_secret(secret), secret_key)
    with transaction():
        channel = find_channel(name)
        channel.sealed_secret, channel.updated_at = sealed, now_ms()
        channel.save(only=[Channel.sealed_secret, Channel.updated_at])
        record(Origin(actor, address), "channel.secret", channel.name)
        bump_catalog_version()
        return channel


def check_base_url(text: str) -> str:
    """The base URL without a slash at its end.

    Raises `InvalidInput` unless it is http or https with a host, and without credentials, query and fragment: a key in the
    address would end up in logs.
    """
    text = check_text("base URL", text, 500).rstrip("/")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or " " in text:
        raise InvalidInput(f"The base URL must look like https://host/v1, not {text!r}.")
    if parts.username is not None or "?" in text or "#" in text:
        raise InvalidInput("The base URL must hold no user, password, query or fragment; the secret is given apart.")
    return text


def _change(name: str, changes: dict[str, Any], action: str, origin: Origin) -> Channel:
    """Store what differs in `changes`, with its trail; nothing if nothing does."""
    with transaction():
        channel = find_channel(name)
        before = {field: getattr(channel, field) for field in changes}
        if before != changes:
            changes["updated_at"] = now_ms()
            Channel.update(changes).where(Channel.id == channel.id).execute()
            record(origin, action, channel.name, before=before, after=changes)
            bump_catalog_version()
        return Channel.get_by_id(channel.id)


def _check_secret(secret: str) -> str:
    """A secret goes into an HTTP header: one line of printable ASCII."""
    if not secret:
        return ""
    secret = check_text("secret", secret, LONGEST_SECRET)
    if not secret.isascii():
        raise InvalidInput("The secret must be ASCII; was it copied whole?")
    return secret


def _check_settings(settings: dict[str, Any] | None) -> dict[str, Any]:
    try:
        text = json.dumps(settings or {}, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise InvalidInput(f"The channel's settings are not JSON: {problem}.") from None
    if len(text) > LONGEST_SETTINGS:
        raise InvalidInput(f"The channel's settings must be at most {LONGEST_SETTINGS} characters of JSON.")
    return settings or {}

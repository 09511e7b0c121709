"""Channels: a credential and base URL at a provider."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import orjson
import peewee

from shared.catalog.templates import with_no_log_signals
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.core.secrets import seal
from shared.models import DIALECTS, ENABLED_STATUSES, Channel
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.validation import check_choice, check_name, check_text
from shared.text.plain_text import find_unstorable_field, truncate
from shared.text.translation import lazy_gettext

MAX_SECRET_LENGTH = 10_000
MAX_REASONING_TOKENS = 1_000_000  # of a choice
MAX_SETTINGS_LENGTH = 10_000  # characters of JSON
ALLOWED = "allowed_parameters"  # channel setting: parameters that no price covers
MAX_PARAMETER_LENGTH = 100
MAX_NOTE_LENGTH = 300


def find_channel(name: str) -> Channel:
    """Return the channel with this name. Raises `NotFound`."""
    channel = Channel.get_or_none(Channel.name == name.strip())
    if channel is None:
        raise NotFound(lazy_gettext("No channel {name!r}. Create it with `yout channel create`.", name=name))
    return channel


def create_channel(
    name: str,
    dialect: str,
    base_url: str,
    secret: str,
    *,
    secret_key: str,
    settings: dict[str, Any] | None = None,
    origin: Origin,
) -> Channel:
    """Create a channel. It serves no calls until a model is added.

    `secret` is the provider's API key, empty if none is needed; it is encrypted with the installation's `secret_key`. `settings`
    are the dialect's settings for the provider (`docs/dialects.md`). The no-log signals of a known provider are added.
    """
    name = check_name("name of the channel", name, 100)
    check_choice("dialect", dialect, DIALECTS)
    base_url = check_base_url(base_url)
    settings = check_settings(with_no_log_signals(dialect, base_url, check_settings(settings)))
    sealed = seal(_check_secret(secret), secret_key)
    with transaction():
        try:
            channel = Channel.create(
                name=name, dialect=dialect, base_url=base_url, sealed_secret=sealed, settings=settings
            )  # fmt: skip
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext(
                    "A channel {name!r} already exists. Change its base URL or secret in the console, or choose another name.",
                    name=name,
                )
            ) from None
        created = {"dialect": dialect, "base_url": base_url}
        if settings.get(ALLOWED):
            created[ALLOWED] = settings[ALLOWED]
        record_audit_entry(origin, "channel.create", name, after=created)
        bump_catalog_version()
        return channel


def update_channel(name: str, *, base_url: str | None = None, settings: dict[str, Any] | None = None, origin: Origin) -> Channel:
    """Change a channel's base URL or settings. None leaves a value unchanged."""
    changes: dict[str, Any] = {}
    if base_url is not None:
        changes["base_url"] = check_base_url(base_url)
    if settings is not None:
        changes["settings"] = check_settings(settings)
    return _change(name, changes, "channel.update", origin)


def allow_parameter(name: str, parameter: str, note: str, *, origin: Origin) -> Channel:
    """Let calls of a channel use a parameter that no price covers. `note` states the worst-case cost of a call.

    The parameter is named as in `shared.billing.cost_effects`, or is a field that is not listed there.
    """
    parameter = check_text("parameter", parameter, MAX_PARAMETER_LENGTH)
    note = check_text("worst case", note, MAX_NOTE_LENGTH)
    return _change_allowed(name, parameter, note, origin)


def disallow_parameter(name: str, parameter: str, *, origin: Origin) -> Channel:
    """Refuse a parameter again if no price covers it. Running calls finish."""
    return _change_allowed(name, parameter, None, origin)


def _change_allowed(name: str, parameter: str, note: str | None, origin: Origin) -> Channel:
    with transaction():
        channel = find_channel(name)
        settings = dict(channel.settings or {})
        before = dict(settings.get(ALLOWED) or {})
        after = {one: text for one, text in before.items() if one != parameter} | ({parameter: note} if note is not None else {})
        if after == before:
            return channel
        settings = check_settings({**{key: value for key, value in settings.items() if key != ALLOWED}, ALLOWED: after})
        if not after:
            del settings[ALLOWED]
        Channel.update(settings=settings, updated_at=now_ms()).where(Channel.id == channel.id).execute()
        record_audit_entry(origin, "channel.allow", channel.name, before={ALLOWED: before}, after={ALLOWED: after})
        bump_catalog_version()
        return Channel.get_by_id(channel.id)


def set_channel_status(name: str, status: str, *, origin: Origin) -> Channel:
    """Enable (`active`) or disable (`disabled`) a channel. Running calls finish."""
    check_choice("status", status, ENABLED_STATUSES)
    return _change(name, {"status": status}, "channel.status", origin)


def update_channel_secret(name: str, secret: str, *, secret_key: str, origin: Origin) -> Channel:
    """Replace a channel's secret. The audit log does not contain the secret."""
    sealed = seal(_check_secret(secret), secret_key)
    with transaction():
        channel = find_channel(name)
        channel.sealed_secret, channel.updated_at = sealed, now_ms()
        channel.save(only=[Channel.sealed_secret, Channel.updated_at])
        record_audit_entry(origin, "channel.secret", channel.name)
        bump_catalog_version()
        return channel


def read_settings(text: str) -> dict[str, Any]:
    """Parse a channel's settings from JSON text; an empty text means none. Raises `InvalidInput`."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidInput(lazy_gettext("The settings are not valid JSON: {error}.", error=error)) from None
    if not isinstance(found, dict):
        raise InvalidInput(lazy_gettext("The settings must be a JSON object."))
    return check_settings(found)


def check_base_url(text: str) -> str:
    """Return the base URL without trailing slashes.

    Raises `InvalidInput` unless it is an http or https URL with a host and without credentials, query or fragment: secrets in
    URLs would end up in logs.
    """
    text = check_text("base URL", text, 500).rstrip("/")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or " " in text:
        raise InvalidInput(lazy_gettext("The base URL must look like https://host/v1, not {text!r}.", text=text))
    if parts.username is not None or "?" in text or "#" in text:
        raise InvalidInput(
            lazy_gettext("The base URL must not contain a user, password, query or fragment. Enter the secret separately.")
        )
    return text


def _change(name: str, changes: dict[str, Any], action: str, origin: Origin) -> Channel:
    """Store the values in `changes` that differ, with an audit entry."""
    with transaction():
        channel = find_channel(name)
        before = {field: getattr(channel, field) for field in changes}
        if before != changes:
            changes["updated_at"] = now_ms()
            Channel.update(changes).where(Channel.id == channel.id).execute()
            record_audit_entry(origin, action, channel.name, before=before, after=changes)
            bump_catalog_version()
        return Channel.get_by_id(channel.id)


def _check_secret(secret: str) -> str:
    """Validate a secret, which is sent in an HTTP header: one line of printable ASCII."""
    if not secret:
        return ""
    secret = check_text("secret", secret, MAX_SECRET_LENGTH)
    if not secret.isascii():
        raise InvalidInput(lazy_gettext("The secret must be ASCII. Check that you copied it correctly."))
    return secret


def check_settings(settings: dict[str, Any] | None) -> dict[str, Any]:
    """Validate settings: JSON without NaN, infinity, lone surrogates and integers over 64 bits. Raises `InvalidInput`."""
    try:
        text = json.dumps(settings or {}, allow_nan=False)
        orjson.dumps(settings)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(lazy_gettext("The channel's settings are not valid JSON: {error}.", error=error)) from None
    if len(text) > MAX_SETTINGS_LENGTH:
        raise InvalidInput(
            lazy_gettext(
                "The channel's settings must be at most {maximum} characters of JSON.",
                maximum=MAX_SETTINGS_LENGTH,
            )
        )
    if (name := find_unstorable_field((settings or {}).items())) is not None:
        raise InvalidInput(
            lazy_gettext("The setting {name!r} contains a NUL character, which is not allowed.", name=truncate(name, 100))
        )
    _check_reasoning(settings or {})
    _check_allowed((settings or {}).get(ALLOWED, {}))
    return settings or {}


def _check_allowed(allowed: Any) -> None:
    """Raise `InvalidInput` unless each allowed parameter has a note of its worst case."""
    if not isinstance(allowed, dict) or not all(
        0 < len(name) <= MAX_PARAMETER_LENGTH and isinstance(note, str) and 0 < len(note.strip()) <= MAX_NOTE_LENGTH
        for name, note in allowed.items()
    ):
        raise InvalidInput(
            lazy_gettext(
                "{name} must be an object that has the worst-case cost of a call for each parameter, such as {example}.",
                name=ALLOWED,
                example='{"plugins": "0.02 USD a call"}',
            )
        )


def _check_reasoning(settings: dict[str, Any]) -> None:
    """Calls are priced by this setting."""
    value = settings.get("reasoning_tokens_limit", 0)
    for tokens in value.values() if isinstance(value, dict) else (value,):
        if type(tokens) is not int or not 0 <= tokens <= MAX_REASONING_TOKENS:
            raise InvalidInput(
                lazy_gettext(
                    "reasoning_tokens_limit must be a whole number from 0 to {maximum}, or an object of such numbers by model.",
                    maximum=MAX_REASONING_TOKENS,
                )
            )

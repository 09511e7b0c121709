"""No-log signals: fields and headers that ask a provider not to store calls or train on them. Pure.

They come from the channel templates. A provider is recognized by the host of the base URL.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from shared.catalog.templates.providers import TEMPLATES, ChannelTemplate
from shared.text.translation import gettext, lazy_gettext, translated

_SENT = ("body", "headers")  # channel settings that contain signals
_CHECKED = ("deny", "allow")  # values of `data_collection` with which staff confirm the provider's policy
_CONFIRM = lazy_gettext(
    "Then set `data_collection` to `deny` if the provider does not store calls or train on them, or to `allow` otherwise."
)
Settings = Mapping[str, Any]


def with_no_log_signals(dialect: str, base_url: str, settings: Settings) -> dict[str, Any]:
    """Return channel settings with the no-log signals of the base URL's provider. Values in `settings` take precedence."""
    template = _template_of(dialect, base_url)
    if template is None:
        return dict(settings)
    made = _merged(_signals(template), settings)
    policy = template.settings.get("data_collection")
    return {"data_collection": policy, **made} if policy and _sends(made, _signals(template)) else made


def no_log_warning(dialect: str, base_url: str, settings: Settings) -> str | None:
    """Return a warning, in the current language, if a channel sends no known no-log signal and has no `data_collection`."""
    if settings.get("data_collection") in _CHECKED or is_private(base_url):
        return None
    template = _template_of(dialect, base_url)
    if template is None:
        host = urlsplit(base_url).hostname
        unknown = gettext(
            "No no-log signal is known for {host}. If its documentation has one, add it to `body` or `headers`.", host=host
        )
        return f"{unknown} {translated(_CONFIRM)}"
    signals = _signals(template)
    if signals:
        return None if _sends(settings, signals) else f"{_not_sent(template)} {translated(template.note)}"
    none = gettext("{provider} has no no-log signal.", provider=template.name)
    return " ".join([none, translated(template.note), gettext("Check your account and contract."), translated(_CONFIRM)])


def _not_sent(template: ChannelTemplate) -> str:
    return gettext("The no-log signal of {provider} is not sent.", provider=template.name)


def _signals(template: ChannelTemplate) -> dict[str, Any]:
    return {name: template.settings[name] for name in _SENT if name in template.settings}


def _template_of(dialect: str, base_url: str) -> ChannelTemplate | None:
    """Return the template with the host of the base URL, preferably one of the same dialect."""
    host = urlsplit(base_url).hostname or ""
    found = [template for template in TEMPLATES.values() if _is_host(host, template.base_url) and not is_private(base_url)]
    return next((template for template in found if template.dialect == dialect), found[0] if found else None)


def _is_host(host: str, template_url: str) -> bool:
    """Return whether a host is that of a template's URL, which may begin with a placeholder."""
    pattern = urlsplit(template_url.replace("{", "").replace("}", "")).hostname or ""
    if "{" not in template_url:
        return host == pattern
    _, dot, domain = pattern.partition(".")
    return bool(dot) and host.endswith(dot + domain)


def is_private(base_url: str) -> bool:
    """Return whether a base URL is on the operator's own network."""
    host = urlsplit(base_url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
    return address.is_private


def _sends(settings: Settings, signals: Settings) -> bool:
    """Return whether settings contain all signals, with their values."""
    return all(
        _sends(settings[name], value)
        if isinstance(value, dict) and isinstance(settings.get(name), dict)
        else settings.get(name) == value
        for name, value in signals.items()
    )


def _merged(defaults: Settings, own: Settings) -> dict[str, Any]:
    """Return `own` with the missing keys of `defaults`, including those of nested objects."""
    made = {**defaults, **own}
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(own.get(name), dict):
            made[name] = _merged(value, own[name])
    return made

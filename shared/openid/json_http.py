"""Requests to an identity provider that answers with JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson

from shared.core.errors import OpenIdUnavailable, OutboundFailed, OutboundRefused, SignInFailed
from shared.safe_http import OutboundPolicy, SafeHttpClient, Timeouts
from shared.text.translation import lazy_gettext

log = logging.getLogger("yout.openid")

TIMEOUTS = Timeouts(total_seconds=10, idle_seconds=5)
MAX_BYTES = 1_000_000
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
REFUSED = lazy_gettext("The identity provider did not confirm this sign-in. Try again.")


class JsonHttp:
    """A client for a provider at these `trusted` URLs, which may be at a private address. Thread-safe."""

    def __init__(self, policy: OutboundPolicy, trusted: tuple[str, ...]) -> None:
        self._http = SafeHttpClient(policy, trusted=trusted)

    def request(self, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Any:
        """Return the JSON value that the provider answers with.

        Raises `SignInFailed` for an error 4xx to a `body`, otherwise `OpenIdUnavailable`.
        """
        exchange = (
            self._http.get(url, max_bytes=MAX_BYTES, headers=headers, limits=TIMEOUTS)
            if body is None
            else self._http.post(url, body, max_bytes=MAX_BYTES, headers=headers, limits=TIMEOUTS)
        )
        try:
            with exchange as response:
                status, content = response.status, response.read()
        except (OutboundFailed, OutboundRefused) as error:
            log.warning("the identity provider failed: %s", error)
            raise OpenIdUnavailable from None
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError:
            found = None
        if body is not None and 400 <= status < 500:
            code = found.get("error") if isinstance(found, dict) else None
            log.warning("the identity provider refused a code: status %d, error %s", status, str(code)[:60])
            raise SignInFailed(REFUSED)
        if status != 200 or found is None:
            log.warning("the identity provider answered with status %d", status)
            raise OpenIdUnavailable
        return found

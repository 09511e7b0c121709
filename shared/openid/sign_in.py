"""The authorization code flow: from the redirect to the OpenID provider to the identity that it confirms.

State, nonce and the PKCE verifier are in an encrypted cookie of the browser that began, so any process can finish the flow.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import orjson

from shared.core.clock import now_ms
from shared.core.errors import SettingsError, SignInFailed
from shared.core.secrets import seal, unseal
from shared.core.settings import Settings
from shared.openid.github import SCOPE as GITHUB_SCOPE
from shared.openid.github import GitHub
from shared.openid.identity import Identity
from shared.openid.provider import Provider
from shared.openid.registration import Registration
from shared.safe_http import policy_from_settings
from shared.text.redirects import safe_redirect
from shared.text.translation import lazy_gettext

LASTS_MS = 10 * 60 * 1000
SCOPE = "openid email"
STAFF_SCOPE = "openid email profile"  # several providers send groups with the profile
FLOW = "openid-flow"  # purpose of the key that encrypts the cookie
MAX_COOKIE_LENGTH = 4_000
MAX_NEXT_LENGTH = 1_000
MAX_GROUPS = 1_000
_EXPIRED = lazy_gettext("This sign-in has expired, or was begun in another browser. Try again.")
_CANCELLED = lazy_gettext("The sign-in was cancelled at the identity provider.")


class Flow(NamedTuple):
    """A flow that a browser has begun. `purpose` is what the result is for; `next` is the page to return to."""

    state: str
    nonce: str
    code_verifier: str
    next: str
    purpose: str
    started_at: int


class IdentityProvider(Protocol):
    """An OpenID provider (`Provider`), or one that is used like it (`GitHub`)."""

    registration: Registration

    @property
    def name(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    def authorization_url(self, redirect_uri: str, scope: str, state: str, nonce: str, code_verifier: str) -> str: ...
    def redeem(self, code: str, redirect_uri: str, nonce: str, code_verifier: str) -> tuple[dict[str, Any], str]: ...
    def user_info(self, access_token: str, subject: str) -> dict[str, Any]: ...


class OpenIdSignIn:
    """Sign-in through one provider. Methods raise `OpenIdUnavailable` and `SignInFailed`."""

    def __init__(self, provider: IdentityProvider, secret_key: str, scope: str = SCOPE, groups_claim: str = "") -> None:
        self.provider = provider
        self._secret_key, self._scope, self._groups_claim = secret_key, scope, groups_claim
        self._purpose = f"{FLOW} {provider.registration.issuer}"  # a flow works only with the provider that it began with

    @property
    def provider_name(self) -> str:
        """The provider's name on pages."""
        return self.provider.name

    def begin(self, redirect_uri: str, next: str | None, purpose: str = "") -> tuple[str, str]:
        """Return the provider's URL for the browser, and the cookie's value."""
        target = safe_redirect(next, "")
        target = target if len(target) <= MAX_NEXT_LENGTH else ""
        state, nonce, code_verifier = (secrets.token_urlsafe(32) for _ in range(3))
        flow = Flow(state, nonce, code_verifier, target, purpose, now_ms())
        url = self.provider.authorization_url(redirect_uri, self._scope, flow.state, flow.nonce, flow.code_verifier)
        return url, seal(orjson.dumps(list(flow)).decode(), self._secret_key, self._purpose)

    def open(self, cookie: str, query: Mapping[str, str]) -> Flow:
        """Return the flow that the provider's redirect, with these parameters, belongs to. Raises `SignInFailed`."""
        flow = self._read(cookie)
        given = query.get("state", "").encode(errors="replace")
        if flow is None or not hmac.compare_digest(flow.state.encode(), given):
            raise SignInFailed(_EXPIRED)
        return flow

    def finish(self, flow: Flow, query: Mapping[str, str], redirect_uri: str) -> Identity:
        """Return the identity that the provider confirms for a flow."""
        if query.get("error"):
            raise SignInFailed(_CANCELLED)
        if query.get("iss") and query["iss"] != self.provider.issuer:  # RFC 9207
            raise SignInFailed(_EXPIRED)
        claims, access_token = self.provider.redeem(query.get("code", ""), redirect_uri, flow.nonce, flow.code_verifier)
        wanted = ["email", *([self._groups_claim] if self._groups_claim else [])]
        if any(name not in claims for name in wanted):  # several providers send them only there
            claims = self.provider.user_info(access_token, claims["sub"]) | claims
        email = claims.get("email")
        return Identity(
            self.provider.registration.issuer,
            claims["sub"],
            email if isinstance(email, str) else "",
            (verified := claims.get("email_verified")) is True or verified == "true",  # Amazon Cognito sends a string
            _groups(claims.get(self._groups_claim)) if self._groups_claim else (),
        )

    def _read(self, cookie: str) -> Flow | None:
        if not cookie or len(cookie) > MAX_COOKIE_LENGTH or not cookie.isascii():
            return None
        try:
            flow = Flow(*orjson.loads(unseal(cookie, self._secret_key, self._purpose)))
        except SettingsError:  # not encrypted by us
            return None
        return flow if 0 <= now_ms() - flow.started_at < LASTS_MS else None


def customer_sign_in(settings: Settings) -> OpenIdSignIn | None:
    """Return the sign-in of customers, or None if no provider is configured."""
    if not settings.oidc_issuer:
        return None
    registration = Registration(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret)
    return OpenIdSignIn(Provider(registration, policy_from_settings(settings)), settings.secret_key)


def github_sign_in(settings: Settings) -> OpenIdSignIn | None:
    """Return the sign-in of customers with GitHub, or None if it is not configured."""
    if not settings.github_client_id:
        return None
    registration = Registration(settings.github_url, settings.github_client_id, settings.github_client_secret)
    return OpenIdSignIn(GitHub(registration, policy_from_settings(settings)), settings.secret_key, GITHUB_SCOPE)


def staff_sign_in(settings: Settings) -> OpenIdSignIn | None:
    """Return the sign-in of staff, or None if no provider is configured."""
    if not settings.staff_oidc_issuer:
        return None
    registration = Registration(settings.staff_oidc_issuer, settings.staff_oidc_client_id, settings.staff_oidc_client_secret)
    claim = settings.staff_oidc_groups_claim if settings.staff_oidc_roles else ""
    return OpenIdSignIn(Provider(registration, policy_from_settings(settings)), settings.secret_key, STAFF_SCOPE, claim)


def _groups(claim: Any) -> tuple[str, ...]:
    """Return the names in a claim: a list, or one name."""
    names = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return tuple(str(name) for name in names[:MAX_GROUPS])

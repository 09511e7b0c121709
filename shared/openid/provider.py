"""An OpenID provider: its configuration (discovery), signing keys, tokens and user information.

Configuration and keys are cached by each process. After a failure no request is sent to the provider for a few seconds, so that
sign-ins do not occupy all threads while it is down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from threading import Lock
from typing import Any

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from shared.core.errors import OpenIdUnavailable, SignInFailed
from shared.openid.json_http import FORM, REFUSED, JsonHttp
from shared.openid.registration import Registration
from shared.safe_http import OutboundPolicy

log = logging.getLogger("yout.openid")

CACHE_SECONDS = 3600.0
PAUSE_SECONDS = 5.0  # after a failure
CLOCK_SKEW_SECONDS = 120
# Only signatures with the provider's private key: with a shared secret (HS256), whoever has it could sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_DISCOVERY = "/.well-known/openid-configuration"
_REQUIRED = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")


class Provider:
    """A provider. Thread-safe. Methods raise `OpenIdUnavailable` if it fails, `SignInFailed` if it refuses a sign-in."""

    def __init__(self, registration: Registration, policy: OutboundPolicy) -> None:
        self.registration = registration
        self._http = JsonHttp(policy, (registration.issuer,))
        self._lock = Lock()
        self._configuration: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._read_at = 0.0
        self._paused_until = 0.0

    def authorization_url(self, redirect_uri: str, scope: str, state: str, nonce: str, code_verifier: str) -> str:
        """Return the URL to redirect the browser to."""
        url: str = prepare_grant_uri(
            self._discover()["authorization_endpoint"],
            self.registration.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=scope,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(code_verifier),
            code_challenge_method="S256",
        )
        return url

    def redeem(self, code: str, redirect_uri: str, nonce: str, code_verifier: str) -> tuple[dict[str, Any], str]:
        """Exchange an authorization code. Returns the verified claims of the ID token, and the access token ("" if none)."""
        configuration, (_, client_id, secret) = self._discover(), self.registration
        methods = configuration.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "client_secret_post" if "client_secret_basic" not in methods else "client_secret_basic"
        authentication = ClientAuth(client_id, secret, method if secret else "none")
        sent = prepare_token_request("authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=code_verifier)
        url, headers, body = authentication.prepare("POST", configuration["token_endpoint"], dict(FORM), sent)
        tokens = self._request(url, headers, body.encode())
        if not isinstance(tokens.get("id_token"), str):
            log.warning("the OpenID provider returned no ID token")
            raise SignInFailed(REFUSED)
        return self._verify(tokens["id_token"], nonce), str(tokens.get("access_token") or "")

    def user_info(self, access_token: str, subject: str) -> dict[str, Any]:
        """Return the claims of the UserInfo endpoint; {} if there is none, or if they are about another subject."""
        url = self._discover().get("userinfo_endpoint")
        if not url or not access_token:
            return {}
        claims = self._request(url, {"authorization": f"Bearer {access_token}", "accept": "application/json"})
        return claims if claims.get("sub") == subject else {}  # OpenID Connect Core, 5.3.2

    @property
    def name(self) -> str:
        """The provider's name on pages."""
        return self.registration.host

    @property
    def issuer(self) -> str:
        """The issuer as the provider spells it in its tokens."""
        return str(self._discover()["issuer"])

    def _verify(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token after all checks of OpenID Connect Core, 3.1.3.7."""
        offered = self._discover().get("id_token_signing_alg_values_supported") or ["RS256"]
        # Without any, the library would allow its own choice, which contains HS256.
        allowed = [name for name in offered if name in ALGORITHMS] or list(ALGORITHMS)
        registry = JWSRegistry(algorithms=allowed, strict_check_header=False)
        client_id = self.registration.client_id
        try:
            try:
                decoded = jwt.decode(token, self._key_set(), registry=registry)
            except InvalidKeyIdError:  # signed with a new key
                decoded = jwt.decode(token, self._key_set(renew=True), registry=registry)
            required: dict[str, Any] = {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": client_id},
            }
            claims = CodeIDToken(decoded.claims, decoded.header, required, {"nonce": nonce, "client_id": client_id})
            claims.validate(leeway=CLOCK_SKEW_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            log.warning("an ID token of the OpenID provider was refused: %s", error)
            raise SignInFailed(REFUSED) from None
        if not isinstance(claims["sub"], str) or not 1 <= len(claims["sub"]) <= 255:
            raise SignInFailed(REFUSED)
        return dict(claims)

    def _discover(self) -> dict[str, Any]:
        with self._lock:
            if self._configuration and time.monotonic() - self._read_at < CACHE_SECONDS:
                return self._configuration
            if time.monotonic() < self._paused_until:
                return self._stale()
            try:
                found = self._request(self.registration.issuer + _DISCOVERY)
                self._check(found)
            except (OpenIdUnavailable, SignInFailed):
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                return self._stale()
            self._configuration, self._keys, self._read_at = found, None, time.monotonic()
            return found

    def _stale(self) -> dict[str, Any]:
        if not self._configuration:
            raise OpenIdUnavailable
        return self._configuration

    def _check(self, found: Mapping[str, Any]) -> None:
        """Raise `OpenIdUnavailable` for a configuration that is incomplete, or of another issuer (Discovery, 4.3)."""
        missing = [name for name in _REQUIRED if not isinstance(found.get(name), str)]
        if missing:
            log.error("the OpenID provider's configuration has no %s", ", ".join(missing))
            raise OpenIdUnavailable
        if str(found["issuer"]).rstrip("/") != self.registration.issuer:
            log.error("the OpenID provider's configuration names another issuer than the setting: %s", found["issuer"])
            raise OpenIdUnavailable

    def _key_set(self, *, renew: bool = False) -> KeySet:
        keys = self._keys
        if keys is None or renew:
            document = self._request(self._discover()["jwks_uri"])
            self._keys = keys = KeySet.import_key_set(document)  # type: ignore[arg-type]  # checked by the library
        return keys

    def _request(self, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> dict[str, Any]:
        """Return the JSON object that the provider answers with. Raises like `JsonHttp.request`."""
        found = self._http.request(url, headers, body)
        if not isinstance(found, dict):
            log.warning("the OpenID provider did not answer with an object")
            raise OpenIdUnavailable
        return found

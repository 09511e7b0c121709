"""GitHub as an identity provider. It speaks OAuth 2 without ID tokens, so the identity comes from its API.

The person is known by GitHub's numeric id, because names change. Only a primary address that GitHub has verified counts.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from shared.core.errors import OpenIdUnavailable, SignInFailed
from shared.openid.json_http import FORM, REFUSED, JsonHttp
from shared.openid.registration import Registration
from shared.safe_http import OutboundPolicy

log = logging.getLogger("yout.openid")

SCOPE = "user:email"
_API_HEADERS = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28", "user-agent": "yout"}


def api_url(url: str) -> str:
    """Return the base URL of the API of GitHub, of a company's `….ghe.com`, or of GitHub Enterprise Server."""
    parts = urlsplit(url)
    if parts.netloc == "github.com" or parts.netloc.endswith(".ghe.com"):
        return f"{parts.scheme}://api.{parts.netloc}"
    return f"{url}/api/v3"


class GitHub:
    """GitHub at the registration's `issuer`. Thread-safe. Raises `OpenIdUnavailable` and `SignInFailed` like `Provider`."""

    def __init__(self, registration: Registration, policy: OutboundPolicy) -> None:
        self.registration = registration
        self._api = api_url(registration.issuer)
        self._http = JsonHttp(policy, (registration.issuer, self._api))

    @property
    def name(self) -> str:
        """The provider's name on pages."""
        return "GitHub" if self.registration.host == "github.com" else self.registration.host

    @property
    def issuer(self) -> str:
        """The issuer that GitHub names in its redirects (RFC 9207)."""
        return f"{self.registration.issuer}/login/oauth"

    def authorization_url(self, redirect_uri: str, scope: str, state: str, nonce: str, code_verifier: str) -> str:  # noqa: ARG002  (`nonce`: only ID tokens have one)
        """Return the URL to redirect the browser to."""
        url: str = prepare_grant_uri(
            f"{self.registration.issuer}/login/oauth/authorize",
            self.registration.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=scope,
            state=state,
            code_challenge=create_s256_code_challenge(code_verifier),
            code_challenge_method="S256",
        )
        return url

    def redeem(self, code: str, redirect_uri: str, nonce: str, code_verifier: str) -> tuple[dict[str, Any], str]:  # noqa: ARG002  (like above)
        """Exchange an authorization code. Returns the person's id and verified address as OpenID claims, and the access token."""
        _, client_id, secret = self.registration
        authentication = ClientAuth(client_id, secret, "client_secret_post")
        sent = prepare_token_request("authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=code_verifier)
        address = f"{self.registration.issuer}/login/oauth/access_token"
        url, headers, body = authentication.prepare("POST", address, dict(FORM), sent)
        found = self._http.request(url, headers, body.encode())
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token:  # GitHub answers a wrong code with status 200
            log.warning("GitHub refused a code: %s", str(found.get("error") if isinstance(found, dict) else None)[:60])
            raise SignInFailed(REFUSED)
        email = self._verified_email(token)
        return {"sub": self._user_id(token), "email": email, "email_verified": bool(email)}, token

    def user_info(self, access_token: str, subject: str) -> dict[str, Any]:  # noqa: ARG002  (`redeem` has read everything)
        """Return {}: there are no further claims."""
        return {}

    def _user_id(self, token: str) -> str:
        found = self._get("/user", token)
        id = found.get("id") if isinstance(found, dict) else None
        if not isinstance(id, int) or isinstance(id, bool):
            log.warning("GitHub sent no user id")
            raise OpenIdUnavailable
        return str(id)

    def _verified_email(self, token: str) -> str:
        """Return the primary address if GitHub has verified it, otherwise ""."""
        found = self._get("/user/emails", token)
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        chosen = [row.get("email") for row in rows if row.get("primary") is True and row.get("verified") is True]
        return str(chosen[0]) if chosen and isinstance(chosen[0], str) else ""

    def _get(self, path: str, token: str) -> Any:
        return self._http.request(self._api + path, _API_HEADERS | {"authorization": f"Bearer {token}"})

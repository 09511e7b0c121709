"""Passkeys (WebAuthn): the options that browsers get, for a site's host. Pure.

User verification (a PIN or biometrics) is required, so a passkey replaces both the password and the second factor.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

CHALLENGE_BYTES = 32
TIMEOUT_MS = 5 * 60 * 1000  # time for the person to use the authenticator
ALGORITHMS = (-7, -257, -8)  # ES256, RS256, EdDSA
RP_NAME = "yout"


def new_challenge() -> str:
    """Return a random challenge in base64url."""
    return encode(secrets.token_bytes(CHALLENGE_BYTES))


def relying_party(url: str) -> str:
    """Return the id of the site at `url`, or "" if browsers offer no passkeys there: over http, or with an IP address."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host if parts.scheme == "https" or host == "localhost" else ""
    return ""


def origin_of(url: str) -> str:
    """Return the origin of `url`, as browsers write it."""
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}"


def request_options(rp_id: str, challenge: str) -> dict[str, Any]:
    """Return the options of `navigator.credentials.get`. The person chooses a passkey, so they type no email address."""
    return {"challenge": challenge, "rpId": rp_id, "timeout": TIMEOUT_MS, "userVerification": "required", "allowCredentials": []}


def creation_options(rp_id: str, challenge: str, user: bytes, email: str, existing: Iterable[str]) -> dict[str, Any]:
    """Return the options of `navigator.credentials.create`. `existing` are the ids of passkeys that the person has."""
    return {
        "rp": {"name": RP_NAME, "id": rp_id},
        "user": {"id": encode(user), "name": email, "displayName": email},
        "challenge": challenge,
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
        "timeout": TIMEOUT_MS,
        "attestation": "none",
        "authenticatorSelection": {"residentKey": "required", "requireResidentKey": True, "userVerification": "required"},
        "excludeCredentials": [{"type": "public-key", "id": id} for id in existing],
    }


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of base64url without padding. Raises `ValueError`."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

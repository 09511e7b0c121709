"""Purge certificates: what a purge removed and what remains, signed as proof for third parties (`shared.core.signing`).

{"certificate": {…}, "signature": "base64", "key_id": "hex"}
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.core import signing
from shared.core.errors import InvalidInput


def sign_certificate(certificate: dict[str, Any], secret_key: str) -> dict[str, Any]:
    """Return the certificate as a signed document."""
    signature = signing.sign(certificate, secret_key, signing.PURGE_CERTIFICATE)
    return {"certificate": certificate, "signature": signature, "key_id": signing.key_id(public_key(secret_key))}


def verify_certificate(document: object, key: Ed25519PublicKey) -> dict[str, Any]:
    """Return the certificate of a signed document. Raises `InvalidInput` if it is malformed or the signature is not valid."""
    if not isinstance(document, dict) or not isinstance(document.get("certificate"), dict):
        raise InvalidInput("Not a purge certificate. Expected a JSON object with 'certificate', 'signature' and 'key_id'.")
    if document.get("key_id") != signing.key_id(key):
        raise InvalidInput(
            f"The certificate was signed with the key {str(document.get('key_id'))[:64]!r}, not {signing.key_id(key)}: by another"
            " installation, or before this one's SECRET_KEY was changed."
        )
    certificate: dict[str, Any] = document["certificate"]
    if not signing.is_valid(certificate, document.get("signature"), key):
        raise InvalidInput("The signature is invalid: the certificate was changed after it was signed.")
    return certificate


def public_key(secret_key: str) -> Ed25519PublicKey:
    """Return the public key that verifies certificates of this installation."""
    return signing.public_key(secret_key, signing.PURGE_CERTIFICATE)


def public_pem(secret_key: str) -> bytes:
    """Return the public key in PEM, for OpenSSL."""
    return signing.public_pem(public_key(secret_key))

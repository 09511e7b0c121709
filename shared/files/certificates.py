"""Purge certificates: what a purge removed and what remains, signed with Ed25519 (RFC 8032) as proof for third parties.

    {"certificate": {…}, "signature": "base64", "key_id": "hex"}

The signature covers the certificate as ASCII JSON with sorted keys and without whitespace. That is the output of `jq -cjS`, and
also of RFC 8785, because a certificate has only objects, integers and strings without escapes. `key_id` is the first 16 hex
digits of the SHA-256 of the raw public key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from shared.core.errors import InvalidInput
from shared.core.secrets import derive_key

PURPOSE = "purge-certificate"  # a label, not a secret: changing it changes the key


def sign_certificate(certificate: dict[str, Any], secret_key: str) -> dict[str, Any]:
    """Return the certificate as a signed document."""
    key = _private_key(secret_key)
    signature = base64.b64encode(key.sign(canonical_json(certificate))).decode()
    return {"certificate": certificate, "signature": signature, "key_id": _key_id(key.public_key())}


def verify_certificate(document: object, key: Ed25519PublicKey) -> dict[str, Any]:
    """Return the certificate of a signed document. Raises `InvalidInput` if it is malformed or the signature is not valid."""
    if not isinstance(document, dict) or not isinstance(document.get("certificate"), dict):
        raise InvalidInput("Not a purge certificate. Expected a JSON object with 'certificate', 'signature' and 'key_id'.")
    if document.get("key_id") != _key_id(key):
        raise InvalidInput(
            f"The certificate was signed with the key {str(document.get('key_id'))[:64]!r}, not {_key_id(key)}: by another"
            " installation, or before this one's SECRET_KEY was changed."
        )
    certificate: dict[str, Any] = document["certificate"]
    try:
        key.verify(base64.b64decode(str(document.get("signature")), validate=True), canonical_json(certificate))
    except (InvalidSignature, binascii.Error):
        raise InvalidInput("The signature is invalid: the certificate was changed after it was signed.") from None
    return certificate


def canonical_json(certificate: dict[str, Any]) -> bytes:
    """Return the bytes to sign."""
    return json.dumps(certificate, sort_keys=True, separators=(",", ":")).encode()


def public_key(secret_key: str) -> Ed25519PublicKey:
    """Return the public key that verifies certificates of this installation."""
    return _private_key(secret_key).public_key()


def public_pem(secret_key: str) -> bytes:
    """Return the public key in PEM, for OpenSSL."""
    return public_key(secret_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def parse_public_key(data: bytes) -> Ed25519PublicKey:
    """Parse a public key in PEM. Raises `InvalidInput`."""
    try:
        key = load_pem_public_key(data)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("Not an Ed25519 public key in PEM format.")
    return key


def _private_key(secret_key: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derive_key(secret_key, PURPOSE))


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

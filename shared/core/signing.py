"""Ed25519 signatures (RFC 8032) of JSON statements, with a key per purpose that is derived from SECRET_KEY.

The signature covers the statement as ASCII JSON with sorted keys and without whitespace. That is the output of `jq -cjS`, and
also of RFC 8785 if the statement has only objects, lists, integers and strings without escapes. `key_id` is the first 16 hex
digits of the SHA-256 of the raw public key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.core.errors import InvalidInput
from shared.core.lazy_import import lazy_import
from shared.core.secrets import derive_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import serialization
else:
    serialization = lazy_import("cryptography.hazmat.primitives.serialization")  # 0.6 MB; needed only to read and write keys

# Labels, not secrets. Changing a label changes the key.
PURGE_CERTIFICATE = "purge-certificate"
PROOF_REPORT = "proof-report"
LEDGER_HEADS = "ledger-heads"


def canonical_json(statement: object) -> bytes:
    """Return the bytes that a signature covers."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()


def sign(statement: object, secret_key: str, purpose: str) -> str:
    """Return the signature of a JSON statement, in base64."""
    return base64.b64encode(_private_key(secret_key, purpose).sign(canonical_json(statement))).decode()


def is_valid(statement: object, signature: object, key: Ed25519PublicKey) -> bool:
    """Return whether `signature` (base64) is the signature of `statement` by the owner of `key`.

    The decoder ignores unused bits of the last character, so the signature must also be what encoding it again returns.
    """
    try:
        decoded = base64.b64decode(str(signature), validate=True)
        key.verify(decoded, canonical_json(statement))
    except (InvalidSignature, binascii.Error):
        return False
    return base64.b64encode(decoded).decode() == signature


def public_key(secret_key: str, purpose: str) -> Ed25519PublicKey:
    """Return the public key that verifies this installation's signatures for a purpose."""
    return _private_key(secret_key, purpose).public_key()


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return a public key in PEM, for OpenSSL."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the id of a public key: 16 hex digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def parse_public_key(data: bytes) -> Ed25519PublicKey:
    """Parse a public key in PEM. Raises `InvalidInput`."""
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("Not an Ed25519 public key in PEM format.")
    return key


def _private_key(secret_key: str, purpose: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derive_key(secret_key, purpose))

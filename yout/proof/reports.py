"""Signed reports of the proofs. The last one of each kind is kept in the media store."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.core import signing
from shared.core.errors import InvalidInput
from shared.core.settings import Settings
from shared.core.timestamps import format_timestamp
from shared.files.storage import open_storage

Report = dict[str, Any]


def sign_report(kind: str, started_at: int, finished_at: int, result: Report, settings: Settings) -> Report:
    """Return a report as a signed document. Times in milliseconds UTC.

    The signature covers everything except `signature`, as canonical JSON (`shared.core.signing`).
    """
    key = signing.public_key(settings.secret_key, signing.PROOF_REPORT)
    report = {
        "id": f"yout-{kind}",
        "issuer": settings.edge_url,
        "started_at": format_timestamp(started_at),
        "finished_at": format_timestamp(finished_at),
        **result,
        "key_id": signing.key_id(key),
    }
    return {**report, "signature": signing.sign(report, settings.secret_key, signing.PROOF_REPORT)}


def store_report(kind: str, report: Report, settings: Settings) -> str:
    """Store a report as the last one of its kind, and return its name in the media store. Raises `StorageUnavailable`."""
    name = f"reports/{kind}.json"
    open_storage(settings).put_document(name, json.dumps(report, indent=1).encode() + b"\n")
    return name


def verify_report(document: object, key: Ed25519PublicKey) -> Report:
    """Return a report whose signature is valid. Raises `InvalidInput`."""
    if not isinstance(document, dict) or not str(document.get("id")).startswith("yout-") or "signature" not in document:
        raise InvalidInput("Not a report. Expected the JSON of `yout prove-cap` or `yout privacy-check`.")
    if document.get("key_id") != signing.key_id(key):
        raise InvalidInput(f"The report was signed with the key {str(document.get('key_id'))[:64]!r}, not {signing.key_id(key)}.")
    report = {name: value for name, value in document.items() if name != "signature"}
    if not signing.is_valid(report, document["signature"], key):
        raise InvalidInput("The signature is invalid: the report was changed after it was signed.")
    return document

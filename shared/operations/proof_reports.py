"""Signed reports of the proofs. The last one of each kind is kept in the media store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.core import signing
from shared.core.errors import InvalidInput, NotFound, StorageUnavailable
from shared.core.settings import Settings
from shared.core.timestamps import format_timestamp, parse_timestamp
from shared.files.storage import Storage, open_storage

Report = dict[str, Any]
# Kinds of reports, and whether the result of one is free of problems.
HAS_PASSED: Mapping[str, Callable[[Report], bool]] = {
    "prove-cap": lambda report: report["overdraft"] == report["lost"] == report["doubled"] == 0,
    "privacy-check": lambda report: report["hits"] == [],
}


class StoredReport(NamedTuple):
    """The last report of a kind, and when it was finished (ms UTC). Only `passed` and `failed` ones have both.

    state  `passed` and `failed`: the result; `missing`: there is none; `invalid`: it has no valid signature of this installation;
           `unreadable`: the media store is unavailable
    """

    kind: str
    state: Literal["passed", "failed", "missing", "invalid", "unreadable"]
    report: Report | None = None
    finished_at: int | None = None


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


def read_report(kind: str, storage: Storage, key: Ed25519PublicKey) -> StoredReport:
    """Return the last report of a kind, verified with the installation's public key."""
    try:
        data = storage.get_document(f"reports/{kind}.json")
    except NotFound:
        return StoredReport(kind, "missing")
    except StorageUnavailable:
        return StoredReport(kind, "unreadable")
    try:
        report = verify_report(json.loads(data), key)
        if report["id"] != f"yout-{kind}":
            return StoredReport(kind, "invalid")
        state: Literal["passed", "failed"] = "passed" if HAS_PASSED[kind](report) else "failed"
        return StoredReport(kind, state, report, parse_timestamp(report["finished_at"]))
    except (InvalidInput, ValueError, KeyError, TypeError):
        return StoredReport(kind, "invalid")


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

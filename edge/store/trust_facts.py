"""What `/trust` shows from the database and the media store: the last proofs, the latest seal, and how long plans keep data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from edge.store.database_reader import DatabaseReader
from shared.core import signing
from shared.core.errors import InvalidInput
from shared.core.settings import Settings
from shared.files.storage import Storage
from shared.ledger.seal import read_last_document
from shared.models import Plan
from shared.operations.proof_reports import HAS_PASSED, StoredReport, read_report

STORAGE_SECONDS = 5.0


class Seal(NamedTuple):
    """The latest seal: its signed document. `invalid`: its signature is not that of its key."""

    state: Literal["valid", "invalid", "missing"]
    document: Mapping[str, Any] | None = None


class PlanTerms(NamedTuple):
    """The days that active plans keep media and calls, if they set any, and whether a plan stores content."""

    media_days: list[int]
    usage_days: list[int]
    stores_content: bool


class TrustFacts(NamedTuple):
    """Facts as they were read; nothing here is secret."""

    reports: list[StoredReport]
    seal: Seal
    plans: PlanTerms


async def read_trust_facts(settings: Settings, storage: Storage, reader: DatabaseReader) -> TrustFacts:
    """Read the facts. If the media store is unavailable, its reports are `unreadable`. Raises `DatabaseUnavailable`."""
    key = signing.public_key(settings.secret_key, signing.PROOF_REPORT)

    def read_reports() -> list[StoredReport]:
        return [read_report(kind, storage, key) for kind in HAS_PASSED]

    try:
        reports = await asyncio.wait_for(asyncio.to_thread(read_reports), STORAGE_SECONDS)
    except TimeoutError:
        reports = [StoredReport(kind, "unreadable") for kind in HAS_PASSED]
    return TrustFacts(reports, *await reader.read(_read_database))


def _read_database() -> tuple[Seal, PlanTerms]:
    plans = list(Plan.select().where(Plan.status == "active"))
    terms = PlanTerms(
        sorted({plan.media_days for plan in plans if plan.media_days is not None}),
        sorted({plan.usage_days for plan in plans if plan.usage_days is not None}),
        any(plan.stores_content for plan in plans),
    )
    return _check_seal(read_last_document()), terms


def _check_seal(found: tuple[dict[str, Any], str] | None) -> Seal:
    if found is None:
        return Seal("missing")
    document, pem = found
    try:
        key = signing.parse_public_key(pem.encode())
        valid = signing.key_id(key) == document["key_id"] and signing.is_valid(document["head"], document["signature"], key)
    except (InvalidInput, KeyError):
        valid = False
    return Seal("valid" if valid else "invalid", document)

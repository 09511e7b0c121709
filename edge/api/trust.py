"""`GET /trust.json`: what the operator publishes for others to check, made from signed documents, settings and the catalog.

It is built at most once a minute, regardless of the number of readers. Without the setting `YOUT_TRUST_PAGE` the response is 404.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
from quart import Blueprint, Response, current_app

from edge.http.api_spec import ANYBODY, OPEN_OBJECT, STRING, TIMESTAMP, ResponseSpec, array, describe_route, response_schema
from edge.request_context import services
from edge.services import Services
from edge.store.trust_facts import PlanTerms, Seal, TrustFacts, read_trust_facts
from shared.catalog.snapshot import CatalogModel, Route
from shared.catalog.templates.no_log import is_private
from shared.core.clock import now_ms
from shared.core.errors import DatabaseUnavailable, NotFound
from shared.core.settings import Settings
from shared.core.timestamps import format_timestamp, parse_timestamp
from shared.operations.proof_reports import StoredReport
from shared.text.translation import lazy_gettext

CACHE_SECONDS = 60
MAX_PROOF_AGE_MS = 31 * 24 * 3_600_000  # older reports are marked
MAX_SEAL_AGE_MS = 2 * 24 * 3_600_000  # the ledger is sealed once a day

trust = Blueprint("trust", __name__)


class TrustReport(NamedTuple):
    """The document, its JSON, and the pages made from it for visitors, by language."""

    document: dict[str, Any]
    data: bytes
    pages: dict[str, str]


class TrustCache:
    """The report of one process."""

    def __init__(self) -> None:
        self._report: TrustReport | None = None
        self._read_again_at = 0.0
        self._lock = asyncio.Lock()

    async def read(self) -> TrustReport:
        """Return the report; the previous one if the database is unavailable. Raises `DatabaseUnavailable` without one."""
        async with self._lock:
            if self._report is None or time.monotonic() >= self._read_again_at:
                try:
                    document = await _make_document(services())
                    self._report = TrustReport(document, orjson.dumps(document), {})
                except DatabaseUnavailable:
                    if self._report is None:
                        raise
                self._read_again_at = time.monotonic() + CACHE_SECONDS
            return self._report


async def read_trust_report() -> TrustReport:
    """Return the current report. Raises `NotFound` if the operator has not turned it on, and `DatabaseUnavailable`."""
    if not services().settings.trust_page:
        raise NotFound(lazy_gettext("Page not found."))
    cache: TrustCache = current_app.extensions.setdefault("trust", TrustCache())
    return await cache.read()


@trust.get("/trust.json")
@describe_route(
    "Retrieve what can be checked",
    callers=ANYBODY,
    responses={
        200: ResponseSpec(
            response_schema(
                {
                    **{"issuer": STRING, "generated_at": TIMESTAMP, "proofs": array(OPEN_OBJECT), "ledger": OPEN_OBJECT},
                    **{"retention": array(OPEN_OBJECT), "providers": array(OPEN_OBJECT), "models": array(OPEN_OBJECT)},
                }
            ),
            "The last signed proofs, the ledger's latest seal, how long data is kept, which providers get calls, and the uptime"
            " of each model.",
        )
    },
    errors=(NotFound, DatabaseUnavailable),
    notes="404 unless the operator publishes it. The page `/trust` shows the same.",
)
async def show_trust_document() -> Response:
    """Return the report as JSON."""
    report = await read_trust_report()
    response = Response(report.data, content_type="application/json")
    response.headers["cache-control"] = f"public, max-age={CACHE_SECONDS}"
    return response


async def _make_document(found: Services) -> dict[str, Any]:
    settings, now = found.settings, now_ms()
    url = settings.edge_url  # all readers get the same document, so the Host header of one of them must not be in it
    facts = await read_trust_facts(settings, found.storage, found.slow_reader)
    figures = await found.model_health.last_day()
    models = [model for model in found.catalog.listed.values() if model.price_at(now) is not None]
    return {
        "issuer": url,
        "generated_at": format_timestamp(now),
        "proofs": [_proof(report, position, url, now) for position, report in enumerate(facts.reports)],
        "ledger": _ledger(facts.seal, url, now),
        "retention": list(_retention(settings, facts)),
        "providers": _providers(models),
        "models": [
            {"id": model.id, "kind": model.kind, "uptime": round(figures[model.id].uptime, 5) if model.id in figures else None}
            for model in models
        ],
    }


def _proof(report: StoredReport, position: int, url: str, now: int) -> dict[str, Any]:
    return {
        "kind": report.kind,
        "state": report.state,
        "finished_at": format_timestamp(report.finished_at),
        "is_old": report.finished_at is not None and report.finished_at < now - MAX_PROOF_AGE_MS,
        "report": report.report,
        "check": [
            f"curl -s {url}/trust.json | jq '.proofs[{position}].report' > report.json",
            f"curl -s {url}/.well-known/yout-report-key.pem > key.pem",
            "yout report verify report.json --key key.pem",
        ],
    }


def _ledger(seal: Seal, url: str, now: int) -> dict[str, Any]:
    head = None if seal.document is None else seal.document["head"]
    return {
        "state": seal.state,
        "is_old": head is not None and parse_timestamp(head["sealed_at"]) < now - MAX_SEAL_AGE_MS,
        "seal": seal.document,
        "check": [
            f"curl -s {url}/.well-known/yout-ledger-heads.json > heads.json",
            "yout receipt verify receipt.json --heads heads.json",
        ],
    }


def _retention(settings: Settings, facts: TrustFacts) -> Iterable[dict[str, Any]]:
    """Yield what is kept and for how long: `days`, or else `until`. `plan_days` are other periods, which plans set."""
    plans: PlanTerms = facts.plans
    yield {"data": "prompts", "days": 0}
    yield {"data": "kept_answers", "until": "two_minutes"}
    yield {"data": "media_prompts", "until": "job_end"}
    yield _by_plan("media_outputs", settings.media_days, plans.media_days)
    if plans.stores_content:
        yield {"data": "stored_content", "until": "deleted"}
    yield {"data": "shares", "until": "revoked"}
    yield _by_plan("calls", settings.usage_days, plans.usage_days)
    yield {"data": "ledger_entries", "until": "purged"}
    yield {"data": "ledger_hashes", "until": "forever"}
    yield (
        {"data": "pseudonyms", "days": settings.pseudonym_days}
        if settings.pseudonym_days
        else {
            "data": "pseudonyms",
            "until": "forever",
        }
    )


def _by_plan(data: str, default: int | None, by_plans: list[int]) -> dict[str, Any]:
    period: dict[str, Any] = {"data": data, "until": "purged"} if default is None else {"data": data, "days": default}
    others = [days for days in by_plans if days != default]
    return {**period, "plan_days": others} if others else period


def _providers(models: Iterable[CatalogModel]) -> list[dict[str, Any]]:
    """Return the channels that serve models, by their public names, without URLs, secrets and the providers' own names."""
    routes: dict[str, list[tuple[CatalogModel, Route]]] = {}
    for model in models:
        for route in model.routes:
            routes.setdefault(route.public_name, []).append((model, route))
    return [
        {
            "name": name,
            "formats": sorted({route.dialect for _, route in served}),
            "kinds": sorted({model.kind for model, _ in served}),
            "models": len({model.id for model, _ in served}),
            "stores_no_calls": all(route.zero_retention for _, route in served),
            "is_on_own_network": all(is_private(route.base_url) for _, route in served),
        }
        for name, served in sorted(routes.items())
    ]

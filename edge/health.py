"""Health checks and metrics: `/healthz` (liveness), `/readyz` (readiness of each dependency), `/metrics` (Prometheus)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import peewee
from quart import Blueprint, Response, current_app, request

from edge.http.api_spec import ANYBODY, BOOLEAN, INTEGER, PLAIN, ResponseSpec, describe_route, enum, response_schema
from edge.http.errors import RETRY_AFTER_SECONDS
from edge.services import Services
from edge.store.metrics import StoredGauges
from shared.core.errors import DatabaseUnavailable, NotFound
from shared.mail.outbox import count_overdue
from shared.metrics.access import may_read
from shared.models import Hold, MediaJob

health = Blueprint("health", __name__)
_READY = response_schema(
    {
        "status": enum("ok", "degraded", "unavailable"),
        "database": BOOLEAN,
        "database_writes": BOOLEAN,
        "redis": BOOLEAN,
        "models": INTEGER,
    }
)


@health.get("/healthz")
@describe_route(
    "Check liveness",
    callers=ANYBODY,
    responses={200: ResponseSpec(response_schema({"status": enum("ok")}), "The process is running.")},
)
async def healthz() -> Response:
    """Return 200 as long as the event loop runs."""
    return Response(b'{"status":"ok"}', content_type="application/json")


@health.get("/readyz")
@describe_route(
    "Check readiness",
    callers=ANYBODY,
    responses={
        200: ResponseSpec(_READY, "The service is ready."),
        503: ResponseSpec(_READY, "The database is unavailable or refuses writes."),
    },
)
async def readyz() -> Response:
    """Return 200 if the database accepts writes. Without Redis the service is degraded: chat works, media jobs do not."""
    services: Services = current_app.extensions["services"]
    database, redis = await asyncio.gather(services.check_database(), services.limiter.check())
    ready = database.accepts_writes
    body = {
        "status": "unavailable" if not ready else "ok" if redis else "degraded",
        "database": database.responds,
        "database_writes": database.accepts_writes,
        "redis": redis,
        "models": len(services.catalog.listed),
    }
    response = Response(orjson.dumps(body), status=200 if ready else 503, content_type="application/json")
    if not ready:
        response.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    return response


@health.get("/metrics")
@describe_route(
    "Retrieve Prometheus metrics",
    callers=ANYBODY,
    responses={200: ResponseSpec(None, "Metrics in Prometheus' text format.", (PLAIN,))},
    errors=(NotFound,),
    notes="Requires a loopback address, or the operator's token if one is set. Everyone else gets 404.",
)
async def metrics() -> Response:
    """Return metrics in Prometheus' text format, summed over all processes of this edge.

    Requires `YOUT_METRICS_TOKEN` if it is set, else a direct connection from a loopback address. Everyone else gets 404.
    """
    services: Services = current_app.extensions["services"]
    authorization = request.headers.get("authorization", "")
    if not may_read(services.settings.metrics_token, request.remote_addr or "", request.headers, authorization):
        raise NotFound("Page not found.")
    from shared.metrics.exposition import CONTENT_TYPE  # loads a library that only this route needs

    stored, state, redis = await asyncio.gather(_stored(services), services.check_database(), services.limiter.check())
    return Response(services.metrics.render(stored, state.accepts_writes, redis), content_type=CONTENT_TYPE)


async def _stored(services: Services) -> StoredGauges | None:
    """Return the gauges that are read from the database, or None while it is unavailable."""
    try:
        return await services.slow_reader.read(_read_stored)
    except DatabaseUnavailable:
        return None


def _read_stored() -> StoredGauges:
    totals = peewee.fn.COUNT(Hold.id), peewee.fn.COALESCE(peewee.fn.SUM(Hold.amount), 0)
    open_holds: Any = Hold.select(*totals).where(Hold.state == "held")
    count, credits = open_holds.tuples().get()
    unfinished = MediaJob.select().where(MediaJob.finished_at.is_null())
    return StoredGauges(int(count), int(credits), count_overdue(), int(unfinished.count()))

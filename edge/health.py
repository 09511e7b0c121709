"""Health checks and metrics: `/healthz` (liveness), `/readyz` (readiness of each dependency), `/metrics` (Prometheus)."""

from __future__ import annotations

import asyncio
import hmac

import orjson
from quart import Blueprint, Response, current_app, request

from edge.http.api_spec import ANYBODY, BOOLEAN, INTEGER, PLAIN, ResponseSpec, describe_route, enum, response_schema
from edge.http.errors import RETRY_AFTER_SECONDS
from edge.services import Services
from shared.core.errors import DatabaseUnavailable, NotFound
from shared.mail.outbox import count_overdue
from shared.text.client_address import is_loopback

PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip")  # set by proxies

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
    database, redis = await asyncio.gather(services.check_database(), services.limiter.ping())
    ready = database.accepts_writes
    body = {
        "status": "unavailable" if not ready else "ok" if redis else "degraded",
        "database": database.responds,
        "database_writes": database.accepts_writes,
        "redis": redis,
        "models": len(services.catalog.models),
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
    """Return metrics in Prometheus' text format.

    Requires `YOUT_METRICS_TOKEN` if it is set, else a direct connection from a loopback address. Everyone else gets 404.
    """
    services: Services = current_app.extensions["services"]
    token = services.settings.metrics_token
    if token:
        allowed = hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode())
    else:
        allowed = is_loopback(request.remote_addr or "") and not any(name in request.headers for name in PROXY_HEADERS)
    if not allowed:
        raise NotFound("Page not found.")
    body = services.metrics.render(len(services.inflight), services.limiter.degraded, await _overdue_mails(services))
    return Response(body, content_type="text/plain; version=0.0.4; charset=utf-8")


async def _overdue_mails(services: Services) -> int | None:
    """Return the number of emails queued for more than an hour, or None while the database is unavailable."""
    try:
        return await services.slow_reader.read(count_overdue)
    except DatabaseUnavailable:
        return None

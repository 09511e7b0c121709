"""`/healthz`: the process lives. `/readyz`: it can serve, or which part cannot. `/metrics`: its counters, not for the public."""

from __future__ import annotations

import asyncio
import hmac

import orjson
from quart import Blueprint, Response, current_app, request

from edge.http.api_spec import ANYBODY, BOOLEAN, INTEGER, PLAIN, Answer, declare, one_of, record
from edge.http.errors import RETRY_AFTER_SECONDS
from edge.services import Services
from shared.core.errors import NotFound
from shared.text.client_address import is_loopback

PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip")  # a request with one of these came through a proxy

health = Blueprint("health", __name__)
_READY = record(
    {
        "status": one_of("ok", "degraded", "unavailable"),
        "database": BOOLEAN,
        "database_writes": BOOLEAN,
        "redis": BOOLEAN,
        "models": INTEGER,
    }
)


@health.get("/healthz")
@declare("Liveness", callers=ANYBODY, answers={200: Answer(record({"status": one_of("ok")}), "The process lives.")})
async def healthz() -> Response:
    """Liveness: answers as long as the event loop turns."""
    return Response(b'{"status":"ok"}', content_type="application/json")


@health.get("/readyz")
@declare(
    "Readiness",
    callers=ANYBODY,
    answers={200: Answer(_READY, "The service is ready."), 503: Answer(_READY, "The database is unavailable or refuses writes.")},
)
async def readyz() -> Response:
    """Readiness: 200 if the database accepts the writes of a call. Without Redis it is degraded, and chat still works."""
    services: Services = current_app.extensions["services"]
    database, redis = await asyncio.gather(services.check_database(), services.limiter.ping())
    ready = database.takes_writes
    body = {
        "status": "unavailable" if not ready else "ok" if redis else "degraded",
        "database": database.answers,
        "database_writes": database.takes_writes,
        "redis": redis,
        "models": len(services.catalog.models),
    }
    response = Response(orjson.dumps(body), status=200 if ready else 503, content_type="application/json")
    if not ready:
        response.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    return response


@health.get("/metrics")
@declare(
    "Counters for Prometheus",
    callers=ANYBODY,
    answers={200: Answer(None, "The counters.", (PLAIN,))},
    refusals=(NotFound,),
    notes="Only for this machine, or with the operator's token; anybody else gets 404.",
)
async def metrics() -> Response:
    """Prometheus' text: to this machine, or to who has `YOUT_METRICS_TOKEN`. To anybody else there is no such page."""
    services: Services = current_app.extensions["services"]
    token = services.settings.metrics_token
    if token:
        allowed = hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode())
    else:
        allowed = is_loopback(request.remote_addr or "") and not any(name in request.headers for name in PROXY_HEADERS)
    if not allowed:
        raise NotFound("There is no such page.")
    body = services.metrics.render(len(services.calls), services.limiter.degraded)
    return Response(body, content_type="text/plain; version=0.0.4; charset=utf-8")

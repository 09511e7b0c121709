"""`/healthz`: the process lives. `/readyz`: it can serve, or which part cannot. `/metrics`: its counters, not for the public."""

from __future__ import annotations

import asyncio
import hmac

import orjson
from quart import Blueprint, Response, current_app, request

from edge.declare import ANYBODY, BOOLEAN, INTEGER, PLAIN, Answer, declare, one_of, record
from edge.services import Services
from shared.errors import NotFound
from shared.proxies import is_loopback

PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip")  # a request with one of these came through a proxy, from anywhere

health = Blueprint("health", __name__)
_READY = record({"status": one_of("ok", "degraded", "unavailable"), "database": BOOLEAN, "redis": BOOLEAN, "models": INTEGER})


@health.get("/healthz")
@declare("Liveness", callers=ANYBODY, answers={200: Answer(record({"status": one_of("ok")}), "The process lives.")})
async def healthz() -> Response:
    """Liveness: answers as long as the event loop turns."""
    return Response(b'{"status":"ok"}', content_type="application/json")


@health.get("/readyz")
@declare(
    "Readiness",
    callers=ANYBODY,
    answers={200: Answer(_READY, "It can serve."), 503: Answer(_READY, "The database does not answer.")},
)
async def readyz() -> Response:
    """Readiness: 200 when the database answers; a Redis that is away is told, but chat goes on without it."""
    services: Services = current_app.extensions["services"]
    database, redis = await asyncio.gather(services.database_answers(), services.limiter.ping())
    status = "ok" if database and redis else "degraded" if database else "unavailable"
    body = {"status": status, "database": database, "redis": redis, "models": len(services.catalog.models)}
    return Response(orjson.dumps(body), status=200 if database else 503, content_type="application/json")


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

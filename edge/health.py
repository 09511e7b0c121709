"""`/healthz`: the process lives. `/readyz`: it can serve; says which part cannot."""

from __future__ import annotations

import asyncio

import orjson
from quart import Blueprint, Response, current_app

from edge.services import Services

health = Blueprint("health", __name__)


@health.get("/healthz")
async def healthz() -> Response:
    """Liveness: answers as long as the event loop turns."""
    return Response(b'{"status":"ok"}', content_type="application/json")


@health.get("/readyz")
async def readyz() -> Response:
    """Readiness: 200 when the database answers; a Redis that is away is told, but chat goes on without it."""
    services: Services = current_app.extensions["services"]
    database, redis = await asyncio.gather(services.database_answers(), services.limiter.ping())
    status = "ok" if database and redis else "degraded" if database else "unavailable"
    body = {"status": status, "database": database, "redis": redis, "models": len(services.catalog.models)}
    return Response(orjson.dumps(body), status=200 if database else 503, content_type="application/json")

"""`GET /openapi.json`: the document, as this edge is reached."""

from __future__ import annotations

from quart import Blueprint, Response, current_app

from edge.http.api_spec import ANYBODY, OPEN, Answer, declare
from edge.http.public_url import edge_url
from edge.reference.document import openapi
from edge.request_context import answer

reference = Blueprint("reference", __name__)


@reference.get("/openapi.json")
@declare("This document", callers=ANYBODY, answers={200: Answer(OPEN, "OpenAPI 3.1.")})
async def show_document() -> Response:
    """Every declared route."""
    return answer(openapi(current_app, current_app.extensions["surfaces"], edge_url()))

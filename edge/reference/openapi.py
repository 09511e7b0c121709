"""`GET /openapi.json`: the OpenAPI document of this edge."""

from __future__ import annotations

from quart import Blueprint, Response, current_app

from edge.http.api_spec import ANYBODY, OPEN, Answer, declare
from edge.http.public_url import edge_url
from edge.reference.document import openapi
from edge.request_context import answer

reference = Blueprint("reference", __name__)


@reference.get("/openapi.json")
@declare("Retrieve the OpenAPI document", callers=ANYBODY, answers={200: Answer(OPEN, "The OpenAPI 3.1 document.")})
async def show_document() -> Response:
    """Return the document with all declared routes."""
    return answer(openapi(current_app, current_app.extensions["surfaces"], edge_url()))

"""`GET /openapi.json`: the OpenAPI document of this edge."""

from __future__ import annotations

from quart import Blueprint, Response, current_app

from edge.http.api_spec import ANYBODY, OPEN_OBJECT, ResponseSpec, describe_route
from edge.http.public_url import edge_url
from edge.reference.document import openapi
from edge.request_context import json_response

reference = Blueprint("reference", __name__)


@reference.get("/openapi.json")
@describe_route(
    "Retrieve the OpenAPI document", callers=ANYBODY, responses={200: ResponseSpec(OPEN_OBJECT, "The OpenAPI 3.1 document.")}
)
async def show_document() -> Response:
    """Return the document with all declared routes."""
    return json_response(openapi(current_app, current_app.extensions["endpoints"], edge_url()))

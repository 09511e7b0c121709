"""`/playground`: a form for chat completions that shows the request as code, the raw response and the receipt."""

from __future__ import annotations

from typing import NamedTuple

from quart import Blueprint, Response

from edge.http.public_url import edge_url
from edge.request_context import services
from edge.web.models import priced_models
from edge.web.pages import page
from edge.web.web_session import page_session
from shared.billing.price_text import price_summary

playground = Blueprint("playground", __name__)
TOOLS_EXAMPLE = """[
  {
    "type": "function",
    "function": {
      "name": "get_weather",
      "description": "Return the weather in a city.",
      "parameters": {
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"]
      }
    }
  }
]"""
SCHEMA_EXAMPLE = """{
  "type": "object",
  "properties": { "answer": { "type": "string" } },
  "required": ["answer"],
  "additionalProperties": false
}"""


class ModelOption(NamedTuple):
    """A model that the caller may use. `price` is its summary in credits."""

    id: str
    is_free: bool
    price: str


@playground.get("/playground")
async def show_playground() -> Response:
    """Return the playground with the models of the member's plan, or the free ones for visitors."""
    session = page_session().session
    signed_in = session is not None and session.status == "active"
    return await page(
        "playground.html",
        signed_in=signed_in,
        models=_models(session.plan_models if session is not None and signed_in else None, free_only=not signed_in),
        base_url=f"{edge_url()}/v1",
        tools_example=TOOLS_EXAMPLE,
        schema_example=SCHEMA_EXAMPLE,
    )


def _models(plan_models: list[str] | None, *, free_only: bool) -> list[ModelOption]:
    """Return the chat models that the caller may use, those for tests last; none for visitors if they have no allowance."""
    if free_only and services().visitors.pool_credits == 0:
        return []
    return [
        ModelOption(model.id, model.is_free, price_summary(model.kind, price))
        for model, price in sorted(priced_models(), key=lambda entry: ("test" in entry[0].capabilities, entry[0].id))
        if model.kind == "chat" and (model.is_free or not free_only) and (plan_models is None or model.id in plan_models)
    ]

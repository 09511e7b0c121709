"""Helpers of the stored-response tests: an account on a plan that stores content, and a call that returns the whole response."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from openai import OpenAI
from openai.types.responses import Response

from shared.models import Account, Plan, StoredResponse, Subscription
from tests.edge.shared_edge import Sandbox

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
OUTPUT: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "Rain in Bonn."}]


def subscribe(account: Account, *, stores_content: bool = True) -> None:
    Subscription.create(account=account, plan=Plan.create(name=f"Plan {uuid4()}", stores_content=stores_content))


def create_response(client: OpenAI, sandbox: Sandbox, *, streams: bool = False, **fields: Any) -> Response:
    """The whole response; for a stream, the one in its last event."""
    fields = {"model": sandbox.model, "input": "Hi", **fields}
    if not streams:
        whole: Response = client.responses.create(**fields)
        return whole
    with client.responses.create(**fields, stream=True) as events:
        result: list[Any] = list(events)
    assert [event.sequence_number for event in result] == list(range(len(result)))
    assert result[-1].type == "response.completed"
    last: Response = result[-1].response
    return last


def stored_rows(sandbox: Sandbox) -> list[StoredResponse]:
    return list(StoredResponse.select().where(StoredResponse.account == sandbox.account).order_by(StoredResponse.id))

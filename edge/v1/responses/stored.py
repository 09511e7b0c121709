"""What would be there if responses were stored: a clear 404 under every id."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.current import key_caller
from edge.declare import KEY, declare
from shared.errors import NotFound

stored_responses = Blueprint("stored_responses", __name__, url_prefix="/v1/responses/<id>")


@stored_responses.route("", methods=["GET", "DELETE"])
@stored_responses.get("/input_items")
@stored_responses.post("/cancel")
@declare("Stored responses: none are kept", callers=KEY, answers={}, refusals=(NotFound,))
async def find_response(id: str) -> Response:
    """No response is ever found; a bad key is told first."""
    await key_caller()
    raise NotFound(
        f"There is no response '{id[:100]}': responses are not stored here. Send the earlier items in 'input' instead."
    )

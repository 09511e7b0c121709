"""`truncation: "auto"`: which messages of a conversation that is too long are left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest

from edge.call.endpoint_adapter import EndpointAdapter
from edge.v1.responses import COMPACT, RESPONSES
from edge.v1.responses.request import parse
from edge.v1.responses.truncation import Truncation, oldest_messages
from shared.catalog.snapshot import Alias, Catalog

ROLES = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}


@pytest.mark.parametrize(
    ("conversation", "excess", "kept"),
    [
        ("suauau", 0, "suauau"),
        ("suauau", 1, "suau"),
        ("suauau", 3, "su"),
        ("suauau", 99, "su"),
        ("suatuatu", 1, "suatu"),
        ("duatatat", 1, "duatat"),
        ("duatatat", 3, "duat"),
        ("duatatat", 99, "duat"),
        ("uattattatt", 1, "uattatt"),
        ("uudua", 1, "udua"),
        ("ua", 99, "ua"),
        ("a", 99, "a"),
        ("suad", 99, "sud"),
    ],
)
def test_the_oldest_messages_are_left_out_in_whole_steps(conversation: str, excess: float, kept: str) -> None:
    messages = [{"role": ROLES[letter]} for letter in conversation]
    dropped = oldest_messages(messages, [1] * len(messages), excess)
    assert "".join(letter for at, letter in enumerate(conversation) if at not in dropped) == kept


class Services:
    """The parts of the services that a truncation uses: 2 bytes are a token."""

    def __init__(self, window: int | None) -> None:
        models: Any = {"m": SimpleNamespace(context_window=window)}
        self.catalog = Catalog(1, models, None, {"alias": Alias("alias", "m", "m", None, None, 0)})
        self.counted = 0

    async def count_tokens(self, text: str) -> int:
        self.counted += 1
        return len(text) // 2


@pytest.mark.parametrize("model", ["m", "alias"])
@pytest.mark.parametrize(
    ("window", "limit", "left"),
    [
        pytest.param(None, None, 5, id="no known window"),
        pytest.param(100_000, None, 5, id="certain to fit"),
        pytest.param(4_000, None, 5, id="fits when counted"),
        pytest.param(2_100, None, 3, id="too long"),
        pytest.param(4_000, 1_900, 3, id="too long with its answer"),
        pytest.param(10, None, 1, id="nothing fits"),
    ],
)
async def test_a_call_is_truncated_to_the_models_window(window: int | None, limit: int | None, left: int, model: str) -> None:
    turn = "x" * 1_200
    items = [{"role": role, "content": turn} for role in ("user", "assistant", "user", "assistant", "user")]
    body = {"model": model, "input": items, "max_output_tokens": limit, "truncation": "auto"}
    services: Any = Services(window)
    caller: Any = None  # only calls that continue a stored response need one
    call = await Truncation(parse(orjson.dumps(body)).call, None, compacts=False).prepare_call(services, caller)
    assert len(call.body["messages"]) == left
    assert call.body["messages"][-1]["content"] == turn
    assert services.counted == (0 if window in (None, 100_000) else 1)
    assert call.input_estimate <= (window or 10**6)


@pytest.mark.parametrize("endpoint", [RESPONSES, COMPACT])
async def test_a_compaction_keeps_the_task_and_the_latest_steps(endpoint: EndpointAdapter) -> None:
    steps: list[Any] = [{"role": "user", "content": "Fix the bug."}]
    for number in range(9):
        call = {"type": "function_call", "call_id": f"c{number}", "name": "sh", "arguments": "{}"}
        steps += [call, {"type": "function_call_output", "call_id": f"c{number}", "output": "x" * 1_200}]
    body = {"model": "m", "input": [*steps, {"type": "compaction_trigger"}], "tools": [{"type": "function", "name": "sh"}]}
    extension = endpoint.parse(orjson.dumps(body), UUID(int=7)).extension
    services: Any = Services(2_100)
    caller: Any = None
    assert extension is not None
    call = await extension.prepare_call(services, caller)
    first, *others, prompt = call.body["messages"]
    assert first["content"] == "Fix the bug."
    assert [message["role"] for message in others] == ["assistant", "tool"] * (len(others) // 2)
    assert others[-1]["tool_call_id"] == "c8"
    assert 2 <= len(others) < 9
    assert "replaced by a summary" in prompt["content"]

"""Deferred tools: sent to Anthropic as they are, and to other providers once a tool result refers to them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shared.dialects.calls import request_body

Json = dict[str, Any]


def tool(name: str, **fields: Any) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}, **fields}


SEARCH, LOADED, HIDDEN = tool("search"), tool("add", defer_loading=True), tool("hidden", defer_loading=True)
REFERENCE = {"type": "tool_reference", "tool_name": "add"}


def history(*parts: Json) -> list[Json]:
    return [
        {"role": "user", "content": "Add."},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": list(parts)},
    ]


def names(dialect: str, body: Json) -> list[str]:
    if dialect == "openai":
        return [one["function"]["name"] for one in body.get("tools", ())]
    found = (
        body.get("tools", []) if dialect == "anthropic" else [f for t in body.get("tools", ()) for f in t["functionDeclarations"]]
    )
    return [one["name"] for one in found]


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
def test_only_referenced_tools_are_sent(dialect: str) -> None:
    tools = [SEARCH, LOADED, HIDDEN]
    before = request_body(dialect, tools=tools)
    after = request_body(dialect, tools=tools, messages=history(REFERENCE, {"type": "text", "text": "More."}))
    assert (names(dialect, before), names(dialect, after)) == (["search"], ["search", "add"])
    assert "defer_loading" not in str(after)
    assert "tool_reference" not in str(after)
    assert "These tools are now available: add.\\nMore." in str(after)


def test_anthropic_gets_deferred_tools_and_references() -> None:
    body = request_body("anthropic", tools=[SEARCH, LOADED, HIDDEN], messages=history(REFERENCE))
    assert [one.get("defer_loading") for one in body["tools"]] == [None, True, True]
    assert body["messages"][-1]["content"][0]["content"] == [REFERENCE]


@pytest.mark.parametrize(
    ("settings", "tools", "expected"),
    [
        pytest.param({"tool_search": False}, [SEARCH, LOADED, HIDDEN], ["search", "add"], id="not supported by the model"),
        pytest.param({}, [LOADED, HIDDEN], ["add"], id="no tool that is not deferred"),
        pytest.param({}, [SEARCH, HIDDEN], ["search"], id="a reference to a tool that is gone"),
    ],
)
def test_what_anthropic_refuses_is_sent_as_to_other_providers(settings: Json, tools: list[Json], expected: list[str]) -> None:
    body = request_body("anthropic", settings=settings, tools=tools, messages=history(REFERENCE))
    assert names("anthropic", body) == expected
    assert "defer_loading" not in str(body)
    assert "tool_reference" not in str(body)


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
def test_without_any_loaded_tool_none_is_sent(dialect: str) -> None:
    body = request_body(dialect, tools=[HIDDEN], tool_choice="auto", parallel_tool_calls=False)
    assert not {"tools", "tool_choice", "parallel_tool_calls", "toolConfig"} & body.keys()

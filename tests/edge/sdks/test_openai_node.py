"""The unmodified official Node SDK against a real edge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import factories, openai_payloads
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.node import NodeSdk
from tests.servers.process import ROOT, eventually
from tests.upstream import default_script
from tests.upstream_responses import HANG, Pause, context_too_long, error_response, stream

SCRIPTS = ROOT / "tests" / "node"


def run(sdk: NodeSdk, script: Path, sandbox: Sandbox, **env: str) -> str:
    """Run a script to its end and return what it printed."""
    done = sdk.run(script.read_text(), {"BASE_URL": sandbox.api, "API_KEY": sandbox.secret, "MODEL": sandbox.model, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_good_calls(node_sdk: NodeSdk, sandbox: Sandbox) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    tools = stream(role(), chunk(tool_calls=[call]), finish("tool_calls"), usage(7, 3), DONE)
    sandbox.provider.script(default_script, default_script, default_script, default_script, tools)
    found: Any = json.loads(run(node_sdk, SCRIPTS / "answers.mjs", sandbox))

    assert found["listed"] == [found["retrieved"]]
    assert found["retrieved"]["pricing"]["credits_per_1k_output"] == 2_000
    assert found["chat"]["choices"][0]["message"]["content"] == "Hello there."
    assert found["chat"]["yout"] == {"credits_charged": DEFAULT_COST, "balance": CREDITS - DEFAULT_COST}
    assert found["chat"]["usage"]["total_tokens"] == 10

    assert text_of(found["chunks"]) == "Hello there."
    assert [each for each in found["chunks"] if each.get("usage")] == []
    assert found["chunks"][-1]["choices"][0]["finish_reason"] == "stop"
    assert found["chunks"][-1]["yout"]["balance"] == CREDITS - 2 * DEFAULT_COST

    *chunks, last = found["counted"]
    assert text_of(chunks) == "Hello there."
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 10)
    assert last["yout"]["balance"] == CREDITS - 3 * DEFAULT_COST

    assert found["helperText"] == found["final"]["choices"][0]["message"]["content"] == "Hello there."
    assert found["finalUsage"]["total_tokens"] == 10
    [made] = found["tools"]["tool_calls"]
    assert (made["id"], made["function"]) == ("call_1", {"name": "weather", "arguments": "{}"})

    raw = found["raw"]
    assert raw["status"] == 200
    assert raw["requestId"] == raw["headers"]["x-request-id"] == f"req_{sandbox.usage()[-1].id.hex}"
    assert int(raw["headers"]["x-ratelimit-remaining-requests"]) > 0
    assert (sandbox.charged, sandbox.held) == (6 * DEFAULT_COST, 0)


def text_of(chunks: list[openai_payloads.Json]) -> str:
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks)


def test_failed_calls(node_sdk: NodeSdk, sandbox: Sandbox) -> None:
    # The pause makes the first part arrive separately; otherwise the edge would retry.
    broken = stream(role(), chunk("Hel"), Pause(0.3), openai_payloads.failure("Boom."))
    sandbox.provider.script(context_too_long(), error_response(401), broken, broken)
    poor = factories.api_key(factories.account(credits=9))[1]
    found: Any = json.loads(run(node_sdk, SCRIPTS / "failures.mjs", sandbox, POOR_KEY=poor))

    shown = {
        name: tuple(error[key] for key in ("kind", "status", "code", "param")) for name, error in found.items() if name != "part"
    }
    assert shown == {
        "wrongKey": ("AuthenticationError", 401, "invalid_api_key", None),
        "noCredits": ("APIError", 402, "insufficient_credits", None),
        "noCreditsStreaming": ("APIError", 402, "insufficient_credits", None),
        "noModel": ("NotFoundError", 404, "model_not_found", "model"),
        "badField": ("BadRequestError", 400, "invalid_request", "temperature"),
        "tooLong": ("BadRequestError", 400, "context_length_exceeded", "messages"),
        "providerFails": ("InternalServerError", 502, "upstream_error", None),
        "breaksOff": ("APIError", None, "upstream_error", None),
        "helperBreaksOff": ("APIError", None, "upstream_error", None),
    }
    assert found["part"] == "Hel"
    assert (found["noCredits"]["sent"], found["noCreditsStreaming"]["sent"]) == (1, 1), "a 402 must not be retried"
    assert found["noCredits"]["type"] == "insufficient_credits"
    with_status = [error for name, error in found.items() if name != "part" and error["status"]]
    assert [error for error in with_status if not error["requestID"]] == []
    assert sandbox.held == 0


def test_closing_a_stream(node_sdk: NodeSdk, sandbox: Sandbox) -> None:
    endless = stream(role(), chunk("Hello there, you "), HANG)
    sandbox.provider.script(endless, endless)
    assert run(node_sdk, SCRIPTS / "leaving.mjs", sandbox) == "APIUserAbortError\n"
    assert [call.wait_outcome() for call in sandbox.provider.calls] == ["disconnected", "disconnected"]
    eventually(lambda: len(sandbox.usage()) == 2, "both calls are settled")
    assert [(row.status, row.error_code, row.estimated) for row in sandbox.usage()] == [("cancelled", "client_closed", True)] * 2
    assert sandbox.charged == sum(row.credits for row in sandbox.usage()) > 0
    assert sandbox.held == 0

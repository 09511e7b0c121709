"""The edge's JSON log lines about calls and about a failing provider."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from edge.store.call_log import json_entry
from shared.core.log_format import json_line
from tests.edge.shared_edge import Sandbox, Stack
from tests.servers.process import eventually
from tests.upstream_responses import error_response


def lines(stack: Stack, **fields: Any) -> list[dict[str, Any]]:
    """The log lines with these fields."""
    parsed = [json.loads(line) for line in stack.logs().splitlines()]
    return [line for line in parsed if fields.items() <= line.items()]


def test_a_call_is_one_line_with_ids_and_statuses(sandbox: Sandbox, stack: Stack) -> None:
    sandbox.provider.script(*[error_response(500)] * 3)
    failed, done = sandbox.chat(), sandbox.chat(stream=True)
    assert (failed.status, done.status) == (502, 200)

    def line(reply: Any) -> list[dict[str, Any]]:
        return lines(stack, logger="yout.call", request_id=reply.headers["x-request-id"])

    eventually(lambda: bool(line(done) and line(failed)), "both calls are logged")
    [completed], [broken] = line(done), line(failed)
    [usage] = [row for row in sandbox.usage() if row.status == "completed"]
    expected = {
        "level": "info",
        "process": "edge",
        "account": str(sandbox.account.id),
        "key": str(usage.__data__["api_key"]),
        "surface": "/v1/chat/completions",
        "model": sandbox.model,
    }
    assert expected.items() <= completed.items()
    assert expected.items() <= broken.items()
    assert (completed["status"], completed["http_status"], completed["provider_status"]) == ("completed", 200, 200)
    assert (broken["status"], broken["http_status"], broken["provider_status"]) == ("failed", 502, 500)
    assert (broken["error"], broken["attempts"]) == ("upstream_error", 3)
    assert completed["channel"] == broken["channel"] != ""


def test_an_outage_of_a_provider_and_its_end_are_one_line_each(sandbox: Sandbox, stack: Stack) -> None:
    sandbox.provider.script(error_response(503, headers={"retry-after": "1"}))  # opens the breaker; the retry closes it
    assert [sandbox.chat().status, sandbox.chat().status] == [200, 200]
    logged = lines(stack, logger="yout.edge", model=sandbox.model)
    assert [(line["level"], line.get("provider_status")) for line in logged] == [("error", 503), ("info", None)]
    assert "fails for" in logged[0]["message"]
    assert "works again" in logged[1]["message"]
    assert logged[0]["channel"] == logged[1]["channel"] != ""


def test_a_line_of_the_call_log_has_the_common_form() -> None:
    entry = {"request_id": "req_1", "account": uuid4(), "key": None, "model": 'a "quoted" model', "status": "completed"}
    at_ms = 1_796_026_974_007
    assert json_entry(at_ms, entry) == json_line("edge", at_ms / 1000, "info", "yout.call", "call completed", entry)

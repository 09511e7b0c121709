"""Receipts: the charge can be recomputed from the receipt alone, and no content is included."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path
from uuid import uuid4

import pytest

from shared.catalog.reader import load_catalog
from shared.core.clock import now_ms
from shared.ledger.receipt_proof import check_receipt
from shared.ledger.seal import seal_ledger
from shared.models import ChannelComparison, Subscription
from shared.operations.plans import create_plan
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox, Stack
from tests.factories import ORIGIN
from tests.openai_payloads import Json, chunk, completion, role, tokens
from tests.servers.process import ROOT, eventually
from tests.upstream_responses import HANG, Gate, error_response, json_response, stream

SECRET_WORDS = "a canary in the coal mine"


def receipt(sandbox: Sandbox, id: str) -> Json:
    answer = sandbox.get(f"/api/receipts/{id}/")
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    found: Json = answer.json
    return found


def computed(found: Json) -> int:
    """Recompute the cost from the receipt's counts and price."""
    counted, price = found["tokens"], found["price"]
    uncached = counted["input"] - counted["cached_input"] - counted["cache_write"]
    thousandths = (
        uncached * price["credits_per_1k_input"]
        + counted["cached_input"] * price["credits_per_1k_cached_input"]
        + counted["cache_write"] * price["credits_per_1k_cache_write"]
        + counted["output"] * price["credits_per_1k_output"]
    )
    return int(max(price["minimum_credits"], price["credits_per_call"] - (-thousandths // 1000)))


@pytest.mark.parametrize("streamed", [False, True])
def test_the_caller_can_compute_the_hash_of_what_the_provider_got(sandbox: Sandbox, tmp_path: Path, streamed: bool) -> None:
    """With the program in the documents."""
    request = {
        "provider": {"sort": "price"},
        "model": sandbox.model,
        "messages": [{"role": "user", "content": "Grüße \U0001f30d"}],
    }
    request |= {"temperature": 0.5, "store": True, "metadata": {"tag": "x"}} | ({"stream": True} if streamed else {})
    called = sandbox.post(json.dumps(request).encode())
    assert called.status == 200
    (tmp_path / "request.json").write_text(json.dumps(request))
    (tmp_path / "receipt.json").write_text(json.dumps(receipt(sandbox, called.headers["x-request-id"])))
    [program] = re.findall(r"```python\n([^`]*request_sha256[^`]*)```", (ROOT / "docs" / "privacy.md").read_text())
    assert program == (ROOT / "edge/web/templates/docs/provider_request.txt").read_text()
    program = program.replace("gpt-4o-mini", sandbox.provider.calls[-1].json["model"])
    done = subprocess.run([sys.executable, "-Ic", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    headers = sorted(name.lower() for name in sandbox.provider.calls[-1].headers)
    added = ["stream_options"] if streamed else []
    assert done.stdout == f"same body: True\nfields added: {added}\nheaders sent: {headers}\n", done.stderr


def test_a_receipt_proves_itself(sandbox: Sandbox) -> None:
    """Before and after the day's seal. Every change of what it says is found."""
    request = {"messages": [{"role": "user", "content": SECRET_WORDS}]}
    called = sandbox.chat(**request)
    id = called.headers["x-request-id"]
    found = receipt(sandbox, id)
    assert found["request_sha256"] == hashlib.sha256(sandbox.provider.calls[-1].body).hexdigest()
    assert (check_receipt(found), found["proof"]["seal"], found["entry_hash"]) == ([], None, found["proof"]["entry"]["hash"])
    document = seal_ledger(now_ms(), "0123456789abcdef" * 2, "https://edge.example")
    sealed = receipt(sandbox, id)
    assert sealed["proof"]["seal"] == document
    assert check_receipt(sealed) == []
    published = sandbox.get("/.well-known/yout-ledger-heads.json").json
    assert document in published["heads"]
    assert check_receipt(sealed, published["keys"]) == []
    changes: list[tuple[tuple[str | int, ...], object]] = [
        (("credits_charged",), 9),
        (("tokens", "output"), 9),
        (("price", "id"), str(uuid4())),
        (("request_sha256",), None),
        (("created",), "2026-01-01T00:00:00.000Z"),
        (("service_tier",), "flex"),
        (("cost",), 9),
        (("steps",), []),
        (("steps", 0, "result"), 9),
        (("steps", 1, "tokens"), 9),
        (("steps", 1, "rate"), 9),
        (("steps", 5, "rate"), 9),
        (("steps", 6, "rate"), 9),
        (("price",), None),
        (("price", "credits_per_1k_output"), 9),
        (("price", "credits_per_call"), 9),
        (("price", "minimum_credits"), 9),
        (("request_shape", "fields"), ["model"]),
        (("request_shape", "headers"), []),
        (("request_shape", "other_fields"), 1),
        (("request_shape", "id"), "00" * 16),
        (("entry_hash",), "00" * 32),
        (("proof", "entry", "reason"), "x"),
        (("proof", "entry", "amount"), -9),
        (("proof", "leaf", "root"), "00" * 32),
        (("proof", "leaf", "seq"), 10**6),
        (("proof", "seal", "head", "sealed_at"), "2026-01-01T00:00:00Z"),
    ]
    for (*way, last), value in changes:
        changed = copy.deepcopy(sealed)
        reduce(getitem, way, changed)[last] = value
        assert check_receipt(changed) != [], (way, last)
    forged = copy.deepcopy(sealed)
    forged["model"] = forged["proof"]["entry"]["usage"][0] = "another-model"
    forged["proof"]["entry"]["salt"] = None
    assert check_receipt(forged) == ["without a salt, the entry does not show what it commits to"]


def test_a_receipt_says_when_its_channel_was_compared(sandbox: Sandbox) -> None:
    called = sandbox.chat(messages=[{"role": "user", "content": "Hello"}])
    id = called.headers["x-request-id"]
    assert receipt(sandbox, id)["comparison"] == {"result": "not_compared", "compared_at": None}
    [channel] = {route.channel for model in load_catalog().models.values() if model.id == sandbox.model for route in model.routes}
    ChannelComparison.create(
        channel=channel, model=sandbox.model, reference=channel, verdict="same", compared_at=1_800_014_400_000
    )
    assert receipt(sandbox, id)["comparison"] == {"result": "same", "compared_at": "2027-01-15T12:00:00.000Z"}


def test_a_charge_can_be_recomputed(sandbox: Sandbox) -> None:
    body = completion(SECRET_WORDS, usage=tokens(70, 21, cached=30, reasoning=5))
    sandbox.provider.script(json_response(body))
    called = sandbox.chat(messages=[{"role": "user", "content": SECRET_WORDS}])
    found = receipt(sandbox, called.headers["x-request-id"])
    assert found["credits_charged"] == found["cost"] == computed(found) == called.json["yout"]["credits_charged"] == 112
    assert found["steps"][-1]["result"] == 112
    assert [step["result"] for step in found["steps"][:3]] == [40_000, 30_000, 42_000]
    assert found["tokens"] == {
        "input": 70,
        "cached_input": 30,
        "cache_write": 0,
        "output": 21,
        "reasoning": 5,
        "estimated": False,
    }
    assert (found["request_id"], found["model"], found["status"]) == (called.headers["x-request-id"], sandbox.model, "completed")
    assert (found["attempts"], found["channel"], found["cut"], found["why"]) == (1, "openai", None, None)
    assert SECRET_WORDS not in str(found)


def test_the_receipt_of_a_call_that_was_just_cut_off_can_be_awaited(sandbox: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Half"), gate))
    running = sandbox.open()
    running.read_until(b"Half")
    id = running.received.partition(b"x-request-id: ")[2][:36].decode()
    assert sandbox.get(f"/api/receipts/{id}/").status == 404  # still running
    running.disconnect()
    found = sandbox.get(f"/api/receipts/{id}/?wait=10").json
    assert (found["status"], found["credits_charged"] > 0) == ("cancelled", True)
    gate.open()
    assert sandbox.get(f"/api/receipts/{'0' * 32}/?wait=10").status == 404  # does not wait for an unknown call
    assert sandbox.get(f"/api/receipts/{id}/?wait=11").error["param"] == "wait"


def test_the_minimum_charge_is_a_separate_step(sandbox: Sandbox) -> None:
    sandbox.provider.script(json_response(completion("Hi", usage=tokens(2, 1))))
    found = receipt(sandbox, sandbox.chat().headers["x-request-id"])
    assert found["credits_charged"] == found["cost"] == computed(found) == 10
    assert [step["result"] for step in found["steps"][-3:]] == [4, 4, 10]


def test_a_failed_call_has_a_receipt_with_no_charge(sandbox: Sandbox) -> None:
    sandbox.provider.default = lambda _: error_response(500)
    found = receipt(sandbox, sandbox.chat().headers["x-request-id"])
    assert (found["status"], found["error"], found["credits_charged"]) == ("failed", "upstream_error", 0)
    assert found["attempts"] == 3
    assert "nothing was charged" in found["why"]


def test_a_truncated_call_explains_its_charge(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    call = sandbox.open()
    call.read_until(b"Hello")
    call.disconnect()
    eventually(lambda: len(sandbox.usage()) == 1, "the call is settled")
    found = receipt(sandbox, f"req_{sandbox.usage()[0].id.hex}")
    assert (found["status"], found["error"], found["streamed"]) == ("cancelled", "client_closed", True)
    assert found["cut"]["estimated"] is True
    assert found["credits_charged"] == computed(found) == sandbox.charged


@pytest.mark.parametrize("id", ["req_", "x", "req_" + "0" * 32, "req_" + "9f" * 16, "%00"])
def test_an_unknown_id_is_not_found(sandbox: Sandbox, id: str) -> None:
    answer = sandbox.get(f"/api/receipts/{id}/")
    assert (answer.status, answer.error["code"]) == (404, "not_found")


def test_an_unknown_id_names_the_days_that_calls_are_kept(sandbox: Sandbox) -> None:
    plan = create_plan(f"kept-{sandbox.account.id}", {"usage_days": 45}, origin=ORIGIN)
    Subscription.create(account=sandbox.account, plan=plan)
    answer = sandbox.get(f"/api/receipts/req_{uuid4().hex}/")
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "Calls are deleted after 45 days" in answer.error["message"]


def test_a_receipt_of_another_account_is_not_found(stack: Stack, sandbox: Sandbox) -> None:
    theirs = sandbox.chat().headers["x-request-id"]
    other = stack.new_sandbox()
    found, random = (other.get(f"/api/receipts/{id}/") for id in (theirs, f"req_{uuid4().hex}"))
    assert (found.status, found.body) == (404, random.body)
    assert other.get(f"/api/receipts/{theirs}/", {"authorization": "Bearer yout-wrong"}).status == 401
    assert sandbox.charged == DEFAULT_COST < CREDITS

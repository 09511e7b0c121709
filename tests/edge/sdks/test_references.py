"""Item references to earlier responses, sent by the Vercel AI SDK's tool loop and directly with OpenAI's Python SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import OpenAI

from shared.models import StoredResponse
from tests import factories
from tests.edge.sdks.scripts import WEATHER_CALL, text_answer, weather_call
from tests.edge.sdks.storing import OUTPUT, WEATHER, create_response, stored_rows, subscribe
from tests.edge.sdks.test_node import run
from tests.edge.shared_edge import Sandbox
from tests.servers.node import NodeSdk

HI = {"role": "user", "content": "Hi"}
CHEAP = {"x-yout-max-credits": "100"}
RAIN = {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[OpenAI]:
    subscribe(sandbox.account)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


def reference(item: Any) -> Any:
    return {"type": "item_reference", "id": item if isinstance(item, str) else item.id}


def last_sent(sandbox: Sandbox) -> list[Any]:
    """The messages of the provider's latest call."""
    messages: list[Any] = sandbox.provider.calls[-1].json["messages"]
    return messages


@pytest.mark.parametrize("stores_content", [True, False])
@pytest.mark.parametrize("store", ["", "true", "false"])
def test_the_vercel_tool_loop(node_sdk: NodeSdk, sandbox: Sandbox, store: str, stores_content: bool) -> None:
    subscribe(sandbox.account, stores_content=stores_content)
    sandbox.provider.default = text_answer("Rain.")
    looks = weather_call(text="Let me look.", reasoning="Hmm.")
    sandbox.provider.script(looks, *[text_answer("Rain.")] * (store != "" and (store == "false" or stores_content)), looks)
    found = run(node_sdk, "vercel_store.mjs", sandbox, STORE=store)
    served = store == "false" or (store == "true" and stores_content)
    for way in ("whole", "streamed"):
        if served:
            assert found[way] == {"text": "Rain."}
        else:
            assert found[way]["status"] == 400
            assert "store" in found[way]["message"]
    if served:
        said = {"role": "assistant", "content": "Let me look.", "tool_calls": [WEATHER_CALL]}
        assert [call.json["messages"] for call in sandbox.provider.calls[1::2]] == [[HI, said, RAIN]] * 2
    assert len(stored_rows(sandbox)) == (4 if store == "true" and stores_content else 0)


@pytest.mark.parametrize("stores_content", [True, False])
def test_the_vercel_tool_loop_omits_only_reasoning_by_default(node_sdk: NodeSdk, sandbox: Sandbox, stores_content: bool) -> None:
    subscribe(sandbox.account, stores_content=stores_content)
    thinks = weather_call(reasoning="Hmm.")
    sandbox.provider.script(thinks, text_answer("Rain."), thinks, text_answer("Rain."))
    found = run(node_sdk, "vercel_store.mjs", sandbox)
    assert found == {"whole": {"text": "Rain."}, "streamed": {"text": "Rain."}}
    said = {"role": "assistant", "content": None, "tool_calls": [WEATHER_CALL]}
    assert [call.json["messages"] for call in sandbox.provider.calls[1::2]] == [[HI, said, RAIN]] * 2
    assert stored_rows(sandbox) == []


@pytest.mark.parametrize("streams", [False, True])
def test_references_are_resolved_for_the_provider_and_in_storage(client: OpenAI, sandbox: Sandbox, streams: bool) -> None:
    sandbox.provider.script(weather_call(text="Let me look.", reasoning="Hmm."), text_answer("Rain."), text_answer("Really."))
    first = create_response(client, sandbox, streams=streams, store=True, tools=[WEATHER])
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
    referred = [HI, *map(reference, first.output), *OUTPUT]
    second = create_response(client, sandbox, streams=streams, store=True, tools=[WEATHER], input=referred)
    said = {"role": "assistant", "content": "Let me look.", "tool_calls": [WEATHER_CALL]}
    assert last_sent(sandbox) == [HI, said, RAIN]
    client.responses.delete(first.id)
    create_response(client, sandbox, streams=streams, previous_response_id=second.id, input=[reference(second.output[0]), HI])
    rain = {"role": "assistant", "content": "Rain."}
    assert last_sent(sandbox) == [HI, said, RAIN, rain, rain, HI], "the referenced items must be stored with the response"


def test_only_stored_items_of_the_same_account_are_found(client: OpenAI, sandbox: Sandbox) -> None:
    own, unstored = (create_response(client, sandbox, store=store).output[0].id for store in (True, False))
    stranger = factories.account()
    subscribe(stranger)
    key = {"authorization": f"Bearer {factories.api_key(stranger)[1]}"}
    call = own.split("_")[1]
    random = [f"msg_{uuid4().hex}_0", f"msg_{call}_1", f"fc_{call}_0", f"msg_{call}_in9", f"msg_{call}", "x", ""]
    bodies = [
        json.dumps({"model": sandbox.model, "input": [HI, reference(id)], "store": store}).encode()
        for id in (own, unstored, *random)
        for store in (False, True)
    ]
    answers = [sandbox.post(body, key, "/v1/responses") for body in bodies]
    assert {(answer.status, answer.body) for answer in answers} == {(400, answers[0].body)}
    assert (answers[0].error["code"], answers[0].error["param"]) == ("item_not_found", "input[1]")
    for id in (unstored, *random):
        with pytest.raises(openai.BadRequestError) as caught:
            create_response(client, sandbox, input=[HI, reference(id)])
        assert caught.value.code == "item_not_found"
    assert len(sandbox.provider.calls) == 2


def test_a_reference_to_an_input_item(client: OpenAI, sandbox: Sandbox) -> None:
    made = create_response(client, sandbox, store=True, input=[{"role": "developer", "content": "Be brief."}, HI])
    listed = client.responses.input_items.list(made.id, order="asc").data
    create_response(client, sandbox, input=[reference(listed[1]), reference(made.output[0]), HI])
    assert [message["role"] for message in last_sent(sandbox)] == ["user", "assistant", "user"]


def test_referenced_items_count_as_input(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("word " * 2_000))
    made = create_response(client, sandbox, store=True, max_output_tokens=5_000)
    poor = factories.account(credits=1_000)
    subscribe(poor)
    [row] = stored_rows(sandbox)
    copy = StoredResponse.create(id=uuid4(), account=poor, model=row.model, input=row.input, response="")
    mine = made.output[0].id.replace(row.id.hex, copy.id.hex)
    copy.response = row.response.replace(row.id.hex, copy.id.hex)
    copy.save()
    key = {"authorization": f"Bearer {factories.api_key(poor)[1]}"}
    for items, status in (([HI], 200), ([reference(mine), HI], 402)):
        sent = {"model": sandbox.model, "input": items, "max_output_tokens": 1}
        assert sandbox.post(json.dumps(sent).encode(), key, "/v1/responses").status == status
    for times, problem in ((100, openai.APIStatusError), (3_000, openai.BadRequestError)):
        with pytest.raises(problem) as caught:
            create_response(
                client, sandbox, input=[reference(made.output[0].id)] * times, max_output_tokens=1, extra_headers=CHEAP
            )
        assert caught.value.status_code == (402 if times == 100 else 400)

"""Stored responses with the unmodified official Python SDK: stored only on request, continued, read, deleted, purged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import OpenAI

from shared.models import PurgeJob, StoredResponse
from shared.operations import stored_responses
from shared.operations.purges import begin_purge
from tests import factories
from tests.edge.sdks.scripts import WEATHER_CALL, broken_stream, text_answer, weather_call
from tests.edge.sdks.storing import OUTPUT, WEATHER, create_response, stored_rows, subscribe
from tests.edge.shared_edge import DEFAULT_COST, Sandbox
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.upstream_responses import Gate, stream


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[OpenAI]:
    subscribe(sandbox.account)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_round_trip_continues_a_stored_response(client: OpenAI, sandbox: Sandbox, streams: bool) -> None:
    sandbox.provider.script(weather_call(), text_answer("Rain."), text_answer("Really."))
    first = create_response(client, sandbox, streams=streams, store=True, tools=[WEATHER], instructions="Be brief.")
    second = create_response(
        client, sandbox, streams=streams, store=True, tools=[WEATHER], input=OUTPUT, previous_response_id=first.id
    )
    third = create_response(client, sandbox, streams=streams, input="Really?", previous_response_id=second.id)
    assert (first.store, second.store, third.store) == (True, True, False)  # type: ignore[attr-defined]  # their type leaves it out
    assert (second.output_text, second.previous_response_id) == ("Rain.", first.id)
    earlier = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [WEATHER_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."},
    ]
    sent = [call.json["messages"] for call in sandbox.provider.calls]
    assert sent[0] == [{"role": "system", "content": "Be brief."}, earlier[0]]
    assert sent[1] == earlier, "instructions must not carry over"
    assert sent[2] == [*earlier, {"role": "assistant", "content": "Rain."}, {"role": "user", "content": "Really?"}]
    assert [f"resp_{row.id.hex}" for row in stored_rows(sandbox)] == [first.id, second.id], "the third call did not set 'store'"
    assert [len(json.loads(row.input)) for row in stored_rows(sandbox)] == [1, 1], "each row must store only its own input"
    assert sandbox.charged == 3 * DEFAULT_COST


def test_a_stored_response_is_retrieved_unchanged_and_deleted(client: OpenAI, sandbox: Sandbox) -> None:
    for streams in (False, True):
        sandbox.provider.script(text_answer("Hello\x00 there."))
        made = create_response(client, sandbox, streams=streams, store=True, input="Hi \x00")
        assert client.responses.retrieve(made.id).model_dump() == made.model_dump()
        with pytest.raises(openai.BadRequestError):
            client.responses.retrieve(made.id, stream=True)
        gone = sandbox.request("DELETE", f"/v1/responses/{made.id}")
        assert gone.json == {"id": made.id, "object": "response", "deleted": True}
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
    client.responses.delete(create_response(client, sandbox, store=True).id)
    assert stored_rows(sandbox) == []


def test_its_input_items_are_listed(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(weather_call(), text_answer("Rain."))
    first = create_response(client, sandbox, store=True, tools=[WEATHER])
    shown = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    sent: Any = [*first.output, *OUTPUT, {"role": "user", "content": [{"type": "input_text", "text": "Look:"}, shown]}]
    sent = [item if isinstance(item, dict) else item.model_dump(exclude_none=True) for item in sent]
    second = create_response(client, sandbox, store=True, tools=[WEATHER], input=[*sent, sent[0]], previous_response_id=first.id)
    [hi] = client.responses.input_items.list(first.id)
    assert (hi.type, hi.role, hi.content[0].text) == ("message", "user", "Hi")  # type: ignore[union-attr]  # one of many kinds of items
    whole = client.responses.input_items.list(second.id, order="asc")
    assert [item.type for item in whole.data] == ["function_call", "function_call_output", "message", "function_call"]
    ids = [item.id for item in whole.data]
    assert (ids[0], len(set(ids)), whole.has_more) == (first.output[0].id, 4, False)
    assert whole.data[2].content[1].image_url == shown["image_url"]  # type: ignore[union-attr,index]  # likewise
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        pages = client.responses.input_items.list(second.id, limit=3, order=order)  # type: ignore[arg-type]  # a plain string
        assert (len(pages.data), pages.has_more) == (3, True)
        assert [item.id for item in pages] == expected, "the SDK requests the second page itself"
    assert [item.id for item in client.responses.input_items.list(second.id, after=ids[2])] == [ids[1], ids[0]]
    for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "msg_1"}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.input_items.list(second.id, **wrong)  # type: ignore[arg-type]  # wrong on purpose
        assert caught.value.param == next(iter(wrong))


def test_a_chain_with_a_deleted_response_cannot_be_continued(client: OpenAI, sandbox: Sandbox) -> None:
    first = create_response(client, sandbox, store=True)
    second = create_response(client, sandbox, store=True, previous_response_id=first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        create_response(client, sandbox, previous_response_id=second.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    assert len(sandbox.provider.calls) == 2


def test_responses_of_other_accounts_are_not_found(client: OpenAI, sandbox: Sandbox) -> None:
    own = create_response(client, sandbox, store=True).id
    unstored = create_response(client, sandbox).id
    stranger = factories.account()
    subscribe(stranger)
    key = {"authorization": f"Bearer {factories.api_key(stranger)[1]}"}
    ids = (own, unstored, f"resp_{uuid4().hex}", own.removeprefix("resp_"), "x")
    for method, under in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("GET", "/input_items?after=x")):
        answers = [sandbox.request(method, f"/v1/responses/{id}{under}", headers=key) for id in ids]
        assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
    for store in (True, False):
        bodies = [{"model": sandbox.model, "input": "Hi", "store": store, "previous_response_id": id} for id in ids]
        answers = [sandbox.post(json.dumps(body).encode(), key, "/v1/responses") for body in bodies]
        assert {(answer.status, answer.body) for answer in answers} == {(400, answers[0].body)}
        assert answers[0].error["code"] == "previous_response_not_found"
    assert len(stored_rows(sandbox)) == 1


@pytest.mark.parametrize("subscribed", [False, True])
def test_storing_requires_a_plan_that_allows_it(sandbox: Sandbox, subscribed: bool) -> None:
    if subscribed:
        subscribe(sandbox.account, stores_content=False)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as client:
        for fields in ({"store": True}, {"previous_response_id": f"resp_{uuid4().hex}"}):
            with pytest.raises(openai.BadRequestError) as caught:
                create_response(client, sandbox, **fields)
            assert caught.value.param == next(iter(fields))
            assert "plan" in caught.value.message
    assert (sandbox.provider.calls, sandbox.charged) == ([], 0)


def test_nothing_is_stored_unless_requested(client: OpenAI, sandbox: Sandbox) -> None:
    for fields in ({}, {"store": False}, {"store": None}):
        for streams in (False, True):
            assert create_response(client, sandbox, streams=streams, **fields).store is False  # type: ignore[attr-defined]  # their type leaves it out
    assert stored_rows(sandbox) == []


def test_a_broken_response_is_not_stored(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(broken_stream())
    result: list[Any] = []
    with (
        client.responses.create(model=sandbox.model, input="Hi", stream=True, store=True) as events,
        pytest.raises(openai.APIError),
    ):
        result.extend(events)
    assert result[-1].type == "response.failed"
    assert result[-1].response.store is False
    assert stored_rows(sandbox) == []


def test_the_length_of_a_chain_is_limited(client: OpenAI, sandbox: Sandbox) -> None:
    id = create_response(client, sandbox, store=True).id
    [row] = stored_rows(sandbox)
    columns = {"account": sandbox.account, "model": row.model, "input": row.input, "response": row.response}
    newest = row.id
    for _ in range(stored_responses.MAX_CHAIN_LENGTH - 1):
        newest = StoredResponse.create(id=uuid4(), previous=newest, **columns).id
    assert create_response(client, sandbox, previous_response_id=f"resp_{newest.hex}").status == "completed"
    assert len(sandbox.provider.calls[-1].json["messages"]) == 2 * stored_responses.MAX_CHAIN_LENGTH + 1
    newest = StoredResponse.create(id=uuid4(), previous=newest, **columns).id
    whole_body = json.dumps([{"type": "message", "role": "user", "content": "a" * 20_000_000}])
    StoredResponse.update(input=whole_body).where(StoredResponse.id == row.id).execute()
    for long in (f"resp_{newest.hex}", id):
        with pytest.raises(openai.BadRequestError) as caught:
            create_response(client, sandbox, previous_response_id=long)
        assert (caught.value.param, caught.value.code) == ("previous_response_id", "invalid_request")


def test_the_hold_covers_earlier_turns(client: OpenAI, sandbox: Sandbox) -> None:
    create_response(client, sandbox, store=True, input="word " * 2_000, max_output_tokens=1)
    poor = factories.account(credits=1_000)
    subscribe(poor)
    [row] = stored_rows(sandbox)
    copy = StoredResponse.create(id=uuid4(), account=poor, model=row.model, input=row.input, response=row.response)
    key = {"authorization": f"Bearer {factories.api_key(poor)[1]}"}
    for fields, status in (({}, 200), ({"previous_response_id": f"resp_{copy.id.hex}"}, 402)):
        sent = {"model": sandbox.model, "input": "Hi", "max_output_tokens": 1, **fields}
        assert sandbox.post(json.dumps(sent).encode(), key, "/v1/responses").status == status
    assert len(sandbox.provider.calls) == 2


def test_a_call_started_before_a_purge_is_not_stored(client: OpenAI, sandbox: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Late"), gate, finish(), usage(7, 3), DONE))
    body = {"model": sandbox.model, "input": "Hi", "stream": True, "store": True}
    with closing(HTTPConnection("127.0.0.1", sandbox.edge.port, timeout=60)) as connection:
        connection.request("POST", "/v1/responses", json.dumps(body).encode(), {"authorization": f"Bearer {sandbox.secret}"})
        response = connection.getresponse()
        gate.wait_reached()
        begin_purge(sandbox.account.id, origin=ORIGIN)
        gate.open()
        last = json.loads(response.read().split(b"data: ")[-1])
    assert (last["type"], last["response"]["store"]) == ("response.completed", False)
    assert stored_rows(sandbox) == []
    with pytest.raises(openai.ConflictError) as caught:
        create_response(client, sandbox, store=True)
    assert caught.value.code == "purge_in_progress"
    assert create_response(client, sandbox).status == "completed", "calls that store nothing still work"
    PurgeJob.delete().where(PurgeJob.account == sandbox.account).execute()


@pytest.mark.parametrize("streams", [False, True])
def test_the_tools_of_agents_are_stored_and_the_conversation_can_be_compacted(
    client: OpenAI, sandbox: Sandbox, streams: bool
) -> None:
    namespace = {"type": "namespace", "name": "mcp__demo", "description": "", "tools": [WEATHER]}
    tools = {"type": "additional_tools", "role": "developer", "tools": [namespace]}
    first_input = [tools, {"role": "user", "content": "Hi"}]
    sandbox.provider.script(
        weather_call("mcp__demo__weather"), text_answer("Rain."), text_answer("It rains."), text_answer("Yes.")
    )
    first = create_response(client, sandbox, streams=streams, store=True, input=first_input)
    assert (first.output[0].namespace, first.output[0].name) == ("mcp__demo", "weather")  # type: ignore[union-attr]
    second = create_response(client, sandbox, streams=streams, store=True, input=OUTPUT, previous_response_id=first.id)
    # Raw, because the SDK has no type for the user's messages in the output.
    compacted = client.responses.with_raw_response.compact(model=sandbox.model, previous_response_id=second.id)
    output = json.loads(compacted.content)["output"]
    assert [item["type"] for item in output] == ["message", "compaction"]
    create_response(client, sandbox, streams=streams, input=[*output, {"role": "user", "content": "Sure?"}])
    sent = [call.json for call in sandbox.provider.calls]
    assert sent[1]["messages"][1]["tool_calls"][0]["function"]["name"] == "mcp__demo__weather"
    assert sent[1]["tools"] == sent[2]["tools"] == sent[0]["tools"]
    assert [message["role"] for message in sent[2]["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[2]["tool_choice"] == "none"
    assert [message["content"].rpartition("\n")[2] for message in sent[3]["messages"]] == ["Hi", "It rains.", "Sure?"]
    assert len(stored_rows(sandbox)) == 2
    assert sandbox.charged == 4 * DEFAULT_COST

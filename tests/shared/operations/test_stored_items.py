"""Looking up items of stored responses by public id: limited per query, and unique ids within a list."""

from __future__ import annotations

from uuid import UUID

import orjson
import pytest

from shared.core.clock import new_id
from shared.core.errors import InvalidRequest
from shared.models import Account, StoredResponse
from shared.operations import stored_items
from shared.operations.stored_items import find_items, input_items
from tests import factories

MAX_BYTES = 10_000


def store(account: Account, *items: object, text: str = "Hello.") -> StoredResponse:
    id = new_id()
    output = [{"id": f"msg_{id.hex}_0", "type": "message", "content": [{"type": "output_text", "text": text}]}]
    written = {"input": orjson.dumps(items).decode(), "response": orjson.dumps({"output": output}).decode()}
    made: StoredResponse = StoredResponse.create(id=id, account=account, model="m", **written)
    return made


def output_id(call: UUID) -> str:
    return f"msg_{call.hex}_0"


@pytest.mark.usefixtures("bound_database")
def test_items_of_many_responses_are_found() -> None:
    owner, other = factories.account(), factories.account()
    own = [output_id(store(owner).id) for _ in range(60)]  # more items than one query reads
    foreign = output_id(store(other).id)
    found = find_items(owner.id, [*own, foreign, output_id(new_id()), "msg_1"], 100 * MAX_BYTES)
    assert [found[id]["id"] for id in own] == own
    assert set(found) == set(own)


@pytest.mark.usefixtures("bound_database")
def test_the_amount_read_is_limited() -> None:
    owner = factories.account()
    long = [output_id(store(owner, text="a" * (MAX_BYTES // 2)).id) for _ in range(2)]
    assert set(find_items(owner.id, long[:1], MAX_BYTES)) == set(long[:1])
    for ids in (long, [output_id(new_id()) for _ in range(stored_items.MAX_RESPONSES + 1)]):
        with pytest.raises(InvalidRequest) as caught:
            find_items(owner.id, ids, MAX_BYTES)
        assert caught.value.param == "input"


@pytest.mark.usefixtures("bound_database")
def test_listed_items_are_found_by_their_ids() -> None:
    owner = factories.account()
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    said = {"role": "assistant", "content": "Hi"}
    row = store(owner, {"role": "user", "content": "Hi"}, call, call, said, {"type": "function_call_output", "output": "x"})
    listed = input_items(row)
    name = row.id.hex
    assert [item["id"] for item in listed] == [f"msg_{name}_in0", "fc_1", f"fc_{name}_in2", f"msg_{name}_in3", f"fco_{name}_in4"]
    assert listed[0]["content"] == [{"type": "input_text", "text": "Hi"}]
    assert listed[3]["content"][0] == {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
    assert {item["status"] for item in listed} == {"completed"}
    found = find_items(owner.id, [listed[0]["id"], listed[2]["id"]], MAX_BYTES)
    assert list(found.values()) == [listed[0], listed[2]]

"""Stored conversations: kept on request and only then, continued, cut, listed, read, deleted; never somebody else's."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from shared.models import Account, Conversation, Message, Plan, Subscription
from shared.operations.purges import begin_purge
from tests.edge.api.conftest import Customer, Shop
from tests.edge.shared_edge import Reply
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.process import eventually
from tests.upstream_responses import RESET, Gate, status, stream

PATH = "/api/chat/conversations/"
HI = {"role": "user", "content": "Hi"}


@pytest.fixture
def keeper(shop: Shop) -> Customer:
    """A customer whose plan stores content."""
    customer = shop.customer()
    subscribe(customer.account, stores_content=True)
    return customer


def subscribe(account: Account, **columns: Any) -> None:
    plan = Plan.create(name=f"Plan {uuid4()}", **columns)
    Subscription.create(account=account, plan=plan)


def done(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    event: dict[str, Any] = json.loads(reply.lines[-1][6:])
    assert event["done"], reply.body
    return event


def turns(customer: Customer, id: str) -> list[tuple[str, Any, str]]:
    messages = customer.get(f"{PATH}{id}/").json["messages"]
    return [(message["role"], message["content"], message["status"]) for message in messages]


def test_a_conversation_is_kept_and_continued(shop: Shop, keeper: Customer) -> None:
    shop.upstream.script(
        stream(role(), chunk("Hel"), chunk("lo.", reasoning="hm"), finish(), usage(7, 3), DONE),
        stream(role(), chunk("Yes.\x00"), finish(), usage(7, 3), DONE),
    )
    first = done(keeper.stream(store=True, messages=[{"role": "system", "content": "Be kind."}, HI]))
    id = first["conversation_id"]
    assert turns(keeper, id) == [
        ("system", "Be kind.", "complete"),
        ("user", "Hi", "complete"),
        ("assistant", "Hello.", "complete"),
    ]
    second = done(keeper.stream(store=True, conversation_id=id, prompt="Really?"))
    assert second["conversation_id"] == id
    assert [message["content"] for message in shop.upstream.calls[-1].json["messages"]] == ["Be kind.", "Hi", "Hello.", "Really?"]
    assert turns(keeper, id)[3:] == [("user", "Really?", "complete"), ("assistant", "Yes.\x00", "complete")]
    document = keeper.get(f"{PATH}{id}/").json
    assert (document["title"], document["message_count"], document["next"]) == ("Hi", 5, None)
    assert [message["model"] for message in document["messages"]] == [None, None, "m-1", None, "m-1"]


def test_nothing_is_kept_unless_asked(shop: Shop, keeper: Customer) -> None:
    assert done(keeper.stream())["conversation_id"] is None
    assert done(keeper.stream(store=False))["conversation_id"] is None
    assert keeper.get(PATH).json == {"conversations": [], "next": None}
    id = done(keeper.stream(store=True))["conversation_id"]
    before = turns(keeper, id)
    assert done(keeper.stream(conversation_id=id, prompt="And?"))["conversation_id"] == id
    assert [message["content"] for message in shop.upstream.calls[-1].json["messages"]] == ["Hi", before[1][1], "And?"]
    assert turns(keeper, id) == before, "it was read, and nothing was added"


def test_a_plan_must_include_it(shop: Shop) -> None:
    customer = shop.customer()
    for _ in range(2):
        reply = customer.stream(store=True)
        assert (reply.status, reply.error["code"]) == (403, "plan_required")
        assert "plan" in reply.error["message"]
        if not Subscription.select().where(Subscription.account == customer.account).exists():
            subscribe(customer.account, stores_content=False)
    assert customer.balance == 1_000_000


def test_other_peoples_conversations_are_unknown(shop: Shop, keeper: Customer) -> None:
    id = done(keeper.stream(store=True))["conversation_id"]
    stranger = shop.customer()
    subscribe(stranger.account, stores_content=True)
    unknown = str(uuid4())
    for fields in ({"store": True}, {}):
        answers = [stranger.stream(conversation_id=which, **fields) for which in (id, unknown, "x", "")]
        assert {(answer.status, answer.body) for answer in answers} == {(404, answers[1].body)}
    for method in ("GET", "DELETE"):
        answers = [stranger.request(method, f"{PATH}{which}/") for which in (id, unknown, "x")]
        assert {(answer.status, answer.body) for answer in answers} == {(404, answers[1].body)}
    shared = [stranger.post("/api/chat/share/", {"conversation_id": which}) for which in (id, unknown)]
    assert {(answer.status, answer.body) for answer in shared} == {(404, shared[1].body)}
    assert stranger.balance == 1_000_000
    assert stranger.get(PATH).json["conversations"] == []


def test_a_bad_key_hears_nothing_of_conversations(shop: Shop, keeper: Customer) -> None:
    wrong = keeper.with_key("yout-" + "x" * 38)
    assert wrong.stream(store=True, conversation_id=str(uuid4())).status == 401


def test_what_broke_off_is_kept_as_far_as_it_came(shop: Shop, keeper: Customer) -> None:
    shop.upstream.script(stream(role(), chunk("Half of"), RESET))
    reply = keeper.stream(store=True)
    assert "error" in json.loads(reply.lines[-1][6:])
    [conversation] = awaited(keeper)
    assert turns(keeper, str(conversation.id)) == [("user", "Hi", "complete"), ("assistant", "Half of", "partial")]
    assert keeper.balance < 1_000_000, "and paid for"


def test_what_a_client_left_is_kept_as_far_as_it_came(shop: Shop, keeper: Customer) -> None:
    gate = Gate()
    shop.upstream.script(stream(role(), chunk("Before"), gate, chunk("after"), finish(), DONE))
    with closing(keeper.open(store=True)) as connection:
        assert b"Before" in connection.getresponse().readline()
    [conversation] = awaited(keeper)
    gate.open()
    assert turns(keeper, str(conversation.id)) == [("user", "Hi", "complete"), ("assistant", "Before", "partial")]


def test_what_said_nothing_is_not_kept(shop: Shop, keeper: Customer) -> None:
    shop.upstream.script(status(400, {"error": {"message": "no"}}))
    assert keeper.stream(store=True).status == 400
    shop.upstream.script(stream(role(), finish(), usage(7, 0), DONE))
    assert done(keeper.stream(store=True))["conversation_id"] is None
    assert keeper.get(PATH).json["conversations"] == []


def awaited(customer: Customer) -> list[Conversation]:
    rows = Conversation.select().where(Conversation.account == customer.account)
    eventually(lambda: rows.clone().count() == 1, "the turn is kept")
    return list(rows.clone())


def test_a_call_from_before_a_purge_or_deletion_keeps_nothing(shop: Shop, keeper: Customer) -> None:
    id = done(keeper.stream(store=True))["conversation_id"]
    for end in (lambda: keeper.request("DELETE", f"{PATH}{id}/"), lambda: begin_purge(keeper.account.id, actor="test")):
        gate = Gate()
        shop.upstream.script(stream(role(), chunk("Late"), gate, finish(), usage(7, 3), DONE))
        fields = {"conversation_id": id} if keeper.get(f"{PATH}{id}/").status == 200 else {}
        with closing(keeper.open(store=True, **fields)) as connection:
            response = connection.getresponse()
            gate.wait_reached()
            end()
            gate.open()
            last = json.loads(response.read().split(b"data: ")[-1])
        assert (last["done"], last["conversation_id"]) == (True, None)
    assert not Message.select().where(Message.content.contains("Late")).exists()
    reply = keeper.stream(store=True)
    assert (reply.status, reply.error["code"]) == (409, "purge_in_progress")
    assert done(keeper.stream())["conversation_id"] is None, "calls that keep nothing go on"


def test_they_are_listed_by_page_and_deleted(keeper: Customer) -> None:
    ids = [done(keeper.stream(store=True, prompt=f"Talk {number}"))["conversation_id"] for number in range(3)]
    first = keeper.get(f"{PATH}?limit=2").json
    assert [row["title"] for row in first["conversations"]] == ["Talk 2", "Talk 1"]
    assert keeper.get(f"{PATH}?limit=2&after={first['next']}").json["conversations"][0]["id"] == ids[0]
    page = keeper.get(f"{PATH}{ids[0]}/?limit=1").json
    assert (len(page["messages"]), page["next"]) == (1, 1)
    assert keeper.get(f"{PATH}{ids[0]}/?start=1").json["messages"][0]["role"] == "assistant"
    assert keeper.request("DELETE", f"{PATH}{ids[0]}/").json == {"id": ids[0], "deleted": True}
    assert keeper.get(f"{PATH}{ids[0]}/").status == 404
    assert not Message.select().where(Message.conversation == ids[0]).exists()
    assert len(keeper.get(PATH).json["conversations"]) == 2


def test_a_conversation_is_shared_as_it_is_then(shop: Shop, keeper: Customer) -> None:
    id = done(keeper.stream(store=True, messages=[{"role": "system", "content": "Secret."}, HI]))["conversation_id"]
    made = keeper.post("/api/chat/share/", {"conversation_id": id}).json
    assert (made["title"], made["conversation_id"]) == ("Hi", id)
    path = "/" + made["url"].split("/", 3)[3]
    json_of = {"accept": "application/json"}
    snapshot = shop.request("GET", path, headers=json_of).json
    assert [message["role"] for message in snapshot["messages"]] == ["user", "assistant"]
    done(keeper.stream(store=True, conversation_id=id, prompt="More"))
    assert keeper.request("DELETE", f"{PATH}{id}/").status == 200
    assert shop.request("GET", path, headers=json_of).json == snapshot


def test_two_turns_at_once_both_stay(shop: Shop, keeper: Customer) -> None:
    id = done(keeper.stream(store=True))["conversation_id"]
    gates = [Gate(), Gate()]
    for gate in gates:
        shop.upstream.script(stream(role(), chunk("One"), gate, finish(), usage(7, 3), DONE))
    first, second = (keeper.open(store=True, conversation_id=id, prompt=f"At once {number}") for number in range(2))
    responses = [connection.getresponse() for connection in (first, second)]
    for gate in gates:
        gate.wait_reached()
        gate.open()
    for response in responses:
        assert b'"done":true' in response.read()
    assert len(turns(keeper, id)) == 6
    first.close()
    second.close()


def test_visitors_have_no_conversations(shop: Shop) -> None:
    for fields in ({"store": True}, {"conversation_id": str(uuid4())}):
        reply = shop.request("POST", "/api/chat/stream/", {"model": "free", "prompt": "Hi", **fields})
        assert (reply.status, reply.error["code"]) == (403, "plan_required")
    assert shop.request("GET", PATH).status == 401

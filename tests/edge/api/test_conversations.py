"""Stored conversations: kept on request, continued, truncated, saved, listed, read, deleted, and private to their account."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from shared.core.clock import new_id
from shared.models import Account, Conversation, Message, Plan, Subscription
from shared.operations.purges import begin_purge
from tests.edge.api.conftest import ApiStack, Customer
from tests.edge.shared_edge import Reply
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.process import eventually
from tests.upstream_responses import RESET, Gate, error_response, stream

PATH = "/api/chat/conversations/"
HI = {"role": "user", "content": "Hi"}


@pytest.fixture
def storing(api: ApiStack) -> Customer:
    """A customer whose plan allows storing content."""
    customer = api.customer()
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


def test_a_conversation_is_stored_and_continued(api: ApiStack, storing: Customer) -> None:
    api.upstream.script(
        stream(role(), chunk("Hel"), chunk("lo.", reasoning="hm"), finish(), usage(7, 3), DONE),
        stream(role(), chunk("Yes.\x00"), finish(), usage(7, 3), DONE),
    )
    first = done(storing.stream(store=True, messages=[{"role": "system", "content": "Be kind."}, HI]))
    id = first["conversation_id"]
    assert turns(storing, id) == [
        ("system", "Be kind.", "complete"),
        ("user", "Hi", "complete"),
        ("assistant", "Hello.", "complete"),
    ]
    second = done(storing.stream(store=True, conversation_id=id, prompt="Really?"))
    assert second["conversation_id"] == id
    assert [message["content"] for message in api.upstream.calls[-1].json["messages"]] == ["Be kind.", "Hi", "Hello.", "Really?"]
    assert turns(storing, id)[3:] == [("user", "Really?", "complete"), ("assistant", "Yes.\x00", "complete")]
    document = storing.get(f"{PATH}{id}/").json
    assert (document["title"], document["message_count"], document["next"]) == ("Hi", 5, None)
    assert [message["model"] for message in document["messages"]] == [None, None, "m-1", None, "m-1"]


def test_nothing_is_stored_unless_requested(api: ApiStack, storing: Customer) -> None:
    assert done(storing.stream())["conversation_id"] is None
    assert done(storing.stream(store=False))["conversation_id"] is None
    assert storing.get(PATH).json == {"conversations": [], "next": None}
    id = done(storing.stream(store=True))["conversation_id"]
    before = turns(storing, id)
    assert done(storing.stream(conversation_id=id, prompt="And?"))["conversation_id"] == id
    assert [message["content"] for message in api.upstream.calls[-1].json["messages"]] == ["Hi", before[1][1], "And?"]
    assert turns(storing, id) == before, "it was read, but nothing may be added"


def test_storing_requires_a_plan_that_allows_it(api: ApiStack) -> None:
    customer = api.customer()
    for _ in range(2):
        reply = customer.stream(store=True)
        assert (reply.status, reply.error["code"]) == (403, "plan_required")
        assert "plan" in reply.error["message"]
        if not Subscription.select().where(Subscription.account == customer.account).exists():
            subscribe(customer.account, stores_content=False)
    assert customer.balance == 1_000_000


def test_conversations_of_other_accounts_are_not_found(api: ApiStack, storing: Customer) -> None:
    id = done(storing.stream(store=True))["conversation_id"]
    stranger = api.customer()
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


def test_an_invalid_key_is_rejected(api: ApiStack, storing: Customer) -> None:
    wrong = storing.with_key("yout-" + "x" * 38)
    assert wrong.stream(store=True, conversation_id=str(uuid4())).status == 401


def test_a_broken_stream_is_stored_as_partial(api: ApiStack, storing: Customer) -> None:
    api.upstream.script(stream(role(), chunk("Half of"), RESET))
    reply = storing.stream(store=True)
    assert "error" in json.loads(reply.lines[-1][6:])
    [conversation] = wait_for_conversation(storing)
    assert turns(storing, str(conversation.id)) == [("user", "Hi", "complete"), ("assistant", "Half of", "partial")]
    assert storing.balance < 1_000_000, "the partial answer is charged"


def test_a_stream_cut_by_the_client_is_stored_as_partial(api: ApiStack, storing: Customer) -> None:
    gate = Gate()
    api.upstream.script(stream(role(), chunk("Before"), gate, chunk("after"), finish(), DONE))
    with closing(storing.open(store=True)) as connection:
        assert b"Before" in connection.getresponse().readline()
    [conversation] = wait_for_conversation(storing)
    gate.open()
    assert turns(storing, str(conversation.id)) == [("user", "Hi", "complete"), ("assistant", "Before", "partial")]


def test_a_call_without_output_is_not_stored(api: ApiStack, storing: Customer) -> None:
    api.upstream.script(error_response(400, {"error": {"message": "no"}}))
    assert storing.stream(store=True).status == 400
    api.upstream.script(stream(role(), finish(), usage(7, 0), DONE))
    assert done(storing.stream(store=True))["conversation_id"] is None
    assert storing.get(PATH).json["conversations"] == []


def wait_for_conversation(customer: Customer) -> list[Conversation]:
    rows = Conversation.select().where(Conversation.account == customer.account)
    eventually(lambda: rows.clone().count() == 1, "the turn is stored")
    return list(rows.clone())


def test_a_call_started_before_a_purge_or_deletion_stores_nothing(api: ApiStack, storing: Customer) -> None:
    id = done(storing.stream(store=True))["conversation_id"]
    for end in (lambda: storing.request("DELETE", f"{PATH}{id}/"), lambda: begin_purge(storing.account.id, origin=ORIGIN)):
        gate = Gate()
        api.upstream.script(stream(role(), chunk("Late"), gate, finish(), usage(7, 3), DONE))
        fields = {"conversation_id": id} if storing.get(f"{PATH}{id}/").status == 200 else {}
        with closing(storing.open(store=True, **fields)) as connection:
            response = connection.getresponse()
            gate.wait_reached()
            end()
            gate.open()
            last = json.loads(response.read().split(b"data: ")[-1])
        assert (last["done"], last["conversation_id"]) == (True, None)
    assert not Message.select().where(Message.content.contains("Late")).exists()
    reply = storing.stream(store=True)
    assert (reply.status, reply.error["code"]) == (409, "purge_in_progress")
    assert done(storing.stream())["conversation_id"] is None, "calls that store nothing still work"


def test_conversations_are_paginated_and_deleted(storing: Customer) -> None:
    ids = [done(storing.stream(store=True, prompt=f"Talk {number}"))["conversation_id"] for number in range(3)]
    first = storing.get(f"{PATH}?limit=2").json
    assert [row["title"] for row in first["conversations"]] == ["Talk 2", "Talk 1"]
    assert storing.get(f"{PATH}?limit=2&after={first['next']}").json["conversations"][0]["id"] == ids[0]
    page = storing.get(f"{PATH}{ids[0]}/?limit=1").json
    assert (len(page["messages"]), page["next"]) == (1, 1)
    assert storing.get(f"{PATH}{ids[0]}/?start=1").json["messages"][0]["role"] == "assistant"
    assert storing.request("DELETE", f"{PATH}{ids[0]}/").json == {"id": ids[0], "deleted": True}
    assert storing.get(f"{PATH}{ids[0]}/").status == 404
    assert not Message.select().where(Message.conversation == ids[0]).exists()
    assert len(storing.get(PATH).json["conversations"]) == 2


def test_a_conversation_is_saved_and_replaced(api: ApiStack, storing: Customer) -> None:
    path = f"{PATH}{new_id()}/"
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    answer = {"role": "assistant", "content": "A dot.\x00", "model": "m-1"}
    body = {"title": "Images", "messages": [{"role": "user", "content": parts}, answer]}
    created = storing.request("PUT", path, body)
    assert (created.status, created.json["title"], created.json["message_count"]) == (200, "Images", 2)
    stored = storing.get(path).json
    assert [(row["role"], row["content"], row["status"], row["model"]) for row in stored["messages"]] == [
        ("user", parts, "complete", None),
        ("assistant", "A dot.\x00", "complete", "m-1"),
    ]

    # A change names the version that it is based on. Unchanged messages keep their time, the others are replaced.
    edited = {**answer, "content": "A line", "status": "partial"}
    changed = {"title": "", "messages": [body["messages"][0], edited, HI], "updated": created.json["updated"]}
    assert storing.request("PUT", path, changed).json["message_count"] == 3
    after = storing.get(path).json
    assert [(row["content"], row["status"]) for row in after["messages"]][1:] == [("A line", "partial"), ("Hi", "complete")]
    assert after["messages"][0]["created"] == stored["messages"][0]["created"]
    assert after["updated"] > created.json["updated"]
    for stale in (changed, body):
        reply = storing.request("PUT", path, stale)
        assert (reply.status, reply.error["code"], reply.headers["x-should-retry"]) == (409, "conversation_changed", "false")
    assert storing.get(path).json == after
    shorter = {"title": "T", "messages": [HI], "updated": after["updated"]}
    assert storing.request("PUT", path, shorter).json["message_count"] == 1
    done(storing.stream(store=True, conversation_id=after["id"], prompt="More"))  # which calls continue as any other
    assert [content for _, content, _ in turns(storing, after["id"])][:2] == ["Hi", "More"]


def test_accounts_can_choose_the_same_id(api: ApiStack, storing: Customer) -> None:
    other = api.customer()
    subscribe(other.account, stores_content=True)
    ids = sorted(str(new_id()) for _ in range(2))
    both = (storing, other)
    for number, customer in enumerate(both):
        for id in reversed(ids):
            body = {"title": f"T{number}", "messages": [{"role": "user", "content": f"From {number}"}]}
            assert customer.request("PUT", f"{PATH}{id}/", body).json["id"] == id
        reply = done(customer.stream(store=True, conversation_id=ids[0], prompt=f"More {number}"))
        assert reply["conversation_id"] == ids[0]
    for number, customer in enumerate(both):
        assert [content for _, content, _ in turns(customer, ids[0])][:2] == [f"From {number}", f"More {number}"]
        first = customer.get(f"{PATH}?limit=1").json
        second = customer.get(f"{PATH}?limit=1&after={first['next']}").json
        assert [row["id"] for page in (first, second) for row in page["conversations"]] == ids[::-1]
        assert {row["title"] for page in (first, second) for row in page["conversations"]} == {f"T{number}"}

    assert storing.request("DELETE", f"{PATH}{ids[0]}/").status == 200
    assert storing.get(f"{PATH}{ids[0]}/").status == 404
    assert len(turns(other, ids[0])) == 3
    assert storing.request("PUT", f"{PATH}{ids[0]}/", {"title": "", "messages": [HI]}).status == 200  # it can be used again


def test_branches_are_saved_beside_the_main_one(api: ApiStack, storing: Customer) -> None:
    path = f"{PATH}{new_id()}/"
    rows = [
        ("user", "Hi", None),
        ("assistant", "First", 0),
        ("assistant", "Second", None),
        ("user", "Hey", -1),
        ("user", "So", None),
    ]
    messages = [
        {"role": role, "content": content, **({} if parent is None else {"parent": parent})} for role, content, parent in rows
    ]
    created = storing.request("PUT", path, {"title": "T", "messages": messages})
    assert (created.status, created.json["message_count"]) == (200, 5)
    id = created.json["id"]
    assert [content for _, content, _ in turns(storing, id)] == ["Hi", "Second", "So"]
    whole = storing.get(f"{path}?branches=true").json
    assert [(row["role"], row["content"], row["parent"]) for row in whole["messages"]] == rows
    pages, start = [], 0
    while start is not None:
        page = storing.get(f"{path}?branches=true&limit=2&start={start}").json
        pages.append([row["content"] for row in page["messages"]])
        start = page["next"]
    assert pages == [["Hi", "First"], ["Second", "Hey"], ["So"]]

    # Calls and shares see the main branch only.
    done(storing.stream(store=True, conversation_id=id, prompt="More"))
    assert [message["content"] for message in api.upstream.calls[-1].json["messages"]] == ["Hi", "Second", "So", "More"]
    assert [content for _, content, _ in turns(storing, id)][:4] == ["Hi", "Second", "So", "More"]
    url = storing.post("/api/chat/share/", {"conversation_id": id}).json["url"]
    shared = api.request("GET", "/" + url.split("/", 3)[3], headers={"accept": "application/json"}).json["messages"]
    assert [message["content"] for message in shared][:4] == ["Hi", "Second", "So", "More"]


def test_a_conversation_cannot_be_saved(api: ApiStack, storing: Customer) -> None:
    path, body = f"{PATH}{new_id()}/", {"title": "T", "messages": [HI]}
    created = storing.request("PUT", path, body).json
    stranger = api.customer()
    subscribe(stranger.account, stores_content=True)
    current = {**body, "updated": created["updated"]}
    for reply, status, code in (
        (stranger.request("PUT", path, current), 404, "not_found"),
        (api.customer().request("PUT", f"{PATH}{new_id()}/", body), 403, "plan_required"),
        (storing.request("PUT", f"{PATH}{new_id()}/", current), 404, "not_found"),
        (storing.request("PUT", f"{PATH}x/", body), 404, "not_found"),
    ):
        assert (reply.status, reply.error["code"]) == (status, code)
    for fields, param in (
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [HI] * 1_001}, "messages"),
        ({"messages": [HI, {**HI, "parent": 1}]}, "messages[1].parent"),
        ({"messages": [{**HI, "parent": -2}]}, "messages[0].parent"),
        ({"title": "a\nb"}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"updated": "yesterday"}, "updated"),
        ({"folder": "x"}, "folder"),
    ):
        reply = storing.request("PUT", path, {**body, **fields})
        assert (reply.status, reply.error["param"]) == (400, param)
    begin_purge(storing.account.id, origin=ORIGIN)
    reply = storing.request("PUT", path, current)
    assert (reply.status, reply.error["code"]) == (409, "purge_in_progress")


def test_a_shared_conversation_is_a_snapshot(api: ApiStack, storing: Customer) -> None:
    id = done(storing.stream(store=True, messages=[{"role": "system", "content": "Secret."}, HI]))["conversation_id"]
    made = storing.post("/api/chat/share/", {"conversation_id": id}).json
    assert (made["title"], made["conversation_id"]) == ("Hi", id)
    path = "/" + made["url"].split("/", 3)[3]
    json_of = {"accept": "application/json"}
    snapshot = api.request("GET", path, headers=json_of).json
    assert [message["role"] for message in snapshot["messages"]] == ["user", "assistant"]
    done(storing.stream(store=True, conversation_id=id, prompt="More"))
    assert storing.request("DELETE", f"{PATH}{id}/").status == 200
    assert api.request("GET", path, headers=json_of).json == snapshot


def test_two_concurrent_turns_are_both_stored(api: ApiStack, storing: Customer) -> None:
    id = done(storing.stream(store=True))["conversation_id"]
    gates = [Gate(), Gate()]
    for gate in gates:
        api.upstream.script(stream(role(), chunk("One"), gate, finish(), usage(7, 3), DONE))
    first, second = (storing.open(store=True, conversation_id=id, prompt=f"At once {number}") for number in range(2))
    responses = [connection.getresponse() for connection in (first, second)]
    for gate in gates:
        gate.wait_reached()
        gate.open()
    for response in responses:
        assert b'"done":true' in response.read()
    assert len(turns(storing, id)) == 6
    first.close()
    second.close()


def test_visitors_cannot_store_conversations(api: ApiStack) -> None:
    for fields in ({"store": True}, {"conversation_id": str(uuid4())}):
        reply = api.request("POST", "/api/chat/stream/", {"model": "free", "prompt": "Hi", **fields})
        assert (reply.status, reply.error["code"]) == (403, "plan_required")
    assert api.request("GET", PATH).status == 401

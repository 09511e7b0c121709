"""The key of a conversation: the same in every turn, different for other conversations, and its effect on the channel."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from edge.call.conversation_key import SAMPLE_CHARS, conversation_key
from edge.call.requests import build_chat_call
from shared.models import AIModel, ChannelModel
from tests import factories
from tests.edge.shared_edge import PRICES, Sandbox
from tests.openai_payloads import Json
from tests.servers.process import eventually

ADA, BOB = UUID(int=1), UUID(int=2)
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "Hello!"}


def user(content: Any = "Hi") -> Json:
    return {"role": "user", "content": content}


def key(*messages: Json, payer: UUID = ADA, **fields: Any) -> bytes:
    return conversation_key(build_chat_call({"model": "m", "messages": list(messages), **fields}, 1_000), payer)


def image(data: str) -> Json:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


@pytest.mark.parametrize(
    "later",
    [
        key(SYSTEM, user(), ASSISTANT, user("More")),
        key({"role": "system", "content": "It is 10:32:05."}, user()),
        key(SYSTEM, {"role": "developer", "content": "x"}, ASSISTANT, user()),
        key(user(), tools=[{"type": "function", "function": {"name": "f"}}], temperature=0.5),
        key(user([{"type": "text", "text": "Hi"}])),
        key(user(), prompt_cache_key=None),
        key(user(), prompt_cache_key=""),
    ],
)
def test_later_turns_have_the_same_key(later: bytes) -> None:
    assert later == key(SYSTEM, user())
    assert len(later) == 16


LONG = "x" * 10_000


def test_other_conversations_have_other_keys() -> None:
    keys = [
        key(user()),
        key(user(), payer=BOB),
        key(user("Hello")),
        key(user(LONG)),
        key(user(LONG + "x")),
        key(user("y" + LONG[1:])),
        key(user(LONG[1:] + "y")),
        key(user([{"type": "text", "text": "Hi"}, image("aaaa")])),
        key(user([{"type": "text", "text": "Hi"}, image("aaab")])),
        key(user(), prompt_cache_key="one"),
        key(user(), prompt_cache_key="two"),
        key(SYSTEM),
        key({"role": "system", "content": "Be long."}),
    ]
    assert len({*keys}) == len(keys)


def test_a_long_text_is_sampled_at_both_ends() -> None:
    middle = SAMPLE_CHARS + 1
    assert key(user(LONG)) == key(user(LONG[:middle] + "y" + LONG[middle + 1 :]))
    assert key(user("\ud800")) != key(user("\ud801"))


def test_the_callers_key_comes_first() -> None:
    keyed = {"prompt_cache_key": "session-1"}
    assert key(user("a"), **keyed) == key(user("b"), **keyed) != key(user("a"), payer=BOB, **keyed)


def test_each_conversation_stays_on_one_channel(sandbox: Sandbox) -> None:
    channels = [row.channel for row in ChannelModel.select().where(ChannelModel.model == sandbox.pair)]
    name = f"even-{uuid4().hex}"
    factories.model(name, *channels, **PRICES)
    ChannelModel.update(priority=0).where(ChannelModel.model == AIModel.get_by_id(name)).execute()
    eventually(lambda: sandbox.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
    turns = ([], [ASSISTANT, user("More")], [ASSISTANT, user("More"), ASSISTANT, user("And more")])
    held = 0
    while held < 60 and not (held > 5 and sandbox.provider.calls and sandbox.second.calls):
        for later in turns:
            assert sandbox.chat(model=name, messages=[SYSTEM, user(f"Question {held}"), *later]).status == 200
        held += 1
    served = [[call.json["messages"][1]["content"] for call in provider.calls] for provider in (sandbox.provider, sandbox.second)]
    counts = [Counter(texts) for texts in served]
    assert [*(counts[0] + counts[1]).values()] == [3] * held
    assert not counts[0].keys() & counts[1].keys(), "no conversation was on both channels"
    assert held < 60, "both channels serve"

"""One answer of an OpenAI-shaped provider, rendered by each endpoint, streamed and whole, with the production code."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from edge.api.chat_stream import NativeEvents
from edge.call.exchange import Finished
from edge.v1.completions import CompletionRenderer
from edge.v1.messages.response_renderer import MessageRenderer
from edge.v1.responses.request import ResponseRequest
from edge.v1.responses.response_renderer import ResponseRenderer
from edge.v1.responses.tools import ToolSet
from shared.billing.token_usage import TokenUsage
from shared.dialects import DIALECTS
from shared.ledger import Settled
from tests.shared.dialects.calls import BEGAN, CALL_ID, call_of

Json = dict[str, Any]
CALL = UUID(int=7)
USAGE = TokenUsage(7, 3)
REQUEST = ResponseRequest({}, call_of(), ToolSet(), compacts=False)


class Answer:
    """The canonical events that the reader of `dialect` produces from a stream and from a whole answer."""

    def __init__(self, dialect: str, stream: list[bytes], whole: Json | None = None) -> None:
        reader = DIALECTS[dialect].new_stream_reader(call_of(stream=True), CALL_ID, BEGAN)
        self.relays = [relay for piece in stream if (relay := reader.feed(piece))]
        if reader.error is not None:
            raise reader.error
        if not reader.done and (rest := reader.close()):
            self.relays.append(rest)
        self.streamed = Finished(reader.final_chunk(), reader.chunk_fields(), USAGE, Settled(1, 2))
        self.streamed_text, self.streamed_images, self.delivered = reader.text(), reader.image_count(), reader.delivered
        if whole is not None:
            answer = DIALECTS[dialect].parse_response(orjson.dumps(whole), call_of(), CALL_ID, BEGAN)
            self.whole = Finished(answer.body, {}, USAGE, Settled(1, 2))
            self.whole_text, self.whole_images = answer.text, answer.image_count

    def chat(self) -> Json:
        """The message and finish reason that OpenAI's SDK assembles from the stream, validated by its types."""
        state = ChatCompletionStreamState()
        for chunk in [*self.chunks(), self.streamed.body]:
            state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
        return _chat(state.current_completion_snapshot.to_dict())

    def chunks(self) -> list[Json]:
        """The relayed chunks."""
        return [orjson.loads(event[6:]) for relay in self.relays for event in relay.split(b"\n\n") if event]

    def whole_chat(self) -> Json:
        """Like `chat`, from the whole answer."""
        return _chat(ChatCompletion.model_validate(self.whole.body).to_dict())

    def message(self) -> Json:
        """The Messages API message, assembled from the stream."""
        renderer = MessageRenderer(CALL, call_of())
        self._render(renderer)
        end = {"index": 0, "message": {}, "finish_reason": self.streamed.body["choices"][0]["finish_reason"]}
        return renderer.render_complete(Finished({"choices": [end]}, {}, USAGE, Settled(1, 2)))

    def whole_message(self) -> Json:
        return MessageRenderer(CALL, call_of()).render_complete(self.whole)

    def message_events(self) -> list[Json]:
        return _events(self._render(MessageRenderer(CALL, call_of())))

    def response_events(self) -> list[Json]:
        return _events(self._render(ResponseRenderer(CALL, BEGAN, REQUEST)))

    def response(self) -> Json:
        """The final response of the stream."""
        last: Json = self.response_events()[-1]["response"]
        return last

    def whole_response(self) -> Json:
        return ResponseRenderer(CALL, BEGAN, REQUEST).render_complete(self.whole)

    def native_events(self) -> list[Json]:
        return _events(self._render(NativeEvents()))

    def completion_text(self) -> str:
        """The text of the legacy completions API."""
        chunks = _events(self._render(CompletionRenderer(CALL, call_of(), "")))
        return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])

    def _render(self, renderer: Any) -> bytes:
        return b"".join(renderer.transform_chunks(relay) for relay in self.relays) + renderer.finish(self.streamed)


def calls_of_chat(message: Json) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call."""
    found = message.get("tool_calls") or []
    assert [call.get("index", place) for place, call in enumerate(found)] == list(range(len(found)))
    assert {call["type"] for call in found} <= {"function"}
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in found]


def calls_of_message(message: Json) -> list[tuple[str, str, str]]:
    uses = [block for block in message["content"] if block["type"] == "tool_use"]
    return [(use["id"], use["name"], orjson.dumps(use["input"]).decode()) for use in uses]


def calls_of_response(response: Json) -> list[tuple[str, str, str]]:
    items = [item for item in response["output"] if item["type"] == "function_call"]
    return [(item["call_id"], item["name"], item["arguments"]) for item in items]


def _chat(completion: Json) -> Json:
    [choice] = completion["choices"]
    return {**choice["message"], "finish_reason": choice["finish_reason"]}


def _events(data: bytes) -> list[Json]:
    lines = [line for line in data.split(b"\n") if line.startswith(b"data: {")]
    return [orjson.loads(line[6:]) for line in lines]

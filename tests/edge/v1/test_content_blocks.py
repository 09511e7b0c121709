"""Deltas become sequential content blocks, and nothing is lost however a provider interleaves them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edge.v1.content_blocks import Block, Blocks
from edge.v1.deltas import Delta, deltas_of_body, deltas_of_events
from tests.openai_payloads import Json, chunk, completion, event, finish, frames, role


class RecordingRenderer:
    """A renderer that records its calls."""

    def __init__(self) -> None:
        self.open: int | None = None
        self.texts: dict[int, str] = {}

    def block_opened(self, block: Block) -> bytes:
        assert self.open is None
        self.open = block.index
        self.texts[block.index] = ""
        return b"("

    def extended(self, block: Block, piece: Delta) -> bytes:
        assert self.open == block.index
        self.texts[block.index] += piece.text
        return b"."

    def block_closed(self, block: Block) -> bytes:
        assert self.open == block.index
        self.open = None
        return b")"


def tool(index: int, arguments: str, **head: str) -> Json:
    function = {"arguments": arguments, **({"name": head["name"]} if "name" in head else {})}
    return {"index": index, **({"id": head["id"]} if "id" in head else {}), "function": function}


def render(*chunks: Json) -> tuple[bytes, list[tuple[str, str, str]]]:
    blocks = Blocks(RecordingRenderer())
    written = blocks.add(deltas_of_events(frames(*chunks))) + blocks.close()
    return written, [(block.kind, block.name, block.text) for block in blocks.all]


def test_streamed_blocks_are_in_order() -> None:
    written, blocks = render(
        role(),
        chunk(reasoning_content="Let me "),
        chunk(reasoning="see."),
        chunk("It "),
        chunk("rains."),
        chunk(tool_calls=[tool(0, "", id="c1", name="weather")]),
        chunk(tool_calls=[tool(0, '{"city":')]),
        chunk(tool_calls=[tool(0, '"Bonn"}')]),
        chunk(tool_calls=[tool(1, "{}", id="c2", name="time")]),
        chunk("second", index=1),
    )
    assert written == b"(..)(..)(..)(.)"
    assert blocks == [
        ("reasoning", "", "Let me see."),
        ("text", "", "It rains."),
        ("tool", "weather", '{"city":"Bonn"}'),
        ("tool", "time", "{}"),
    ]


def test_one_delta_may_contain_everything() -> None:
    _, blocks = render(chunk("So.", reasoning="hm", refusal="No.", tool_calls=[tool(0, "{}", name="f")]))
    assert [kind for kind, *_ in blocks] == ["reasoning", "text", "refusal", "tool"]


def test_a_whole_answer_has_the_same_blocks_as_its_stream() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    pieces, reason = deltas_of_body(completion("Hi", finish="tool_calls", tool_calls=calls, reasoning_content="hm"))
    assert reason == "tool_calls"
    assert [(piece.kind, piece.text, piece.name, piece.id) for piece in pieces] == [
        ("reasoning", "hm", "", ""),
        ("text", "Hi", "", ""),
        ("tool", '{"a":1}', "f", "c1"),
    ]


def test_the_last_chunk_has_the_finish_reason() -> None:
    assert deltas_of_body(finish("length")) == ([], "length")
    assert deltas_of_body(event([])) == ([], "stop")


def test_an_image_is_a_separate_block() -> None:
    urls = ["data:image/png;base64,AA==", "data:image/png;base64,AQ==", "https://example.com/a.png"]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    _, blocks = render(chunk("See: ", images=images))
    link = "![image](https://example.com/a.png)"
    assert blocks == [("text", "", "See: "), ("image", "", urls[0]), ("image", "", urls[1]), ("text", "", link)]


calls = st.lists(
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3).map(json.dumps), min_size=1, max_size=4
)  # the arguments of each call


@given(calls, st.data())
def test_interleaved_tool_calls_are_separated(arguments: list[str], data: st.DataObject) -> None:
    left = {index: list(text) for index, text in enumerate(arguments)}
    chunks = [chunk(tool_calls=[tool(index, "", id=f"c{index}", name=f"f{index}") for index in left])]
    while left:
        index = data.draw(st.sampled_from(sorted(left)))
        chunks.append(chunk(tool_calls=[tool(index, left[index].pop(0))]))
        if not left[index]:
            del left[index]
    _, blocks = render(*chunks)
    assert sorted(blocks) == [("tool", f"f{index}", text) for index, text in enumerate(arguments)]

"""The output items of a response, and their streaming events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from edge.v1.content_blocks import Block
from edge.v1.deltas import Delta
from edge.v1.provider_fields import encode_thinking
from edge.v1.responses.compaction import compaction_item
from edge.v1.responses.tools import ToolSet, call_item

_PREFIXES = {"reasoning": "rs", "text": "msg", "refusal": "msg", "image": "ig"}
_TOOL_PREFIXES = {
    "function": "fc",
    "custom": "ctc",
    "tool_search": "tsc",
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
}
_CALLS = ("tool", "custom")


class WriteEvent(Protocol):
    """Renders a numbered event."""

    def __call__(self, kind: str, **fields: Any) -> bytes: ...


class OutputItems:
    """The `Shape` of a response: each block is an item. Set `cut` if the answer was cut off. `tools` are the caller's.

    `seals` adds `encrypted_content` to unsigned reasoning too, because some SDKs only send back encrypted reasoning.
    """

    def __init__(self, name: str, write: WriteEvent, tools: ToolSet, *, seals: bool = False) -> None:
        self.cut = False
        self.tools = tools
        self._seals = seals
        self._name = name
        self._write = write

    def output(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        """Return the items of all blocks."""
        return [self.item(block) for block in blocks]

    def close(self, _: Sequence[Block]) -> bytes:
        """Return the events after the last block, if any."""
        return b""

    def item(self, block: Block, *, status: str | None = None) -> dict[str, Any]:
        """Return a block as an item, with its content so far."""
        status = status or ("incomplete" if self.cut else "completed")
        id = self._id(block)
        if block.kind == "reasoning":
            summary = [{"type": "summary_text", "text": block.text}] if block.parts else []
            thinking = block.signature
            if thinking is None and self._seals and block.parts:
                thinking = {"type": "thinking", "thinking": block.text}
            sealed = {"encrypted_content": encode_thinking([thinking])} if thinking is not None else {}
            return {"id": id, "type": "reasoning", "summary": summary, **sealed}
        if block.kind == "image":
            result = block.text.partition(",")[2] or None  # base64 from the data URL
            return {"id": id, "type": "image_generation_call", "status": status, "result": result}
        if block.kind in _CALLS:
            call_id = block.id or f"call_{self._name}_{block.index}"
            arguments = "" if status == "in_progress" else block.text if block.kind == "custom" else block.arguments
            return call_item(self.tools.client_tool(block.name), id, call_id, arguments, status=status)
        content = [_part(block)] if block.parts else []
        return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}

    def block_opened(self, block: Block) -> bytes:
        """Return the events of a new item and its content part, both empty."""
        added = self._write("response.output_item.added", output_index=block.index, item=self.item(block, status="in_progress"))
        if block.kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            return added + self._write("response.reasoning_summary_part.added", **self._at(block), summary_index=0, part=part)
        if block.kind in (*_CALLS, "image"):
            return added
        return added + self._write("response.content_part.added", **self._at(block), content_index=0, part=_part(block))

    def extended(self, block: Block, piece: Delta) -> bytes:
        """Return the delta event for the item's type."""
        if block.kind == "image":
            return b""  # sent completely when the item closes
        at = {**self._at(block), "delta": piece.text}
        if block.kind == "reasoning":
            return self._write("response.reasoning_summary_text.delta", **at, summary_index=0)
        if block.kind == "custom":
            return self._write("response.custom_tool_call_input.delta", **at)
        if block.kind == "tool":
            is_function = self.tools.client_tool(block.name).kind == "function"  # other calls are sent when they are complete
            return self._write("response.function_call_arguments.delta", **at) if is_function else b""
        if block.kind == "refusal":
            return self._write("response.refusal.delta", **at, content_index=0)
        return self._write("response.output_text.delta", **at, content_index=0, logprobs=list(piece.logprobs))

    def block_closed(self, block: Block) -> bytes:
        """Return the events with the complete text, part and item."""
        return self._text_done(block) + self._write("response.output_item.done", output_index=block.index, item=self.item(block))

    def _text_done(self, block: Block) -> bytes:
        at = self._at(block)
        if block.kind == "reasoning":
            part = {"type": "summary_text", "text": block.text}
            done = self._write("response.reasoning_summary_text.done", **at, summary_index=0, text=block.text)
            return done + self._write("response.reasoning_summary_part.done", **at, summary_index=0, part=part)
        if block.kind == "image":
            return self._write("response.image_generation_call.completed", **at)
        if block.kind == "custom":
            return self._write("response.custom_tool_call_input.done", **at, input=block.text)
        if block.kind == "tool":
            tool = self.tools.client_tool(block.name)
            if tool.kind != "function":
                return b""
            return self._write("response.function_call_arguments.done", **at, name=tool.name, arguments=block.arguments)
        if block.kind == "refusal":
            done = self._write("response.refusal.done", **at, content_index=0, refusal=block.text)
        else:
            done = self._write("response.output_text.done", **at, content_index=0, text=block.text, logprobs=block.logprobs)
        return done + self._write("response.content_part.done", **at, content_index=0, part=_part(block))

    def _at(self, block: Block) -> dict[str, Any]:
        return {"item_id": self._id(block), "output_index": block.index}

    def _id(self, block: Block) -> str:
        prefix = _PREFIXES.get(block.kind) or _TOOL_PREFIXES[self.tools.client_tool(block.name).kind]
        return f"{prefix}_{self._name}_{block.index}"


class CompactionItems(OutputItems):
    """The output of a compaction: one item, which contains the whole answer and is sent when the answer is complete."""

    def __init__(self, name: str, write: WriteEvent, tools: ToolSet, *, seals: bool = False) -> None:
        super().__init__(name, _write_nothing, tools, seals=seals)  # the answer itself is not shown
        self._write_item = write

    def output(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        """Return the compaction, or nothing if the answer has no text."""
        summary = "".join(block.text for block in blocks if block.kind == "text")
        return [compaction_item(f"cmp_{self._name}_0", summary)] if summary else []

    def close(self, blocks: Sequence[Block]) -> bytes:
        """Return the events of the compaction."""
        items = self.output(blocks)
        events = [(f"response.output_item.{end}", item) for item in items for end in ("added", "done")]
        return b"".join([self._write_item(kind, output_index=0, item=item) for kind, item in events])


def _write_nothing(*_: Any, **__: Any) -> bytes:
    return b""


def _part(block: Block) -> dict[str, Any]:
    if block.kind == "refusal":
        return {"type": "refusal", "refusal": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": block.logprobs}

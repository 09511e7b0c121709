"""Converts input items of the Responses API to chat messages. Raises `InvalidRequest` with the field's path. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from edge.v1.images_in_text import image_url
from edge.v1.provider_fields import decode_thinking, id_without_signature, signed_blocks, thinking_text, tool_call
from edge.v1.responses.compaction import COMPACTIONS, TRIGGER, last_compacted, read_summary
from edge.v1.responses.tools import ToolSet, sent_arguments
from shared.core.errors import InvalidRequest

ROLES = ("user", "assistant", "system", "developer")
REFERENCE = "item_reference"
_ENCRYPTED = re.compile(r"gAAAA[\w-]*={0,2}", re.ASCII)  # a Fernet token, which is how OpenAI encrypts content
Message = dict[str, Any]


def input_items(value: Any) -> list[Message]:
    """Return a validated `input` as a list of items."""
    return [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) else value


def convert_items(value: str | list[Message], tools: ToolSet, *, may_be_empty: bool = False) -> list[Message]:
    """Return the chat messages for a checked `input`, a string or a list of items. Tools in the items are added to `tools`.

    `may_be_empty` allows an input without messages, because stored items will be put before it.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    conversation = _Conversation(tools)
    compacted = last_compacted(value)
    for index, item in enumerate(value):
        where = f"input[{index}]"
        kind = item.get("type", "message")
        if (kind == TRIGGER and index == len(value) - 1) or (index <= compacted and kind != "additional_tools"):
            continue
        if kind == TRIGGER:
            raise InvalidRequest(f"A '{TRIGGER}' must be the last item.", where)
        read = _ITEMS.get(kind) if isinstance(kind, str) else None
        if read is None:
            known = ", ".join(_ITEMS)
            raise InvalidRequest(f"Unsupported item type; supported types are {known}.", f"{where}.type")
        read(conversation, item, where)
    messages = conversation.end()
    if not messages and not may_be_empty:
        raise InvalidRequest("'input' must contain more than reasoning items.", "input")
    return messages


class _Conversation:
    """Builds chat messages. A model's turn is one chat message, but several input items."""

    def __init__(self, tools: ToolSet) -> None:
        self.tools = tools
        self._messages: list[Message] = []
        self._images: list[Message] = []  # from tool outputs; tool messages can only contain text
        self._reasoning_blocks: list[Any] = []  # for the next assistant message
        self._unanswered: Counter[str] = Counter()  # calls without an output, by id
        self._outputs: dict[str, list[str]] = {}  # texts of the latest call with this id
        self._answers: list[tuple[Message, list[str]]] = []  # tool messages, and the texts of their call

    def end(self) -> list[Message]:
        self._add_images()
        for message, texts in self._answers:
            message["content"] = "\n".join(texts)
        return self._messages

    def add(self, message: Message) -> None:
        self._add_images()
        if message["role"] == "assistant":
            self._add_reasoning(message)
        else:
            # Left by an interrupted turn. Providers verify that reasoning belongs to the answer that follows it.
            self._reasoning_blocks = []
        self._messages.append(message)

    def _add_reasoning(self, message: Message) -> None:
        """Add the preceding reasoning to an assistant `message`."""
        thoughts, self._reasoning_blocks = self._reasoning_blocks, []
        if text := thinking_text(thoughts):
            message["reasoning_content"] = "\n".join(filter(None, [message.get("reasoning_content"), text]))
        if blocks := signed_blocks(thoughts):
            message["thinking_blocks"] = blocks

    def add_reasoning(self, thoughts: list[Any]) -> None:
        self._reasoning_blocks += thoughts

    def call(self, call: dict[str, Any]) -> None:
        """Add a tool call to the current assistant message, or to a new one."""
        last = self._messages[-1] if self._messages else {}
        if last.get("role") != "assistant" or self._images or signed_blocks(self._reasoning_blocks):
            self.add({"role": "assistant", "content": None})
        else:
            self._add_reasoning(last)
        self._messages[-1].setdefault("tool_calls", []).append(call)
        self._unanswered[call["id"]] += 1

    def answer(self, call_id: str, parts: str | list[Message]) -> None:
        """Add a tool output. Its images follow in a user message, after all outputs of the turn."""
        if isinstance(parts, str):
            content = parts
        else:
            content = "\n".join(part["text"] for part in parts if part["type"] == "text")
            shown = [part for part in parts if part["type"] != "text"]
            if shown:
                self._images += [{"type": "text", "text": f"What the tool call {call_id} returned:"}, *shown]
        self.append_output(call_id, content)

    def append_output(self, call_id: str, content: Any) -> None:
        """Add a tool output in chat format.

        Further outputs of the same call, which a client sends while the call is still running, are appended to the first one:
        providers accept only one result per call, directly after it.
        """
        texts = self._outputs.get(call_id)
        if texts is not None and isinstance(content, str) and not self._unanswered[call_id]:
            texts.append(content)
            return
        self._unanswered[call_id] -= 1
        message = {"role": "tool", "tool_call_id": call_id, "content": content}
        self._messages.append(message)
        if isinstance(content, str):
            self._outputs[call_id] = [content]
            self._answers.append((message, self._outputs[call_id]))

    def _add_images(self) -> None:
        if self._images:
            self._messages.append({"role": "user", "content": self._images})
            self._images = []


def _message(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise InvalidRequest(f"'{where}.role' must be one of {', '.join(ROLES)}.", f"{where}.role")
    if not isinstance(content, str | list):
        raise InvalidRequest(f"'{where}.content' must be a string or an array of content parts.", f"{where}.content")
    parts = content if isinstance(content, str) else _parts(content, f"{where}.content")
    if role == "assistant" and not isinstance(parts, str):
        other = next((index for index, part in enumerate(parts) if part["type"] not in ("text", "refusal")), None)
        if other is not None:
            at = f"{where}.content[{other}]"
            raise InvalidRequest(f"'{at}' must be text or a refusal in an assistant message.", f"{at}.type")
        parts = "".join(part.get("text") or part.get("refusal", "") for part in parts)
    conversation.add({"role": role, "content": parts})


def _function_call(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    for name in ("call_id", "name", "arguments"):
        _string(item, name, where)
    name = conversation.tools.chat_name("function", item["name"], _namespace(item, where))
    conversation.call(tool_call(item["call_id"], name, item["arguments"]))


def _custom_call(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    for name in ("call_id", "name", "input"):
        _string(item, name, where)
    name = conversation.tools.chat_name("custom", item["name"], _namespace(item, where))
    conversation.call(tool_call(item["call_id"], name, item["input"], custom=True))


def _namespace(item: Mapping[str, Any], where: str) -> str | None:
    return None if item.get("namespace") is None else _string(item, "namespace", where)


def _built_in_call(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    """Add a call of a tool without a name, such as `shell_call`."""
    if item["type"] == "tool_search_call" and item.get("execution") == "server":
        return  # only the tools in its output matter
    name = conversation.tools.chat_name(item["type"].removesuffix("_call"), "", None)
    conversation.call(tool_call(_call_id(item, where), name, sent_arguments(item)))


def _built_in_output(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    """Add the output of a tool without a name. Structured outputs become JSON, which the model can read."""
    output = item.get("output") or ""
    if not isinstance(output, str) and not (isinstance(output, list) and all(isinstance(part, dict) for part in output)):
        raise InvalidRequest(f"'{where}.output' must be a string or an array of objects.", f"{where}.output")
    text = output if isinstance(output, str) else orjson.dumps(output).decode()
    if item["type"] == "apply_patch_call_output":
        text = f"{item.get('status', 'completed')}\n{text}".rstrip()
    conversation.append_output(id_without_signature(_call_id(item, where)), text)


def _call_id(item: Mapping[str, Any], where: str) -> str:
    """Return the id of a call. Outputs of local shells have it as `id`."""
    return _string(item, "call_id" if item.get("call_id") is not None else "id", where)


def _found_tools(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    """Add the tools that a search found, and a result that refers to them."""
    names = conversation.tools.add(item.get("tools"), f"{where}.tools", deferred=True)
    if item.get("execution") == "server":
        return
    references = [{"type": "tool_reference", "tool_name": name} for name in names]
    conversation.append_output(id_without_signature(_call_id(item, where)), references or "No tools found.")


def _additional_tools(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    conversation.tools.add(item.get("tools"), f"{where}.tools")


def _agent_message(conversation: _Conversation, item: Mapping[str, Any], _: str) -> None:
    """Add a message between a client's agents as a user message. Parts that OpenAI encrypted are left out.

    Codex copies the part from the arguments of a tool call. Only OpenAI's models encrypt these; other models return text.
    """
    found = [part.get("text", part.get("encrypted_content")) for part in _parts_in(item.get("content"))]
    texts = [text for text in found if isinstance(text, str) and not _ENCRYPTED.fullmatch(text)]
    if texts:
        text = f"Message from {item.get('author')} to {item.get('recipient')}:\n" + "\n".join(texts)
        conversation.add({"role": "user", "content": text})


def _compaction(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    conversation.add({"role": "user", "content": read_summary(_string(item, "encrypted_content", where), where)})


def _no_message(*_: Any) -> None:
    """Ignore a search by a provider: the answer after it contains what the model used."""


def _function_output(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    output = item.get("output")
    if not isinstance(output, str | list):
        raise InvalidRequest(f"'{where}.output' must be a string or an array of content parts.", f"{where}.output")
    parts = output if isinstance(output, str) else _parts(output, f"{where}.output")
    conversation.answer(id_without_signature(_string(item, "call_id", where)), parts)


def _reasoning(conversation: _Conversation, item: Mapping[str, Any], _: str) -> None:
    """Add reasoning to the next assistant message: signed blocks, or else its text."""
    sealed = item.get("encrypted_content")
    blocks = decode_thinking(sealed) if isinstance(sealed, str) else []
    if not blocks:
        shown = [*_parts_in(item.get("content")), *_parts_in(item.get("summary"))]
        blocks = [{"type": "thinking", "thinking": part["text"]} for part in shown if isinstance(part.get("text"), str)]
    conversation.add_reasoning(blocks)


def _parts_in(value: Any) -> list[Mapping[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _generated_image(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    """Add an image of an earlier answer, for providers that accept images in assistant messages."""
    result = item.get("result")
    if result is None:
        return
    url = image_url(_string(item, "result", where))
    conversation.add({"role": "assistant", "content": "", "images": [{"type": "image_url", "image_url": {"url": url}}]})


def _reference(conversation: _Conversation, item: Mapping[str, Any], where: str) -> None:
    """Add a placeholder: `item_references` resolves the item before the call is sent."""
    _string(item, "id", where)
    conversation.add({"role": "assistant", "content": ""})


_ITEMS: dict[str, Callable[[_Conversation, Mapping[str, Any], str], None]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_output,
    "reasoning": _reasoning,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _function_output,
    **{f"{kind}_call": _built_in_call for kind in ("local_shell", "shell", "apply_patch", "tool_search")},
    **{f"{kind}_call_output": _built_in_output for kind in ("local_shell", "shell", "apply_patch")},
    "tool_search_output": _found_tools,
    "additional_tools": _additional_tools,
    "agent_message": _agent_message,
    **dict.fromkeys(COMPACTIONS, _compaction),
    "web_search_call": _no_message,
    "image_generation_call": _generated_image,
    REFERENCE: _reference,
}


def _parts(parts: list[Any], where: str) -> list[Message]:
    """Convert content parts to chat format."""
    converted = []
    for position, part in enumerate(parts):
        at = f"{where}[{position}]"
        kind = part.get("type") if isinstance(part, dict) else None
        read = _PARTS.get(kind) if isinstance(kind, str) else None
        if read is None:
            raise InvalidRequest(f"'{at}' must be a content part of type {', '.join(_PARTS)}.", f"{at}.type")
        converted.append(read(part, at))
    return converted


def _text(part: Mapping[str, Any], where: str) -> Message:
    return {"type": "text", "text": _string(part, "text", where)}


def _refusal(part: Mapping[str, Any], where: str) -> Message:
    return {"type": "refusal", "refusal": _string(part, "refusal", where)}


def _image(part: Mapping[str, Any], where: str) -> Message:
    _no_file_id(part, where)
    image = {"url": _string(part, "image_url", where)}
    if part.get("detail") is not None:
        image["detail"] = _string(part, "detail", where)
    return {"type": "image_url", "image_url": image}


def _file(part: Mapping[str, Any], where: str) -> Message:
    _no_file_id(part, where)
    if part.get("file_url") is not None:
        raise InvalidRequest("'file_url' is not supported. Send the file as 'file_data'.", f"{where}.file_url")
    file = {"file_data": _string(part, "file_data", where)}
    if part.get("filename") is not None:
        file["filename"] = _string(part, "filename", where)
    return {"type": "file", "file": file}


def _audio(part: Mapping[str, Any], where: str) -> Message:
    if not isinstance(part.get("input_audio"), dict):
        raise InvalidRequest(f"'{where}.input_audio' must be an object.", f"{where}.input_audio")
    return {"type": "input_audio", "input_audio": part["input_audio"]}


_PARTS: dict[str, Callable[[Mapping[str, Any], str], Message]] = {
    "input_text": _text,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
    "output_text": _text,
    "refusal": _refusal,
}


def _no_file_id(part: Mapping[str, Any], where: str) -> None:
    if part.get("file_id") is not None:
        raise InvalidRequest("'file_id' is not supported. Send the content itself.", f"{where}.file_id")


def _string(item: Mapping[str, Any], name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{where}.{name}' must be a string.", f"{where}.{name}")
    return value

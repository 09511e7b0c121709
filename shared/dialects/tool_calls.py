"""Normalizes tool calls of OpenAI-compatible providers to OpenAI's types. Pure.

In a stream, each call has a unique `index`. Its first fragment has `id`, `type`, `function.name` and `function.arguments`; later
fragments only add arguments. `arguments` are JSON text.

Known deviations: no `index`, or 0 for every call (Google's OpenAI endpoint); a new `id` in every fragment (older
vLLM); `id` or `name` in every fragment, which SDKs concatenate; an empty `id`; arguments as an object, null or missing; `{}` as
a placeholder before the arguments.

Calls of functions that stand for the caller's custom tools (`custom_tools`) become custom calls: a name, and an `input` of
any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import orjson

from shared.dialects.custom_tools import InputReader, input_of

Json = dict[str, Any]


class _Call:
    """One call. `id` is the caller's, `sent_…` are the provider's values, `started` means that its first fragment was relayed.

    `held` is an empty object received as the first arguments. It is relayed once nothing else can follow.
    """

    __slots__ = ("arguments", "custom", "held", "id", "input", "name", "place", "sent_id", "sent_index", "started")

    def __init__(self, place: int, sent_index: Any, sent_id: str, id: str) -> None:
        self.place = place
        self.sent_index = sent_index
        self.sent_id = sent_id
        self.id = id
        self.name = ""
        self.arguments = ""
        self.held = ""
        self.started = False
        self.custom = False
        self.input: InputReader | None = None  # of a function that stands for a custom tool

    def is_complete(self) -> bool:
        """Return whether the arguments are a complete JSON object."""
        return bool(self.held) or (self.arguments.rstrip()[-1:] == "}" and is_object(self.arguments))

    def take(self, arguments: str) -> str:
        """Add arguments and return what to relay of them. An empty object is held back, because more may follow."""
        if self.held and not arguments.strip():
            return ""
        self.held = arguments if not self.arguments and "".join(arguments.split()) == "{}" else ""
        if self.held:
            return ""
        self.arguments += arguments
        return arguments

    def release(self) -> Json:
        """Return the fragment with the arguments that were held back, or `{}` if there are none."""
        self.arguments, self.held = self.held or "{}", ""
        return {"index": self.place, "function": {"arguments": self.arguments}}


class ToolCalls:
    """The tool calls of one choice, fragment by fragment. `name` is used to create ids of calls without one.

    `custom` are the names of the caller's custom tools.
    """

    __slots__ = ("_at", "_calls", "_custom", "_ids", "_name")

    def __init__(self, name: str, custom: AbstractSet[str] = frozenset()) -> None:
        self._name = name
        self._custom = custom
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # the last call by the provider's index
        self._ids: set[str] = set()

    def add(self, sent: Any) -> tuple[list[Json] | None, str]:
        """Process the `tool_calls` of a delta. Returns what to relay (None means `sent` unchanged), and the text to count."""
        fragments = sent if isinstance(sent, list) else [sent]
        relay: list[Json] = []
        text = ""
        same = fragments is sent
        known = len(self._calls)
        for position, fragment in enumerate(fragments):
            made, more = self._read(fragment, position, several=len(fragments) > 1) if isinstance(fragment, dict) else (None, "")
            same = same and made is fragment is not None
            text += more
            if made is not None:
                relay.append(made)
        if len(fragments) == 1 and len(self._calls) > known:
            # SDKs parse the arguments of a call when the next one starts.
            released = [call.release() for call in self._calls[:known] if call.started and call.held]
            relay = [*released, *relay]
            same = same and not released
        if self._custom:
            converted = self._as_custom(relay)
            same, relay = same and converted == relay, converted
        return (None if same else relay), text

    def __bool__(self) -> bool:
        """Whether any call has started."""
        return bool(self._calls)

    def missing_fragments(self, *, cut: bool) -> list[Json]:
        """Return what is missing when the choice ends: calls that never had a name, and `{}` for calls without arguments.

        A choice that was `cut` ended early, so missing arguments are not added.
        """
        missing: list[Json] = []
        for call in self._calls:
            if not call.started:
                call.arguments = call.arguments or call.held
                missing.append(self._first(call, {}))
            elif call.held or not (cut or call.custom or call.arguments.strip()):
                missing.append(call.release())
        missing = self._as_custom(missing)
        for call in self._calls:
            if call.input is not None and (rest := call.input.finish(cut=cut)):
                missing.append({"index": call.place, "custom": {"input": rest}})
        return missing

    def _as_custom(self, fragments: list[Json]) -> list[Json]:
        """Return the fragments with custom calls instead of calls of functions that stand for custom tools."""
        made: list[Json] = []
        for fragment in fragments:
            call = self._calls[fragment["index"]]
            if call.custom or call.name not in self._custom:
                made.append(fragment)
                continue
            first = call.input is None
            call.input = call.input or InputReader()
            custom: Json = {"input": call.input.feed(fragment["function"].get("arguments") or "")}
            kept = {name: value for name, value in fragment.items() if name != "function"}
            if first:
                made.append({**kept, "type": "custom", "custom": {"name": call.name, **custom}})
            elif custom["input"] or len(kept) > 1:
                made.append({**kept, "custom": custom})
        return made

    def _read(self, fragment: Json, position: int, *, several: bool) -> tuple[Json | None, str]:
        index, function = fragment.get("index"), fragment.get("function")
        if type(index) is int and fragment.get("id") is None and isinstance(function, dict) and function.get("name") is None:
            call = self._at.get(index)
            arguments = function.get("arguments")
            usual = call is not None and call.started and call.place == index and fragment.get("type", "function") == "function"
            if usual and call is not None and isinstance(arguments, str) and call.arguments:
                call.arguments += arguments  # the normal case: more arguments of a started call
                return fragment, arguments
        if isinstance(fragment.get("custom"), dict):
            return self._read_custom(fragment, position, several=several)
        return self._read_odd(fragment, function if isinstance(function, dict) else {}, position, several=several)

    def _read_odd(self, fragment: Json, function: Json, position: int, *, several: bool) -> tuple[Json | None, str]:
        id, name, arguments = _id(fragment.get("id")), _text(function.get("name")), arguments_text(function.get("arguments"))
        call = self._find(fragment.get("index"), id, position, named=bool(name), several=several)
        repeated = call is not None and name and id and id == call.sent_id and arguments == (call.held or call.arguments)
        if repeated and call is not None and call.is_complete():
            return None, ""  # a repetition of the complete call, with which some providers end a stream
        if call is None or _starts_another(call, id, name, arguments):
            call = self._begin(fragment.get("index"), id)
        text = arguments if call.name or not name else name + arguments
        call.name = call.name or name
        arguments = call.take(arguments)
        if not call.started:
            # A call without a name is held back, because our callers get the name first.
            return (_same_or(fragment, self._first(call, fragment)), text) if call.name else (None, text)
        kept = {key: value for key, value in fragment.items() if key not in ("index", "id", "type", "function")}
        if not arguments and not kept:
            return None, text
        return _same_or(fragment, {**kept, "index": call.place, "function": {"arguments": arguments}}), text

    def _read_custom(self, fragment: Json, position: int, *, several: bool) -> tuple[Json, str]:
        """Process a fragment of OpenAI's custom tools: a name and an input of any text. Only the index is checked."""
        id, custom = _id(fragment.get("id")), fragment["custom"]
        call = self._find(fragment.get("index"), id, position, named=bool(custom.get("name")), several=several)
        if call is None or (id and call.sent_id and id != call.sent_id):
            call = self._begin(fragment.get("index"), id)
        call.started = call.custom = True
        return _same_or(fragment, {**fragment, "index": call.place}), _text(custom.get("name")) + _text(custom.get("input"))

    def _find(self, index: Any, id: str, position: int, *, named: bool, several: bool) -> _Call | None:
        """Return the call that a fragment may belong to: by index, id, or position in the list, or else the last one."""
        if type(index) is int:
            found = self._at.get(index)
            if found is None or not id or found.sent_id == id:
                return found
            # Calls that share an index, with interleaved fragments, are distinguished by their ids.
            self._at[index] = next((call for call in self._calls if call.sent_id == id and call.sent_index == index), found)
            return self._at[index]
        if id:
            known = next((call for call in reversed(self._calls) if call.sent_id == id), None)
            if known is not None or named:
                return known
        if several:
            return self._calls[position] if position < len(self._calls) else None
        return self._calls[-1] if self._calls else None

    def _begin(self, index: Any, id: str) -> _Call:
        place = len(self._calls)
        call = _Call(place, index, id, id if id and id not in self._ids else f"call_{self._name}_{place}")
        self._ids.add(call.id)
        self._calls.append(call)
        if type(index) is int:
            self._at[index] = call
        return call

    def _first(self, call: _Call, fragment: Mapping[str, Any]) -> Json:
        """Return the fragment that starts a call, with everything received so far."""
        call.started = True
        function = fragment.get("function")
        merged = {**(function if isinstance(function, dict) else {}), "name": call.name, "arguments": call.arguments}
        return {**fragment, "index": call.place, "id": call.id, "type": "function", "function": merged}


def normalize_calls(
    sent: Any, name: str, *, cut: bool = False, custom_tools: AbstractSet[str] = frozenset()
) -> tuple[list[Json], str]:
    """Normalize the `tool_calls` of a complete answer. Returns them and their text to count.

    `cut` as for `missing_fragments`, `custom_tools` as for `ToolCalls`.
    """
    calls: list[Json] = []
    text = ""
    taken: set[str] = set()
    for entry in sent if isinstance(sent, list) else [sent]:
        if not isinstance(entry, dict):
            continue
        id = _id(entry.get("id"))
        id = id if id and id not in taken else f"call_{name}_{len(calls)}"
        taken.add(id)
        kept = {key: value for key, value in entry.items() if key != "index"}
        custom, function = entry.get("custom"), entry.get("function")
        if isinstance(custom, dict):
            text += _text(custom.get("name")) + _text(custom.get("input"))
            calls.append({**kept, "id": id, "type": "custom"})
            continue
        function = function if isinstance(function, dict) else {}
        called, arguments = _text(function.get("name")), arguments_text(function.get("arguments"))
        text += called + arguments
        if called in custom_tools:
            kept.pop("function", None)
            calls.append({**kept, "id": id, "type": "custom", "custom": {"name": called, "input": input_of(arguments, cut=cut)}})
            continue
        made = {**function, "name": called, "arguments": arguments if cut or arguments.strip() else "{}"}
        calls.append({**kept, "id": id, "type": "function", "function": made})
    return calls, text


def arguments_text(value: Any) -> str:
    """Return arguments as JSON text: text unchanged, "" for null, other values serialized."""
    return value if isinstance(value, str) else "" if value is None else json_text(value)


def json_text(value: Any) -> str:
    """Serialize to JSON text."""
    return json_bytes(value).decode()


def json_bytes(value: Any) -> bytes:
    """Serialize to JSON, including integers over 64 bits. Raises `ValueError` or `TypeError` for values nested too deeply."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return msgspec.json.encode(value)


def is_object(text: str) -> bool:
    """Return whether `text` is a complete JSON object."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _starts_another(call: _Call, id: str, name: str, arguments: str) -> bool:
    """Return whether a fragment that matches `call` starts another call. Only fragments with a name do.

    A new id alone is not enough: some providers send a new one with every fragment.
    """
    if not name or not call.name:
        return False
    if id and call.sent_id and id != call.sent_id:
        return True
    if name != call.name:
        return not id or id != call.sent_id
    if call.held and id and id == call.sent_id:
        return False  # these arguments replace the empty object
    return bool(arguments.strip()) and call.is_complete()


def _same_or(fragment: Json, made: Json) -> Json:
    return fragment if made == fragment else made


def _id(value: Any) -> str:
    return str(value) if type(value) is int else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

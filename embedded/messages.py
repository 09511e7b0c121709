"""Validates and normalizes the messages of a chat request."""

from dataclasses import dataclass
from typing import Any

from embedded.errors import invalid_request

ROLES = ("developer", "system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message. `developer` is converted to `system`, text parts are joined, null content is ""."""

    role: str
    text: str
    calls_tools: bool = False


def read_messages(body: dict[str, Any]) -> tuple[ChatMessage, ...]:
    """Validate `messages`. Raises ApiError 400 with param "messages"."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid_request("messages", "'messages' must be a list with at least one message.")
    return tuple(_message(raw, place) for place, raw in enumerate(messages))


def last_user_text(messages: tuple[ChatMessage, ...]) -> str:
    """Return the text of the last user message, or "" if there is none."""
    return next((message.text for message in reversed(messages) if message.role == "user"), "")


def _message(raw: Any, place: int) -> ChatMessage:
    where = f"messages[{place}]"
    if not isinstance(raw, dict):
        raise invalid_request("messages", f"'{where}' must be an object with a role and content.")
    if raw.get("role") not in ROLES:
        raise invalid_request("messages", f"'{where}.role' must be one of: {', '.join(ROLES)}.")
    role = "system" if raw["role"] == "developer" else raw["role"]
    if role == "tool" and not isinstance(raw.get("tool_call_id"), str):
        raise invalid_request("messages", f"'{where}' has the role 'tool' and requires 'tool_call_id', a string.")
    return ChatMessage(role, _text(raw.get("content"), where), bool(raw.get("tool_calls")))


def _text(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid_request("messages", f"'{where}.content' must be a string or a list of text parts.")
    return "".join(_part(part, where) for part in content)


def _part(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", "refusal"):
        raise invalid_request(
            "messages", f"'{where}.content' contains a part of type {kind!r}. The embedded models support only text."
        )
    text = part.get(kind)
    if not isinstance(text, str):
        raise invalid_request("messages", f"'{where}.content' contains a {kind} part whose '{kind}' is not a string.")
    return text

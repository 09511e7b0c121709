"""Answers of the scripted provider to calls of `yout prove-cap`. The prompt names the call, the plan and how many words."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from yout.proof.scripted_upstream import Answer, Ending, Piece, Received, Word, Words

WORD = " zebra"  # one token of o200k_base
INPUT_TOKENS = 25  # that the provider reports
SLOW_SECONDS = 0.02  # between two words
_EVENTS = "text/event-stream"
_PROMPT = re.compile(rb"proof call (\d+) ([a-z0-9_]+) (\d+)")
Json = dict[str, Any]


class Script(NamedTuple):
    """The instructions in a prompt: the number of the call, the plan of the answer, and its number of words."""

    number: int
    plan: str
    words: int

    @property
    def prompt(self) -> str:
        return f"proof call {self.number} {self.plan} {self.words}"


def read_script(body: bytes) -> Script | None:
    """Return the script in a request of any dialect, or None."""
    found = _PROMPT.search(body)
    return Script(int(found[1]), found[2].decode(), int(found[3])) if found else None


def answer_script(request: Received, attempt: int) -> Answer:
    """Answer a request as its prompt says. `attempt` counts the requests of the call, from 1."""
    script = read_script(request.body)
    if script is None:
        return json_answer({"error": {"message": "No script.", "type": "invalid_request_error"}}, 400)
    if script.plan.startswith("status_"):
        return _error(int(script.plan.removeprefix("status_")))
    if script.plan == "flaky" and attempt == 1:
        return _error(500)
    if script.plan in _BEFORE_HEAD:
        return Answer([_BEFORE_HEAD[script.plan]], status=None)
    if "/embeddings" in request.path:
        return json_answer(_EMBEDDING)
    if "/images" in request.path:
        return json_answer({"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]})
    if "/audio/speech" in request.path:
        return Answer([MP3], content_type="audio/mpeg", length=len(MP3))
    streamed = b'"stream":true' in request.body.replace(b" ", b"")
    return (_STREAMS if streamed else _BODIES).get(script.plan, _stream if streamed else _body)(script)


def json_answer(body: Json, status: int = 200, *, words: int = 0) -> Answer:
    """Return a JSON response with a Content-Length."""
    data = json.dumps(body).encode()
    return Answer([Words.of(data, words)], status, length=len(data))


def _error(status: int) -> Answer:
    return json_answer({"error": {"message": f"Scripted error {status}.", "type": "server_error", "code": None}}, status)


def tokens(words: int) -> Json:
    """Return the usage that the provider reports."""
    return {"prompt_tokens": INPUT_TOKENS, "completion_tokens": words, "total_tokens": INPUT_TOKENS + words}


def _completion(words: int, usage: Json | None) -> Json:
    message = {"role": "assistant", "content": WORD * words}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "chatcmpl-proof", "object": "chat.completion", "created": 1, "model": "proof", "choices": [choice]}
    return body if usage is None else {**body, "usage": usage}


def _frame(choices: list[Json], **fields: Any) -> bytes:
    head = {"id": "chatcmpl-proof", "object": "chat.completion.chunk", "created": 1, "model": "proof"}
    return b"data: " + json.dumps({**head, "choices": choices, **fields}).encode() + b"\n\n"


def _delta(finish: str | None = None, **delta: str) -> bytes:
    return _frame([{"index": 0, "delta": delta, "finish_reason": finish}])


_ROLE, _NEXT, _STOP = _delta(role="assistant", content=""), Word(_delta(content=WORD)), _delta("stop")
_DONE = b"data: [DONE]\n\n"


def _body(script: Script) -> Answer:
    return json_answer(_completion(script.words, tokens(script.words)), words=script.words)


def _stream(script: Script, usage: Json | None = None, pause: float = 0.0) -> Answer:
    found: list[Piece] = [_ROLE]
    for _ in range(script.words):
        found += [_NEXT, pause] if pause else [_NEXT]
    return _events(*found, _STOP, _frame([], usage=usage or tokens(script.words)), _DONE)


def _events(*pieces: Piece) -> Answer:
    return Answer(pieces, content_type=_EVENTS)


def _half(script: Script, *end: Piece) -> Answer:
    return _events(_ROLE, *[_NEXT] * (script.words // 2), *end)


def _cut_body(script: Script, ending: Ending) -> Answer:
    data = json.dumps(_completion(script.words, tokens(script.words))).encode()
    return Answer([data[: len(data) // 2], ending], length=len(data))


def _slow_body(script: Script) -> Answer:
    whole = _body(script)
    return Answer([*[SLOW_SECONDS] * script.words, *whole.pieces], length=whole.length)


def _html(_: Script) -> Answer:
    data = b"<html><body><h1>Welcome</h1></body></html>"
    return Answer([data], content_type="text/html", length=len(data))


_ODD_USAGE = {"prompt_tokens": -7, "completion_tokens": 3.5, "total_tokens": 10**15}
_FAILED = {"error": {"message": "Scripted failure.", "type": "server_error", "code": None}}
_BEFORE_HEAD: Mapping[str, Ending] = {"reset": Ending.RESET, "close": Ending.CLOSE, "silent": Ending.HANG}
_STREAMS: Mapping[str, Callable[[Script], Answer]] = {
    "slow": lambda script: _stream(script, pause=SLOW_SECONDS),
    "no_usage": lambda script: _events(_ROLE, *[_NEXT] * script.words, _STOP, _DONE),
    "odd_usage": lambda script: _stream(script, _ODD_USAGE),
    "no_done": lambda script: _events(_ROLE, *[_NEXT] * script.words, _STOP, _frame([], usage=tokens(script.words))),
    "empty": lambda _: _events(_ROLE, _STOP, _frame([], usage=tokens(0)), _DONE),
    "endless": lambda script: _stream(script._replace(words=20 * script.words)),
    "html": _html,
    "garbage": lambda script: _half(script, b"data: {no json\n\n"),
    "error_event": lambda script: _half(script, b"data: " + json.dumps(_FAILED).encode() + b"\n\n"),
    "reset_midway": lambda script: _half(script, Ending.RESET),
    "close_midway": lambda script: _half(script, Ending.CLOSE),
    "hang_midway": lambda script: _half(script, Ending.HANG),
}
_BODIES: Mapping[str, Callable[[Script], Answer]] = {
    "slow": _slow_body,
    "no_usage": lambda script: json_answer(_completion(script.words, None), words=script.words),
    "odd_usage": lambda script: json_answer(_completion(script.words, _ODD_USAGE), words=script.words),
    "empty": lambda _: json_answer(_completion(0, tokens(0))),
    "endless": lambda script: json_answer(_completion(20 * script.words, tokens(20 * script.words)), words=20 * script.words),
    "html": _html,
    "garbage": lambda _: Answer([b"{no json"], length=8),
    "error_event": lambda _: json_answer(_FAILED),
    "reset_midway": lambda script: _cut_body(script, Ending.RESET),
    "close_midway": lambda script: _cut_body(script, Ending.CLOSE),
    "hang_midway": lambda script: _cut_body(script, Ending.HANG),
}
EMBEDDED = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
_EMBEDDING = {
    **{"object": "list", "data": EMBEDDED, "model": "proof"},
    "usage": {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS},
}


def _png() -> bytes:
    """Return an image of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


PNG = _png()
MP3 = b"ID3\x04\0\0\0\0\0\0" + bytes(200)

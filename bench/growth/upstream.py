"""The upstream of the measurement, one process: `python -m bench.growth.upstream PORT`.

It answers in the format of the path that is called: OpenAI's chat completions and Responses, Anthropic's Messages, and Gemini's
generateContent. The first part of the path is the number of chunks of a stream, and of words of any answer. A chunk follows
another after a millisecond, as a write of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from functools import cache
from typing import Any

import uvloop

from tests import anthropic_payloads, gemini_payloads, openai_payloads, responses_payloads

CHUNK_SECONDS = 0.001
PROMPT_TOKENS = 20
WORD = "word"


def _openai(words: int) -> tuple[Any, list[bytes]]:
    payloads = openai_payloads
    answer = payloads.completion(WORD * words, usage=payloads.tokens(PROMPT_TOKENS, words))
    chunks = [
        payloads.role(),
        *(payloads.chunk(WORD) for _ in range(words)),
        payloads.finish(),
        payloads.usage(PROMPT_TOKENS, words),
    ]
    return answer, [*(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks), payloads.DONE]


def _anthropic(words: int) -> tuple[Any, list[bytes]]:
    payloads = anthropic_payloads
    answer = payloads.message(payloads.text(WORD * words), reported=payloads.usage(PROMPT_TOKENS, words))
    return answer, [payloads.event(event) for event in payloads.events(answer, piece=len(WORD))]


def _gemini(words: int) -> tuple[Any, list[bytes]]:
    payloads = gemini_payloads
    answer = payloads.answer(payloads.text(WORD * words), reported=payloads.usage(PROMPT_TOKENS, words))
    return answer, [b"data: %b\n\n" % json.dumps(event).encode() for event in payloads.events(answer, piece=len(WORD))]


def _responses(words: int) -> tuple[Any, list[bytes]]:
    payloads = responses_payloads
    answer = payloads.response(payloads.text(WORD * words), reported=payloads.usage(PROMPT_TOKENS, words))
    return answer, [payloads.event(event) for event in payloads.events(answer, piece=len(WORD))]


FORMATS = {"chat": _openai, "messages": _anthropic, "models": _gemini, "responses": _responses}


@cache
def _answers(form: str, words: int) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the complete answer, and the pieces of the same as a stream, both with their HTTP framing."""
    answer, events = FORMATS[form](words)
    body = json.dumps(answer).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    opened = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return head + body, (opened + pieces[0], *pieces[1:], b"0\r\n\r\n")


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            path = head.split(b" ", 2)[1].decode()
            _, words, form, *_ = path.split("/")
            whole, pieces = _answers(form, int(words))
            if "streamGenerateContent" in path or b'"stream":true' in body:
                await _stream(writer, pieces)
            else:
                writer.write(whole)
    writer.close()


async def _stream(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, piece in enumerate(pieces):
        writer.write(piece)
        await asyncio.sleep(began + (number + 1) * CHUNK_SECONDS - loop.time())
        await writer.drain()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", int(sys.argv[1]), limit=1 << 20, backlog=1_000)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main())

"""The model smollm2-135m-instruct: sends requests to llama.cpp and parses its stream."""

import asyncio
import logging
import time
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from embedded import llama, model_file
from embedded.catalog import CONTEXT_TOKENS, SMOLLM2
from embedded.chat_request import ChatRequest
from embedded.errors import ApiError, invalid_request, server_error
from embedded.generation_events import Delta, Events, Usage

log = logging.getLogger(__name__)

# With other defaults a model of this size loops (temperature 0) or rambles (temperature 1).
DEFAULT_SAMPLING = {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1}
HEALTH_SECONDS = 1.0
MAX_SCHEMA_BYTES = 16 * 1024  # llama.cpp compiles a schema to a grammar; one of 300 kB blocked all requests for 30 s
RANDOM_SEED = 2**32 - 1  # llama.cpp's value for "random"; a caller's seed must not equal it


class SmolLM:
    """The model, loaded in the background; early requests wait for it. Close it before the event loop ends."""

    def __init__(self, slots: int, cache_folder: Path) -> None:
        self.state = "loading"
        self._cache_folder = cache_folder
        # Requests queue here instead of in llama.cpp, which has few HTTP threads.
        self._slots = asyncio.Semaphore(slots)
        self._slot_count = slots
        self._settled = asyncio.Event()
        self._llama: llama.Llama | None = None
        self._http: aiohttp.ClientSession | None = None

    async def load(self) -> None:
        """Find, verify and load the weights. Afterwards `state` is "ready" or "off: REASON"."""
        started_at = time.monotonic()
        try:
            self._llama = await asyncio.to_thread(self._load)
            # No keep-alive: llama.cpp closes idle connections while the next request is being written.
            self._http = aiohttp.ClientSession(
                base_url=self._llama.url,
                headers={"Authorization": f"Bearer {self._llama.key}"},
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                read_bufsize=2**20,
            )
            self.state = "ready"
            self._settled.set()
            log.info("%s is ready after %.1f s", SMOLLM2.id, time.monotonic() - started_at)
        except model_file.ModelUnavailable as error:
            self.disable(str(error))
        except Exception as error:
            # After any error demo-echo must keep working, and callers must not wait forever.
            log.exception("loading %s failed", SMOLLM2.id)
            self.disable(f"loading failed: {error}")

    def disable(self, reason: str) -> None:
        """Turn the model off; the reason is logged and shown by /healthz."""
        self.state = f"off: {reason}"
        self._settled.set()
        log.warning("%s is off: %s. demo-echo is available.", SMOLLM2.id, reason)

    async def close(self) -> None:
        """Stop generating and free the model."""
        if self._http is not None:
            await self._http.close()
        self._http = self._llama = None

    async def health(self) -> dict[str, Any]:
        """Return the state, and how many slots are generating according to llama.cpp (None if it is too busy to answer)."""
        if self._http is None:
            return {"state": self.state}
        state: dict[str, Any] = {"state": self.state, "slots": self._slot_count, "busy_slots": None}
        # llama.cpp answers only between batches; do not wait for a long one.
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(HEALTH_SECONDS), self._http.get("/slots") as reply:
                state["busy_slots"] = sum(slot["is_processing"] for slot in await reply.json())
        return state

    async def answer(self, request: ChatRequest) -> Events:
        """Generate. Closing this iterator closes the connection to llama.cpp, which frees the slot."""
        _reject_unsupported(request)
        await self._settled.wait()
        if self._http is None:
            raise ApiError(503, f"The model {SMOLLM2.id} is {self.state}.", type="server_error", code="model_not_available")
        try:
            async with self._slots, self._http.post("/v1/chat/completions", json=_body(request)) as reply:
                if reply.status != 200:
                    raise _convert_error(reply.status, await reply.read(), request)
                async with aclosing(_events(reply.content)) as events:
                    async for event in events:
                        yield event
        except aiohttp.ClientError as error:
            raise server_error("The embedded model stopped answering. Try again.") from error

    def _load(self) -> llama.Llama:
        path = model_file.find_model()
        model_file.verify_checksum(path, self._cache_folder / "smollm2-verified.json")
        return llama.load(path, self._slot_count)


def _reject_unsupported(request: ChatRequest) -> None:
    if request.n != 1:
        raise invalid_request("n", f"'n' must be 1 for {SMOLLM2.id}.")
    if request.tools and request.tool_choice.mode != "none":
        raise invalid_request("tools", f"'tools' is not supported by {SMOLLM2.id}, unless 'tool_choice' is \"none\".")
    if any(message.role == "tool" or message.calls_tools for message in request.messages):
        raise invalid_request("messages", f"Tool calls and their results are not supported by {SMOLLM2.id}.")
    if request.schema is not None and len(orjson.dumps(request.schema)) > MAX_SCHEMA_BYTES:
        raise invalid_request(
            "response_format", f"The JSON schema exceeds the limit of {MAX_SCHEMA_BYTES} bytes of {SMOLLM2.id}."
        )


def _body(request: ChatRequest) -> dict[str, Any]:
    """Return the request for llama.cpp. It always streams, because otherwise a generation continues after its client leaves."""
    body: dict[str, Any] = {
        "messages": [{"role": message.role, "content": message.text} for message in request.messages],
        "max_tokens": min(request.max_tokens or SMOLLM2.max_output_tokens, SMOLLM2.max_output_tokens),
        "stop": list(request.stop),
        "stream": True,
        "stream_options": {"include_usage": True},
        # llama.cpp notices a closed connection only when it writes data other than pings; progress is sent once per batch.
        "return_progress": True,
        **DEFAULT_SAMPLING,
        **request.sampling,
    }
    if "seed" in body:
        body["seed"] %= RANDOM_SEED
    if request.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.format == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif request.format == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": request.schema}}
    return body


async def _events(lines: aiohttp.StreamReader) -> Events:
    """Parse llama.cpp's SSE stream, without what only llama.cpp sends (pings, timings, progress)."""
    usage = None
    async for line in lines:
        if not line.startswith(b"data: {"):
            continue
        chunk = orjson.loads(line[6:])
        if "error" in chunk:
            raise server_error("The embedded model failed during its answer. Try again.")
        for choice in chunk.get("choices", ()):
            piece = _piece(choice)
            if piece is not None:
                yield piece
        usage = chunk.get("usage") or usage
    if usage is None:
        raise server_error("The embedded model ended its answer early. Try again.")
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    yield Usage(usage["prompt_tokens"], usage["completion_tokens"], cached)


def _piece(choice: dict[str, Any]) -> Delta | None:
    text = choice.get("delta", {}).get("content")
    finish = choice.get("finish_reason")
    logprobs = choice.get("logprobs")
    if text is None and finish is None and not logprobs:
        return None
    return Delta(text=text, finish_reason=finish, logprobs=_logprobs(logprobs) if logprobs else None)


def _logprobs(logprobs: dict[str, Any]) -> dict[str, Any]:
    """Convert to OpenAI's entries, which have no token `id` and always a list of alternatives."""
    entries = [_logprob(entry) for entry in logprobs.get("content") or ()]
    for entry, raw in zip(entries, logprobs.get("content") or (), strict=True):
        entry["top_logprobs"] = [_logprob(other) for other in raw.get("top_logprobs") or ()]
    return {"content": entries, "refusal": None}


def _logprob(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("token", "logprob", "bytes")}


def _convert_error(status: int, raw: bytes, request: ChatRequest) -> ApiError:
    """Convert llama.cpp's `{"error": {"code": 400, "message", "type"}}` to an OpenAI error."""
    try:
        error = orjson.loads(raw)["error"]
        kind, message = error["type"], str(error["message"])
    except (ValueError, KeyError, TypeError):
        return server_error("The embedded model sent an invalid response. Try again.")
    if kind == "exceed_context_size_error":
        return invalid_request(
            "messages",
            f"This model's maximum context length is {CONTEXT_TOKENS} tokens, but your messages have "
            f"{error.get('n_prompt_tokens', 'more')} tokens. Shorten them.",
            "context_length_exceeded",
        )
    if request.format == "json_schema":
        # llama.cpp answers 400 or 500 to an unsupported schema; the part after "failed: " is the reason.
        reason = message.rpartition("failed: ")[2]
        return invalid_request("response_format", f"{SMOLLM2.id} does not support this JSON schema: {reason}")
    if status < 500:
        return invalid_request(None, message)
    return server_error(f"The embedded model failed: {message}")

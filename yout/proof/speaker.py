"""Requests of a privacy check: a canary in every field of every route, in valid, failing and refused calls."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from yout.proof.answers import MP3, PNG
from yout.proof.dialect_answers import FAILURES

ANSWER_SECONDS = 60
JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
_BOUNDARY = "proof-boundary"
ANSWERED, GENERATED, STORED = 27, 5, 3  # what `speak_calls`, `speak_media` and `speak_stored` return if everything works
Json = dict[str, Any]
# Pages, which are not in the OpenAPI document. `{}` is replaced by a canary.
PAGES = (
    *(
        "/",
        "/models",
        "/models/{}",
        "/playground",
        "/docs",
        "/docs/{}",
        "/docs/reference",
        "/docs/reference/{}",
        "/docs/search.json",
    ),
    *("/c/{}", "/sign-in", "/sign-up", "/password/{}", "/verify-email/{}", "/closed/{}", "/closed/{}/certificate.json"),
    *("/account", "/account/keys", "/account/keys/created/{}", "/account/keys/{}/edit", "/account/keys/{}/revoke"),
    *("/account/usage", "/account/sessions", "/account/data", "/account/export.json", "/account/purge/{}/certificate.json"),
    *("/account/media", "/account/media/price", "/account/media/jobs/{}", "/account/conversations", "/account/shares"),
    *("/account/conversations/{}/delete", "/account/shares/{}/revoke", "/account/close", "/calls", "/calls.csv", "/calls/{}"),
    *("/assets/{}", "/sitemap.xml", "/robots.txt", "/openapi.json", "/healthz", "/readyz", "/metrics"),
    *("/account/members", "/account/members/{}", "/accounts", "/account/leave", "/invitation/{}", "/calls/{}/receipt.json"),
)
FORMS = (
    *("/sign-in", "/sign-up", "/sign-out", "/sign-out-everywhere", "/password/{}", "/language"),
    *("/verify-email/{}", "/verify-email/{}/resend"),
    *("/account/redeem", "/account/keys", "/account/keys/{}/edit", "/account/keys/{}/revoke", "/account/sessions/{}/end"),
    *("/account/password", "/account/email", "/account/verify-email", "/account/purge", "/account/close", "/account/media"),
    *("/account/media/jobs/{}/cancel", "/account/conversations/{}/delete", "/account/shares/{}/revoke"),
    *("/account/members/invite", "/account/members/invitations/{}/resend", "/account/members/invitations/{}/revoke"),
    *("/account/members/{}", "/account/members/{}/suspend", "/account/members/{}/resume", "/account/members/{}/remove"),
    *("/account/members/{}/transfer", "/accounts/{}/switch", "/account/leave", "/invitation/{}"),
)
# Fields of the forms; those of other forms are ignored.
_FORM_FIELDS = (
    *(
        "email",
        "password",
        "current",
        "new",
        "name",
        "code",
        "prompt",
        "input",
        "model",
        "confirm",
        "token",
        "language",
        "csrf_token",
    ),
    *("allowed_models", "allowed_ips", "rpm", "expires", "next"),
)


class Reply(NamedTuple):
    """A response: status, headers in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Speaker:
    """A caller at one edge, whose requests have a canary in every header. `say(name)` is the canary of a place."""

    def __init__(self, url: str, key: str, address: str, say: Callable[[str], str]) -> None:
        self.sent = 0
        self.key = key
        self.say = say
        self._address = address
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80

    def headers(self) -> dict[str, str]:
        say = self.say
        return {
            "user-agent": say("user_agent"),
            "cookie": f"a={say('cookie')}",
            "x-canary": say("header"),
            "referer": f"https://example.com/{say('header')}",
            "x-forwarded-for": f"203.0.113.9, {say('header')}",
            "accept-language": say("header"),
        }

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Json | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        key: bool = True,
    ) -> Reply:
        """Make one request. A dict is sent as JSON."""
        self.sent += 1
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        sent = {**self.headers(), **({"content-type": JSON_TYPE} if data is not None else {}), **(headers or {})}
        if key:
            sent["authorization"] = f"Bearer {self.key}"
        with closing(self._connection()) as connection:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            try:
                return Reply(response.status, named, response.read())
            except http.client.IncompleteRead as error:
                return Reply(response.status, named, error.partial)

    def leave(self, path: str, body: Json) -> None:
        """Send a request, and disconnect after the first bytes of the answer."""
        self.sent += 1
        with closing(self._connection()) as connection:
            headers = {**self.headers(), "authorization": f"Bearer {self.key}", "content-type": JSON_TYPE}
            connection.request("POST", path, json.dumps(body).encode(), headers)
            with suppress(OSError, http.client.HTTPException):
                connection.getresponse().read(1)

    def _connection(self) -> http.client.HTTPConnection:
        source = (self._address, 0) if self._address else None
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_SECONDS, source_address=source)
        with suppress(OSError):
            connection.connect()
            return connection
        # The system has one loopback address only.
        return http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_SECONDS)


def own_address(chance: Sequence[int]) -> str:
    """Return a loopback address made of three bytes, to recognize the caller's address; "" if it cannot be used."""
    address = ".".join(("127", *(str(1 + byte % 250) for byte in chance)))
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return ""
    return address


def chat_body(say: Callable[[str], str], model: str, **fields: Any) -> Json:
    """Return a chat request with canaries in every field that may contain content or identify somebody."""
    arguments = json.dumps({"q": say("tool_arguments")})
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    image = {"type": "image_url", "image_url": {"url": data_url("image/png", PNG + say("image").encode())}}
    parts = [{"type": "text", "text": say("prompt")}, image]
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": say("system")},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": say("tool_result")},
        ],
        "tools": [
            {"type": "function", "function": {"name": "look", "description": say("tool"), "parameters": {"type": "object"}}}
        ],
        "stop": [say("prompt")[:20]],
        "max_tokens": 50,
        **fields,
    }


def identifiers(say: Callable[[str], str]) -> Json:
    """Return the fields that identify the caller's own user. The provider gets pseudonyms at most."""
    return {
        "user": f"{say('user')}@example.com",
        "safety_identifier": say("user"),
        "metadata": {"user_id": say("metadata"), "note": say("metadata")},
        "prompt_cache_key": say("user"),
    }


def messages_body(say: Callable[[str], str], model: str, **fields: Any) -> Json:
    """Return a request of the Messages API."""
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG + say("image").encode()).decode()}
    content = [{"type": "text", "text": say("prompt")}, {"type": "image", "source": source}]
    body = {"model": model, "max_tokens": 50, "system": say("system"), "messages": [{"role": "user", "content": content}]}
    return {**body, "metadata": {"user_id": say("metadata")}, **fields}


def responses_body(say: Callable[[str], str], model: str, **fields: Any) -> Json:
    """Return a request of the Responses API."""
    image = {"type": "input_image", "image_url": data_url("image/png", PNG + say("image").encode())}
    content = [{"type": "input_text", "text": say("prompt")}, image]
    body = {"model": model, "instructions": say("system"), "input": [{"role": "user", "content": content}]}
    return {**body, "max_output_tokens": 50, **identifiers(say), **fields}


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def multipart(fields: Mapping[str, str], name: str, filename: str, media_type: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a form with a file, and its headers."""
    start = f"--{_BOUNDARY}\r\ncontent-disposition: form-data; name="
    parts = [f'{start}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()]
    head = f'{start}"{name}"; filename="{filename}"\r\ncontent-type: {media_type}\r\n\r\n'
    body = "".join([*parts, head]).encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}


def speak_calls(speaker: Speaker, models: Mapping[str, str]) -> int:
    """Make valid calls over every endpoint and dialect. Returns how many were answered."""
    say, answered = speaker.say, 0

    def count(reply: Reply) -> None:
        nonlocal answered
        answered += reply.status < 300 and say("answer").encode() in reply.body

    for dialect in ("chat", "anthropic", "gemini", "responses"):
        for streamed in (False, True):
            mode: Json = {"stream": True} if streamed else {}
            more: Json = identifiers(say) if dialect == "chat" else {"user": say("user")}
            if dialect == "responses":
                more["stop"] = None  # its providers have no stop sequences
            claim = {"idempotency-key": say("idempotency_key") + dialect + str(streamed), "x-yout-tag": say("tag")}
            count(speaker.request("POST", "/v1/chat/completions", chat_body(say, models[dialect], **more, **mode), claim))
            count(speaker.request("POST", "/v1/messages", messages_body(say, models[dialect], **mode)))
            count(speaker.request("POST", "/v1/responses", responses_body(say, models[dialect], **mode)))
    for body in ({"prompt": say("prompt")}, {"prompt": say("prompt"), "stream": True}):
        count(speaker.request("POST", "/v1/completions", {"model": models["chat"], "max_tokens": 50, **body}))
    count(speaker.request("POST", "/api/chat/stream/", {"model": models["chat"], "prompt": say("prompt"), "max_tokens": 50}))
    speaker.leave("/v1/chat/completions", chat_body(say, models["chat"], stream=True))
    others: Sequence[tuple[str, str, Json]] = (
        ("embedding", "/v1/embeddings", {"input": say("prompt"), "user": say("user")}),
        ("moderation", "/v1/moderations", {"input": say("prompt")}),
        ("rerank", "/v1/rerank", {"query": say("prompt"), "documents": [say("file")]}),
    )
    for kind, path, body in others:
        speaker.request("POST", path, {"model": models[kind], **body})
    fields = {"model": models["transcription"], "prompt": say("prompt")}
    form, headers = multipart(fields, "file", f"{say('filename')}.mp3", "audio/mpeg", MP3 + say("file").encode())
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations", "/api/chat/transcription/"):
        speaker.request("POST", path, form, headers)
    return answered


def speak_failures(speaker: Speaker, models: Mapping[str, str]) -> None:
    """Make calls that the provider fails with a canary in the error, in both modes."""
    for failure in FAILURES:
        for mode in ({}, {"stream": True}):
            speaker.request("POST", "/v1/chat/completions", chat_body(speaker.say, models[failure], **mode))
        speaker.request("POST", "/v1/responses", responses_body(speaker.say, models[failure]))
        speaker.request("POST", "/v1/messages", messages_body(speaker.say, models[failure], stream=True))


def speak_media(speaker: Speaker, models: Mapping[str, str]) -> int:
    """Generate an image, speech and a video, edit an image, and fail a job. Returns how many jobs succeeded."""
    say, tag = speaker.say, {"x-yout-tag": speaker.say("tag")}
    image = {"model": models["image"], "prompt": say("prompt"), "user": say("user")}
    replies = [
        speaker.request("POST", "/v1/images/generations", {**image, "response_format": "b64_json"}, tag),
        speaker.request("POST", "/v1/audio/speech", {"model": models["speech"], "input": say("prompt"), "voice": "alloy"}, tag),
    ]
    fields = {"model": models["image"], "prompt": say("prompt"), "response_format": "b64_json"}
    form, headers = multipart(fields, "image", f"{say('filename')}.png", "image/png", PNG + say("image").encode())
    replies.append(speaker.request("POST", "/v1/images/edits", form, headers))
    started = speaker.request("POST", "/v1/videos", {"model": models["video"], "prompt": say("prompt"), "seconds": "5"})
    native = speaker.request("POST", "/api/media/image/", {"model": models["image"], "prompt": say("prompt")})
    failed = speaker.request("POST", "/api/media/image/", {"model": models["image_error"], "prompt": say("prompt")})
    succeeded = sum(reply.status == 200 for reply in replies)
    jobs = [reply.json["job_uuid"] for reply in (native, failed) if reply.status == 202]
    succeeded += sum(_wait_for_job(speaker, f"/api/media/jobs/{job}/") == "succeeded" for job in jobs)
    if started.status == 200:
        succeeded += _wait_for_job(speaker, f"/v1/videos/{started.json['id']}") == "completed"
    return succeeded


def _wait_for_job(speaker: Speaker, path: str, tries: int = 150) -> str:
    for _ in range(tries):
        status = str(speaker.request("GET", path).json.get("status"))
        if status not in ("queued", "running", "in_progress"):
            return status
        time.sleep(0.2)
    return "waiting"


def speak_stored(speaker: Speaker, models: Mapping[str, str]) -> int:
    """Store a conversation, a share and a response, as a user may ask for. Returns how many were stored."""
    say = speaker.say
    kept = [{"role": "user", "content": say("stored")}, {"role": "assistant", "content": say("stored")}]
    stored = {"model": models["chat"], "messages": kept[:1], "store": True, "max_tokens": 50}
    replies = [
        speaker.request("POST", "/api/chat/stream/", stored),
        speaker.request("POST", "/v1/responses", {"model": models["chat"], "input": say("stored"), "store": True}),
        speaker.request("POST", "/api/chat/share/", {"title": say("stored"), "messages": kept}),
    ]
    if replies[2].status in (200, 201):
        speaker.request("GET", f"/c/{replies[2].json['slug']}", key=False)
    return sum(reply.status in (200, 201) for reply in replies)


def speak_refused(speaker: Speaker, document: Json) -> int:
    """Send what every route of the OpenAPI document refuses: canaries as every field, parameter and part of the path."""
    say = speaker.say
    count = speaker.sent
    for path, operations in document["paths"].items():
        where = re.sub(r"\{[^}]*\}", say("path"), path)
        for method in operations:
            if path.startswith("/api/chat/purge") and method == "post":
                continue  # it would remove what the check looks for
            query = urlencode({"after": say("query"), "limit": say("query"), say("query"): say("query")})
            fields = _field_names(operations[method], document)
            body: Json | None = {name: say("field") for name in fields} if method in ("post", "put", "patch") else None
            speaker.request(method.upper(), f"{where}?{query}", body)
            if body is not None:
                speaker.request(method.upper(), where, f'{{"{say("field")}": "{say("field")}'.encode())
                speaker.request(
                    method.upper(), where, {**body, "model": say("field"), say("field"): {say("field"): [say("field")]}}
                )
    speaker.request(
        "POST", "/v1/chat/completions", chat_body(say, say("field")), {"authorization": f"Bearer {say('key')}"}, key=False
    )
    return speaker.sent - count


def _field_names(operation: Json, document: Json) -> list[str]:
    found: list[str] = []
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content.get("schema", {})
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        found += schema.get("properties", {})
    return found


def speak_pages(speaker: Speaker, cookie: str) -> int:
    """Open every page, and send every form, without and with a session. Returns the number of requests."""
    say, count = speaker.say, speaker.sent
    form = urlencode({name: say("form") for name in _FORM_FIELDS}).encode()
    for headers in ({}, {"cookie": f"{cookie}; a={say('cookie')}"}):
        for path in PAGES:
            speaker.request(
                "GET", path.format(say("path"), say("path")) + f"?q={say('query')}&after={say('query')}", None, headers, key=False
            )
        for path in FORMS:
            speaker.request("POST", path.format(say("path")), form, {**headers, "content-type": FORM_TYPE}, key=False)
    return speaker.sent - count

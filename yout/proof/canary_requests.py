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
ANSWERED, GENERATED, STORED = 27, 5, 3  # what `send_calls`, `send_media` and `send_stored` return if everything works
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
        "/trust",
        "/trust.json",
    ),
    *(
        "/c/{}",
        "/sign-in",
        "/sign-up",
        "/password/{}",
        "/verify-email/{}",
        "/confirm-email/{}",
        "/cancel-email/{}",
        "/closed/{}",
        "/closed/{}/certificate.json",
    ),
    *("/account", "/account/keys", "/account/keys/created/{}", "/account/keys/{}/edit", "/account/keys/{}/revoke"),
    *("/account/usage", "/account/sessions", "/account/data", "/account/export.json", "/account/purge/{}/certificate.json"),
    *("/account/media", "/account/media/price", "/account/media/jobs/{}", "/account/conversations", "/account/shares"),
    *("/account/conversations/{}/delete", "/account/shares/{}/revoke", "/account/close", "/calls", "/calls.csv", "/calls/{}"),
    *("/assets/{}", "/sitemap.xml", "/robots.txt", "/openapi.json", "/healthz", "/readyz", "/metrics"),
    *("/account/members", "/account/members/{}", "/accounts", "/account/leave", "/invitation/{}", "/calls/{}/receipt.json"),
    *("/account/budgets", "/account/budgets/{}", "/account/credits", "/account/credits/orders/{}", "/account/emails"),
    "/account/plan",
    *("/account/security", "/forgot-password", "/sign-in/code", "/sign-in/{}", "/sign-in/{}/callback"),
)
FORMS = (
    *("/sign-in", "/sign-up", "/sign-out", "/sign-out-everywhere", "/password/{}", "/language"),
    *("/verify-email/{}", "/verify-email/{}/resend", "/confirm-email/{}", "/cancel-email/{}", "/account/email/cancel"),
    *("/account/redeem", "/account/keys", "/account/keys/{}/edit", "/account/keys/{}/revoke", "/account/sessions/{}/end"),
    *("/account/password", "/account/email", "/account/verify-email", "/account/purge", "/account/close", "/account/media"),
    *("/account/media/jobs/{}/cancel", "/account/conversations/{}/delete", "/account/shares/{}/revoke"),
    *("/account/members/invite", "/account/members/invitations/{}/resend", "/account/members/invitations/{}/revoke"),
    *("/account/members/{}", "/account/members/{}/suspend", "/account/members/{}/resume", "/account/members/{}/remove"),
    *("/account/members/{}/transfer", "/accounts/{}/switch", "/account/leave", "/invitation/{}"),
    *("/account/budgets", "/account/budgets/{}", "/account/budgets/{}/delete", "/account/emails", "/forgot-password"),
    *("/account/credits/checkout", "/account/credits/invoice", "/account/credits/top-up", "/account/credits/card/remove"),
    *("/account/credits/orders/{}/pay", "/account/credits/orders/{}/cancel", "/webhooks/stripe/"),
    *("/account/plan/subscribe", "/account/plan/change", "/account/plan/cancel", "/account/plan/keep"),
    *("/account/plan/overage", "/account/plan/bills/{}/pay"),
    *("/account/identities/connect", "/account/identities/{}/disconnect", "/account/passkeys", "/account/passkeys/{}/remove"),
    *("/account/second-factor", "/account/second-factor/off", "/account/second-factor/recovery-codes"),
    *("/sign-in/code", "/sign-in/passkey"),
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
    *("allowed_models", "allowed_ips", "rpm", "expires", "next", "amount", "challenge", "credential", "tag", "webhook_url"),
)


class Reply(NamedTuple):
    """A response: status, headers in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class CanaryClient:
    """A client of one edge, whose requests have a canary in every header. `canary(name)` returns the canary with this name."""

    def __init__(self, url: str, key: str, address: str, canary: Callable[[str], str]) -> None:
        self.sent = 0
        self.key = key
        self.canary = canary
        self._address = address
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80

    def headers(self) -> dict[str, str]:
        canary = self.canary
        return {
            "user-agent": canary("user_agent"),
            "cookie": f"a={canary('cookie')}",
            "x-canary": canary("header"),
            "referer": f"https://example.com/{canary('header')}",
            "x-forwarded-for": f"203.0.113.9, {canary('header')}",
            "accept-language": canary("header"),
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


def own_address(random_bytes: Sequence[int]) -> str:
    """Return a loopback address made of three bytes, to recognize the caller's address; "" if it cannot be used."""
    address = ".".join(("127", *(str(1 + byte % 250) for byte in random_bytes)))
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return ""
    return address


def chat_body(canary: Callable[[str], str], model: str, **fields: Any) -> Json:
    """Return a chat request with canaries in every field that may contain content or identify someone."""
    arguments = json.dumps({"q": canary("tool_arguments")})
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    image = {"type": "image_url", "image_url": {"url": data_url("image/png", PNG + canary("image").encode())}}
    parts = [{"type": "text", "text": canary("prompt")}, image]
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": canary("system")},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": canary("tool_result")},
        ],
        "tools": [
            {"type": "function", "function": {"name": "look", "description": canary("tool"), "parameters": {"type": "object"}}}
        ],
        "stop": [canary("prompt")[:20]],
        "max_tokens": 50,
        **fields,
    }


def identifiers(canary: Callable[[str], str]) -> Json:
    """Return the fields that identify the caller's own user. The provider gets pseudonyms at most."""
    return {
        "user": f"{canary('user')}@example.com",
        "safety_identifier": canary("user"),
        "metadata": {"user_id": canary("metadata"), "note": canary("metadata")},
        "prompt_cache_key": canary("user"),
    }


def messages_body(canary: Callable[[str], str], model: str, **fields: Any) -> Json:
    """Return a request of the Messages API."""
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG + canary("image").encode()).decode()}
    content = [{"type": "text", "text": canary("prompt")}, {"type": "image", "source": source}]
    body = {"model": model, "max_tokens": 50, "system": canary("system"), "messages": [{"role": "user", "content": content}]}
    return {**body, "metadata": {"user_id": canary("metadata")}, **fields}


def responses_body(canary: Callable[[str], str], model: str, **fields: Any) -> Json:
    """Return a request of the Responses API."""
    image = {"type": "input_image", "image_url": data_url("image/png", PNG + canary("image").encode())}
    content = [{"type": "input_text", "text": canary("prompt")}, image]
    body = {"model": model, "instructions": canary("system"), "input": [{"role": "user", "content": content}]}
    return {**body, "max_output_tokens": 50, **identifiers(canary), **fields}


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def multipart(fields: Mapping[str, str], name: str, filename: str, media_type: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a form with a file, and its headers."""
    start = f"--{_BOUNDARY}\r\ncontent-disposition: form-data; name="
    parts = [f'{start}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()]
    head = f'{start}"{name}"; filename="{filename}"\r\ncontent-type: {media_type}\r\n\r\n'
    body = "".join([*parts, head]).encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}


def send_calls(client: CanaryClient, models: Mapping[str, str]) -> int:
    """Make valid calls over every endpoint and dialect. Returns how many were answered."""
    canary, answered = client.canary, 0

    def count(reply: Reply) -> None:
        nonlocal answered
        answered += reply.status < 300 and canary("answer").encode() in reply.body

    for dialect in ("chat", "anthropic", "gemini", "responses"):
        for streamed in (False, True):
            mode: Json = {"stream": True} if streamed else {}
            more: Json = identifiers(canary) if dialect == "chat" else {"user": canary("user")}
            if dialect == "responses":
                more["stop"] = None  # its providers have no stop sequences
            claim = {"idempotency-key": canary("idempotency_key") + dialect + str(streamed), "x-yout-tag": canary("tag")}
            count(client.request("POST", "/v1/chat/completions", chat_body(canary, models[dialect], **more, **mode), claim))
            keep = {"x-yout-safe-retries": "true"}  # Redis gets the answer, encrypted
            count(client.request("POST", "/v1/messages", messages_body(canary, models[dialect], **mode), keep))
            count(client.request("POST", "/v1/responses", responses_body(canary, models[dialect], **mode), keep))
    for body in ({"prompt": canary("prompt")}, {"prompt": canary("prompt"), "stream": True}):
        count(client.request("POST", "/v1/completions", {"model": models["chat"], "max_tokens": 50, **body}))
    count(client.request("POST", "/api/chat/stream/", {"model": models["chat"], "prompt": canary("prompt"), "max_tokens": 50}))
    client.leave("/v1/chat/completions", chat_body(canary, models["chat"], stream=True))
    others: Sequence[tuple[str, str, Json]] = (
        ("embedding", "/v1/embeddings", {"input": canary("prompt"), "user": canary("user")}),
        ("moderation", "/v1/moderations", {"input": canary("prompt")}),
        ("rerank", "/v1/rerank", {"query": canary("prompt"), "documents": [canary("file")]}),
    )
    for kind, path, body in others:
        client.request("POST", path, {"model": models[kind], **body})
    fields = {"model": models["transcription"], "prompt": canary("prompt")}
    form, headers = multipart(fields, "file", f"{canary('filename')}.mp3", "audio/mpeg", MP3 + canary("file").encode())
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations", "/api/chat/transcription/"):
        client.request("POST", path, form, headers)
    return answered


def send_failures(client: CanaryClient, models: Mapping[str, str]) -> None:
    """Make calls to which the provider responds with a failure that contains a canary, streaming and not."""
    for failure in FAILURES:
        for mode in ({}, {"stream": True}):
            client.request("POST", "/v1/chat/completions", chat_body(client.canary, models[failure], **mode))
        client.request("POST", "/v1/responses", responses_body(client.canary, models[failure]))
        client.request("POST", "/v1/messages", messages_body(client.canary, models[failure], stream=True))


def send_media(client: CanaryClient, models: Mapping[str, str]) -> int:
    """Generate an image, speech and a video, edit an image, and fail a job. Returns how many jobs succeeded."""
    canary, tag = client.canary, {"x-yout-tag": client.canary("tag")}
    image = {"model": models["image"], "prompt": canary("prompt"), "user": canary("user")}
    replies = [
        client.request("POST", "/v1/images/generations", {**image, "response_format": "b64_json"}, tag),
        client.request("POST", "/v1/audio/speech", {"model": models["speech"], "input": canary("prompt"), "voice": "alloy"}, tag),
    ]
    fields = {"model": models["image"], "prompt": canary("prompt"), "response_format": "b64_json"}
    form, headers = multipart(fields, "image", f"{canary('filename')}.png", "image/png", PNG + canary("image").encode())
    replies.append(client.request("POST", "/v1/images/edits", form, headers))
    started = client.request("POST", "/v1/videos", {"model": models["video"], "prompt": canary("prompt"), "seconds": "5"})
    native = client.request("POST", "/api/media/image/", {"model": models["image"], "prompt": canary("prompt")})
    failed = client.request("POST", "/api/media/image/", {"model": models["image_error"], "prompt": canary("prompt")})
    succeeded = sum(reply.status == 200 for reply in replies)
    jobs = [reply.json["job_uuid"] for reply in (native, failed) if reply.status == 202]
    succeeded += sum(_wait_for_job(client, f"/api/media/jobs/{job}/") == "succeeded" for job in jobs)
    if started.status == 200:
        succeeded += _wait_for_job(client, f"/v1/videos/{started.json['id']}") == "completed"
    return succeeded


def _wait_for_job(client: CanaryClient, path: str, tries: int = 150) -> str:
    for _ in range(tries):
        status = str(client.request("GET", path).json.get("status"))
        if status not in ("queued", "running", "in_progress"):
            return status
        time.sleep(0.2)
    return "waiting"


def send_stored(client: CanaryClient, models: Mapping[str, str]) -> int:
    """Store a conversation, a share and a response, as users can. Returns how many were stored."""
    canary = client.canary
    kept = [{"role": "user", "content": canary("stored")}, {"role": "assistant", "content": canary("stored")}]
    stored = {"model": models["chat"], "messages": kept[:1], "store": True, "max_tokens": 50}
    replies = [
        client.request("POST", "/api/chat/stream/", stored),
        client.request("POST", "/v1/responses", {"model": models["chat"], "input": canary("stored"), "store": True}),
        client.request("POST", "/api/chat/share/", {"title": canary("stored"), "messages": kept}),
    ]
    if replies[2].status in (200, 201):
        client.request("GET", f"/c/{replies[2].json['slug']}", key=False)
    return sum(reply.status in (200, 201) for reply in replies)


def send_refused(client: CanaryClient, document: Json) -> int:
    """Send invalid requests to every route of the OpenAPI document: canaries as every field, parameter and part of the path.

    Returns the number of requests.
    """
    canary = client.canary
    count = client.sent
    for path, operations in document["paths"].items():
        where = re.sub(r"\{[^}]*\}", canary("path"), path)
        for method in operations:
            if path.startswith("/api/chat/purge") and method == "post":
                continue  # it would remove what the check looks for
            query = urlencode({"after": canary("query"), "limit": canary("query"), canary("query"): canary("query")})
            fields = _field_names(operations[method], document)
            body: Json | None = {name: canary("field") for name in fields} if method in ("post", "put", "patch") else None
            client.request(method.upper(), f"{where}?{query}", body)
            if body is not None:
                client.request(method.upper(), where, f'{{"{canary("field")}": "{canary("field")}'.encode())
                client.request(
                    method.upper(),
                    where,
                    {**body, "model": canary("field"), canary("field"): {canary("field"): [canary("field")]}},
                )
    client.request(
        "POST",
        "/v1/chat/completions",
        chat_body(canary, canary("field")),
        {"authorization": f"Bearer {canary('key')}"},
        key=False,
    )
    return client.sent - count


def _field_names(operation: Json, document: Json) -> list[str]:
    found: list[str] = []
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content.get("schema", {})
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        found += schema.get("properties", {})
    return found


def send_pages(client: CanaryClient, cookie: str) -> int:
    """Open every page, and send every form, without and with a session. Returns the number of requests."""
    canary, count = client.canary, client.sent
    form = urlencode({name: canary("form") for name in _FORM_FIELDS}).encode()
    for headers in ({}, {"cookie": f"{cookie}; a={canary('cookie')}"}):
        for path in PAGES:
            client.request(
                "GET",
                path.format(canary("path"), canary("path")) + f"?q={canary('query')}&after={canary('query')}",
                None,
                headers,
                key=False,
            )
        for path in FORMS:
            client.request("POST", path.format(canary("path")), form, {**headers, "content-type": FORM_TYPE}, key=False)
    return client.sent - count

"""The `openai` dialect: chat completions as in OpenAI's API and compatible ones.

Settings of a channel:

    body            object merged into every request body, e.g. {"store": false, "provider": {"data_collection": "deny"}}
    headers         object of extra request headers, e.g. {"x-no-log": "1"}
    max_tokens      "max_tokens" or "max_completion_tokens": the only one that the provider supports; default: the caller's
    efforts         list of accepted values of `reasoning_effort`, or an object of such lists by model name: other values are
                    replaced by the nearest one; with an empty list the effort is omitted
    sampling        when to send temperature, top_p and penalties, for all models or by name: "all" (default, always), "none"
                    (never), "without_reasoning" (only with the effort "none"), or "by_default_without_reasoning" (also
                    without an effort)
    effort_with_tools  for all models or by name: the only effort that can be combined with tools, or false if tools cannot
    no_thinking     object of fields that disable thinking: sent instead of the effort "none", and if a tool is forced,
                    e.g. {"thinking": {"type": "disabled"}}
    strict_schemas  true: strict schemas are converted to the subset that OpenAI documents
    roles           list of accepted roles; `developer` and `system` are replaced by each other
    named_roles     list of roles whose messages may have a `name`; in other messages it is prefixed to the text
    custom_tools    true for models that accept custom tools, for all models or by name; for others, they become functions
    tool_ids        regular expression for ids of tool calls; other ids are rewritten in the request
    required_history  object of fields that assistant messages must have in a conversation with tools, with the value to send
                    if the history has none, e.g. {"reasoning_content": " "}
    history         list of accepted fields among those left by earlier answers (`strip_foreign_fields.py`); default: all
    stream_usage    false if the provider rejects `stream_options`
    path            path of calls below the base URL, where `{model}` is the model name; default: `/chat/completions`
    query           object of query parameters, e.g. {"api-version": "2024-10-21"}
    key_header      header with the secret, if it is not a bearer token, e.g. "api-key"
    identity        field for the caller's pseudonym, instead of the one that the caller used, e.g. "user_id"
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8 as BOM
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from shared.billing.token_usage import read_openai_usage
from shared.catalog.model_settings import nearest_effort, of_model
from shared.catalog.snapshot import Route
from shared.dialects.base import Answer, ChatCall, MalformedStream, ProviderError, ProviderRequest, Target
from shared.dialects.custom_tools import as_functions, custom_names
from shared.dialects.deferred_tools import load_tools
from shared.dialects.finish_reasons import FAILED, to_openai_reason
from shared.dialects.identity import pseudonymize
from shared.dialects.openai_quirks import adapt_request
from shared.dialects.openai_response import LABELS, finish_reason_of, normalize_choices
from shared.dialects.openai_stream import OpenAIStream
from shared.dialects.strip_foreign_fields import has_no_answer_fields, strip_foreign_fields
from shared.text.json_depth import is_too_deep

MAX_MESSAGE_LENGTH = 600
# Must never reach a caller: keys, hosts, addresses, and ids of organizations, projects and requests.
_SECRETS = re.compile(
    r"https?://\S+"
    r"|\bbearer\s+\S+"
    r"|\b(?:sk|pk|org|proj|key|req|acct|yout)[-_][\w\-*.]{4,}"
    r"|\b(?=[\w-]*\d)[\w-]{24,}"
    r"|\[[\da-f]*:[\da-f:]*:[\da-f:.]*\](?::\d+)?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"
    r"|[\w.+-]+@[\w-]+\.[\w.]+"
    r"|\b(?:localhost|(?:[a-z\d-]+\.)+(?:com|net|org|ai|io|dev|app|cloud|chat|co|cn|eu|us|tech|internal|local|example))\b(?::\d+)?",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_PARAM = re.compile(r"[A-Za-z][\w.\[\]-]{0,63}")


class OpenAIDialect:
    """See the module's docstring."""

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest:
        """Return the provider's request for `call`: with its model name, usage, pseudonyms and the output limit."""
        route = target.route
        settings = route.settings
        request = load_tools(call.body)
        if not of_model(settings, "custom_tools", route.upstream_model, False):
            request = as_functions(request)
        body = {**request, "model": route.upstream_model}
        if call.stream and settings.get("stream_usage", True):
            body["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
        elif "stream_options" in body:
            del body["stream_options"]
        pseudonymize(body, target)
        if body.get("store"):
            body["store"] = False  # no content is stored, here or at the provider
        _limit_output(body, target.max_output_tokens, settings.get("max_tokens"))
        if "reasoning_effort" in body:
            _fit_effort(body, route)
        if settings:
            adapt_request(body, settings, route.upstream_model)
        if settings.get("body"):
            body.update(settings["body"])
        data = orjson.dumps(body)
        accepted = settings.get("history")
        if isinstance(accepted, list) and not has_no_answer_fields(data):
            data = orjson.dumps(strip_foreign_fields(body, accepted))
        return ProviderRequest("POST", channel_url(route, "/chat/completions"), request_headers(target), data, tuple(body))

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:
        """Parse a chat completion. Raises `MalformedStream` for invalid data."""
        try:
            body = orjson.loads(data.removeprefix(BOM))
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        if not isinstance(body, dict) or not _choices_are_whole(body.get("choices")):
            raise MalformedStream("no choices")
        if is_too_deep(data, body):
            raise MalformedStream("nested too deeply to be relayed")
        if not (isinstance(body.get("id"), str) and body["id"].startswith("chatcmpl-")):
            body["id"] = call_id
        if type(body.get("created")) is not int:
            body["created"] = created
        body.update(object="chat.completion", model=call.model)
        return to_answer(body, custom_names(call.body))

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> OpenAIStream:
        """Return a reader for one stream. `call_id` replaces an id that is not `chatcmpl-…`."""
        return OpenAIStream(call.model, call_id, created, custom_names(call.body))

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error. Only 400, 413 and 422 concern the request."""
        return read_openai_error(status, data, call.model, target)


OPENAI = OpenAIDialect()


def read_openai_error(status: int, data: bytes, model: str, target: Target) -> ProviderError:
    """Parse an error of a call of `model`. Only 400, 413 and 422 concern the request."""
    if status not in (400, 413, 422):
        return ProviderError(False, None, None, None)
    error = error_object(data)
    message = error.get("message")
    shown = scrub_message(message, model, target) if isinstance(message, str) else None
    return ProviderError(True, shown or None, _matching(_PARAM, error.get("param")), _matching(_CODE, error.get("code")))


def scrub_message(message: str, model: str, target: Target) -> str:
    """Return a provider's message without keys, hosts and account details, at most `MAX_MESSAGE_LENGTH` characters.

    The provider's model name is replaced by the caller's.
    """
    text = message[: 4 * MAX_MESSAGE_LENGTH].replace("\0", "")  # limits the cost of a huge message
    text = re.sub(rf"(?<![\w.-]){re.escape(target.route.upstream_model)}(?![\w-])", "\0", text)
    for secret in (target.secret, urlsplit(target.route.base_url).netloc):
        if secret:
            text = text.replace(secret, "[removed]")
    return _SECRETS.sub("[removed]", text).replace("\0", model)[:MAX_MESSAGE_LENGTH]


def request_headers(target: Target, own: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
    """Return content type, referer, the dialect's `own` headers and the channel's, but none of the caller's.

    Without `own`, the credential is sent as a bearer token or in the channel's `key_header`.
    """
    headers = {"content-type": "application/json", "accept": "*/*", "user-agent": "yout", "http-referer": target.referer}
    if own is None:
        key_header = target.route.settings.get("key_header")
        own = {str(key_header).lower(): target.secret} if key_header else {"authorization": _bearer(target.secret)}
    headers.update({name: value for name, value in own.items() if value})
    extra: Mapping[str, str] | None = target.route.settings.get("headers")
    if extra:
        headers.update({name.lower(): value for name, value in extra.items()})
    return tuple(headers.items())


def _bearer(secret: str) -> str:
    return f"Bearer {secret}" if secret else ""


def channel_url(route: Route, default_path: str) -> str:
    """Return the URL of calls: the base URL with the channel's `path` and `query`."""
    if not route.settings:
        return route.base_url + default_path
    path = str(route.settings.get("path") or default_path)
    if "{model}" in path:
        path = path.replace("{model}", quote(route.upstream_model, safe=""))
    query = route.settings.get("query")
    return route.base_url + path + (f"?{urlencode(query)}" if isinstance(query, dict) and query else "")


def _limit_output(body: dict[str, Any], clamp: int | None, only: str | None) -> None:
    """Set one output limit, the smallest of the caller's and `clamp`, in the caller's field or the only supported one."""
    if clamp is None and "max_completion_tokens" not in body and "max_tokens" not in body:
        return
    requested = {name: body.pop(name) for name in ("max_completion_tokens", "max_tokens") if name in body}
    limits = [limit for limit in (*requested.values(), clamp) if limit is not None]
    if limits:
        used = next((name for name, limit in requested.items() if limit is not None), "max_tokens")
        body[only or used] = min(limits)


def _fit_effort(body: dict[str, Any], route: Route) -> None:
    """Replace the effort by the nearest one that the model accepts, or omit it if the model accepts none."""
    requested = body["reasoning_effort"]
    effort = nearest_effort(route.settings, route.upstream_model, requested) if isinstance(requested, str) else requested
    if effort is None and requested is not None:
        del body["reasoning_effort"]
    else:
        body["reasoning_effort"] = effort


def error_object(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(body, list) and body:  # some providers wrap the object in a list
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else {}
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    """Return `value` if it matches, else None. Providers' values are stored, so they must not contain anything unexpected."""
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _choices_are_whole(choices: object) -> bool:
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices)
    )


def to_answer(body: dict[str, Any], custom_tools: AbstractSet[str] = frozenset()) -> Answer:
    """Normalize a provider's chat completion in place and return it as an answer. Raises `MalformedStream` if it failed.

    `custom_tools` are the names of the caller's custom tools.
    """
    for name in LABELS:
        if body.get(name) is not None and not isinstance(body[name], str):
            del body[name]
    choices = body["choices"]
    delivered = normalize_choices(choices, str(body["id"]).removeprefix("chatcmpl-"), custom_tools)
    if body.get("error") and not delivered.anything:
        raise MalformedStream("the provider reported an error")
    for choice in choices:
        reason = choice.get("finish_reason")
        end = to_openai_reason(reason, delivered=delivered.anything) if isinstance(reason, str) and reason else "stop"
        if end == FAILED:
            raise MalformedStream("the provider failed to complete its answer")
        choice["finish_reason"] = finish_reason_of(end, choice["message"])
    return Answer(body, read_openai_usage(body.get("usage"), body.get("service_tier")), *delivered)

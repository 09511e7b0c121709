"""Refuses options of client libraries and proxies in a request body. Pure.

Staff can allow any other unknown field for a channel, but not these: an upstream that is itself a gateway could
obey them, and send its own credential to another host, call another model, or skip the call.

Sources: the constructors and request options of the OpenAI and Anthropic SDKs; the parameters that LiteLLM's `completion` and
its proxy read from a body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.core.errors import InvalidRequest

MAX_NAME = 100  # characters quoted in an error message
_SDK = (
    *("api_key", "admin_api_key", "auth_token", "base_url", "websocket_base_url", "webhook_secret", "organization", "project"),
    *("timeout", "max_retries", "http_client", "default_headers", "default_query", "extra_headers", "extra_query", "extra_body"),
)
_PROXY = (
    *("api_base", "api_type", "api_version", "base_model", "client", "custom_llm_provider", "deployment_id", "model_list"),
    *("headers", "proxies", "proxy", "proxy_server_request", "ssl_verify", "secret_fields", "region_name", "hf_model_name"),
    *("num_retries", "retry_policy", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "user_config"),
    *("configurable_clientside_auth_params", "provider_specific_header", "drop_params", "additional_drop_params"),
    *("allowed_openai_params", "callbacks", "success_callback", "failure_callback"),
    *("input_cost_per_token", "output_cost_per_token", "input_cost_per_second", "output_cost_per_second"),
)
CLIENT_OPTIONS = frozenset((*_SDK, *_PROXY))
CLIENT_PREFIXES = ("aws_", "azure_", "litellm_", "mock_", "user_api_key", "vertex_")
_ADVICE = {
    "api_key": " Send the key in the 'Authorization: Bearer …' header.",
    "extra_body": " Send its fields at the top level of the body.",
    "fallbacks": " List fallback models in 'models'.",
}


def drop_client_options(body: dict[str, Any]) -> None:
    """Remove null client options from `body`. Raises `InvalidRequest` for one with a value."""
    found = [name for name in body if name in CLIENT_OPTIONS or name.startswith(CLIENT_PREFIXES)]
    for name in found:
        if body[name] is not None:
            _refuse(name)
        del body[name]


def refuse_client_options(names: Iterable[str]) -> None:
    """Raise `InvalidRequest` if a form field is a client option, including bracketed names such as `extra_body[seed]`."""
    for name in names:
        plain = name.partition("[")[0]
        if plain in CLIENT_OPTIONS or plain.startswith(CLIENT_PREFIXES):
            _refuse(plain)


def _refuse(name: str) -> None:
    shown = name[:MAX_NAME]
    advice = _ADVICE.get(name, " Remove it from the body.")
    raise InvalidRequest(f"'{shown}' is a client library option, not a request field.{advice}", shown)

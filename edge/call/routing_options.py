"""The routing options of a chat body, `models` and `provider`. They are never forwarded to providers.

They follow OpenRouter's API, except for `max_price`, which is in credits per 1,000 tokens like all prices here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from shared.catalog.routing import RoutingPreferences
from shared.core.errors import InvalidRequest

MAX_MODELS = 8
MAX_NAMES = 50
MAX_MODEL_LENGTH = 200
FIELDS = ("order", "only", "ignore", "allow_fallbacks", "sort", "data_collection", "max_price")
SORTS: tuple[Literal["price", "latency", "throughput"], ...] = ("price", "latency", "throughput")


def read_models(body: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """Return the requested model (not validated), and the fallback models in order. Raises `InvalidRequest`."""
    value, model = body.get("models"), body.get("model")
    if value is None:
        return model, ()
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MODELS or not all(map(_is_model, value)):
        _refuse("models", f"must be a list of 1 to {MAX_MODELS} model ids")
    first = value[0] if model is None else model
    others = dict.fromkeys(name for name in value if name != first)
    return first, tuple(others)


def read_preferences(value: object) -> RoutingPreferences | None:
    """Parse the `provider` object; None if it is missing. Raises `InvalidRequest`."""
    if value is None:
        return None
    if not isinstance(value, dict):
        _refuse("provider", "must be an object")
    for name in value:
        if name not in FIELDS:
            _refuse(f"provider.{str(name)[:100]}", f"is not supported; supported fields are {', '.join(FIELDS)}")
    sort = value.get("sort")
    if sort is not None and sort not in SORTS:
        _refuse("provider.sort", f"must be one of {', '.join(SORTS)}")
    collection = value.get("data_collection")
    if collection not in (None, "allow", "deny"):
        _refuse("provider.data_collection", "must be 'allow' or 'deny'")
    fall_back = value.get("allow_fallbacks")
    if fall_back is not None and not isinstance(fall_back, bool):
        _refuse("provider.allow_fallbacks", "must be true or false")
    prices = _prices(value.get("max_price"))
    return RoutingPreferences(
        order=_names(value, "order") or (),
        only=_names(value, "only"),
        ignore=_names(value, "ignore") or (),
        allow_fallbacks=fall_back is not False,
        sort=sort,
        zero_retention=collection == "deny",
        max_input_price=prices.get("prompt"),
        max_output_price=prices.get("completion"),
    )


def _names(value: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    names = value.get(name)
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(entry, str) for entry in names):
        _refuse(f"provider.{name}", f"must be a list of at most {MAX_NAMES} channel or provider names")
    return tuple(names)


def _prices(value: object) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse("provider.max_price", "must be an object with 'prompt' and 'completion', in credits per 1,000 tokens")
    for name, price in value.items():
        if name not in ("prompt", "completion") or type(price) is not int or price < 0:
            _refuse(
                f"provider.max_price.{str(name)[:100]}", "must be 'prompt' or 'completion', in whole credits per 1,000 tokens"
            )
    return value


def _is_model(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_MODEL_LENGTH


def _refuse(param: str, why: str) -> NoReturn:
    raise InvalidRequest(f"'{param}' {why}.", param)

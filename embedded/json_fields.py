"""Reads typed fields of a JSON object. An explicit null counts as absent, because SDKs send both."""

import math
from collections.abc import Sequence
from typing import Any

from embedded.errors import invalid_request


def boolean(body: dict[str, Any], name: str, param: str | None = None) -> bool:
    """Return the field as a bool, False if absent. Raises ApiError 400."""
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise invalid_request(param or name, f"'{param or name}' must be true or false.")
    return value


def integer(body: dict[str, Any], name: str, minimum: int | None, maximum: int | None) -> int | None:
    """Return the field as an int within the bounds, None if absent. Raises ApiError 400."""
    value = body.get(name)
    if value is None:
        return None
    # In Python bool is a subclass of int; in JSON `true` is not a number.
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_request(name, f"'{name}' must be an integer.")
    _check_bounds(name, value, minimum, maximum)
    return value


def number(body: dict[str, Any], name: str, minimum: float, maximum: float) -> float | None:
    """Return the field as a finite number within the bounds, None if absent. Raises ApiError 400."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid_request(name, f"'{name}' must be a number.")
    _check_bounds(name, value, minimum, maximum)
    return value


def one_of(body: dict[str, Any], name: str, choices: Sequence[str], param: str) -> str:
    """Return the field, which must be one of `choices`. Raises ApiError 400."""
    value = body.get(name)
    if not isinstance(value, str) or value not in choices:
        raise invalid_request(param, f"'{param}' must be one of: {', '.join(choices)}.")
    return value


def _check_bounds(name: str, value: float, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and value < minimum:
        raise invalid_request(name, f"'{name}' must be at least {minimum}, but is {value}.")
    if maximum is not None and value > maximum:
        raise invalid_request(name, f"'{name}' must be at most {maximum}, but is {value}.")

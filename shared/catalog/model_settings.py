"""Reads a channel setting for one model: either one value for all models, or an object by the provider's model name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EFFORTS = ("none", "minimal", "low", "default", "medium", "high", "xhigh", "max")  # in ascending order


def of_model(settings: Mapping[str, Any], name: str, model: str, default: Any) -> Any:
    """Return the setting `name` for the provider's `model`, or `default` if it is not set."""
    value = settings.get(name)
    if isinstance(value, dict):
        value = value.get(model)
    return default if value is None else value


def nearest_effort(settings: Mapping[str, Any], model: str, requested: str) -> str | None:
    """Return the accepted effort nearest to `requested`, according to the setting `efforts`; None if the model accepts no effort.

    Without the setting, or for an unknown effort, returns `requested`.
    """
    accepted = of_model(settings, "efforts", model, None)
    if not isinstance(accepted, list) or requested in accepted or requested not in EFFORTS:
        return requested
    place = EFFORTS.index(requested)
    near = [effort for effort in accepted if effort in EFFORTS and effort != "none"]
    return min(near, key=lambda effort: abs(EFFORTS.index(effort) - place), default=None)

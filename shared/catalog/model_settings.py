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


def nearest_effort(settings: Mapping[str, Any], model: str, asked: str) -> str | None:
    """Return the accepted effort nearest to `asked`, according to the setting `efforts`; None if the model accepts none.

    Without the setting, or for an unknown effort, returns `asked`.
    """
    accepted = of_model(settings, "efforts", model, None)
    if not isinstance(accepted, list) or asked in accepted or asked not in EFFORTS:
        return asked
    place = EFFORTS.index(asked)
    near = [effort for effort in accepted if effort in EFFORTS and effort != "none"]
    return min(near, key=lambda effort: abs(EFFORTS.index(effort) - place), default=None)

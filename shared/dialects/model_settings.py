"""What a channel's settings say of one of its models: one value for all, or an object of the provider's names to values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EFFORTS = ("none", "minimal", "low", "default", "medium", "high", "xhigh", "max")  # in their order


def of_model(settings: Mapping[str, Any], name: str, model: str, default: Any) -> Any:
    """The setting `name` for the provider's `model`; `default` where there is none."""
    value = settings.get(name)
    if isinstance(value, dict):
        value = value.get(model)
    return default if value is None else value


def nearest_effort(settings: Mapping[str, Any], model: str, asked: str) -> str | None:
    """The nearest to the effort `asked` that the model takes, by the setting `efforts`; None where it takes none.

    Without the setting, and of an unknown effort, the effort itself.
    """
    taken = of_model(settings, "efforts", model, None)
    if not isinstance(taken, list) or asked in taken or asked not in EFFORTS:
        return asked
    place = EFFORTS.index(asked)
    near = [effort for effort in taken if effort in EFFORTS and effort != "none"]
    return min(near, key=lambda effort: abs(EFFORTS.index(effort) - place), default=None)

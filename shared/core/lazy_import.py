"""Imports a library at its first use, for libraries that most processes or calls never use.

    if TYPE_CHECKING:
        import redis
    else:
        redis = lazy_import("redis")  # 7 MB and 0.1 s

The first use loads it in whichever thread it happens. Use it only for what is not needed to serve a call.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def lazy_import(name: str) -> Any:
    """Return a substitute for the module `name`, with the attributes of the module. `ImportError` is raised at the first use."""
    return _LazyModule(name)


class _LazyModule:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)

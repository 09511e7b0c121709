"""Loads Hypercorn's HTTP/2 and WebSocket protocols at their first use: 2 MB and 13 ms that most processes never need.

Hypercorn imports them at once, but the fast connection of `transport.fast_hypercorn` uses neither.
"""

import sys
from importlib import import_module
from types import ModuleType

_CLASSES = {"hypercorn.protocol.h2": "H2Protocol", "hypercorn.protocol.ws_stream": "WSStream"}


def postpone_protocols() -> None:
    """Call it before Hypercorn is imported. Each module is then loaded when the first object of its class is created."""
    for module, class_name in _CLASSES.items():
        if module not in sys.modules:
            sys.modules[module] = _Substitute(module, class_name)


class _Substitute(ModuleType):
    """Stands in for a module of which Hypercorn only calls one class."""

    def __init__(self, name: str, class_name: str) -> None:
        super().__init__(name)
        self._class_name = class_name
        setattr(self, class_name, self._create)

    def _create(self, *arguments: object) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), self._class_name)(*arguments)

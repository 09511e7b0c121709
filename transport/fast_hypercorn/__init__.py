"""A faster HTTP/1.1 connection for Hypercorn. `install` enables it; `Limits` bounds what a client may cost.

Hypercorn still handles configuration, workers, signals, lifespan, TLS, HTTP/2 and graceful shutdown. Only the path between a
clear-text socket and the ASGI application changes: no stream reader, queue or task group, one timer per connection, one write
per response, and a stricter request parser.
"""

from .install import install
from .limits import Limits
from .request_cycle import DISCONNECT

__all__ = ["DISCONNECT", "Limits", "install"]

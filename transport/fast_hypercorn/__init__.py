"""A faster HTTP/1.1 connection for Hypercorn: `install` puts it in, `Limits` bounds what a peer may cost.

Hypercorn keeps its configuration, workers, signals, lifespan, TLS, HTTP/2 and graceful stop. What changes is the way
from a clear-text socket to the ASGI application and back: no stream reader, queue or task group in between, one timer
a connection, one write an answer, and a stricter reading of the request.
"""

from .install import install
from .limits import Limits

__all__ = ["Limits", "install"]

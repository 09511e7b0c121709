"""CORS: the origins whose pages may call the API from a browser.

They need an API key: no response has `Access-Control-Allow-Credentials`, so browsers send no cookies from other origins.
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

ANY_ORIGIN = "*"
PATHS = ("/v1/", "/v2/", "/api/")
METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
MAX_AGE_SECONDS = 7200  # Chromium's maximum
MAX_REQUESTED_HEADERS = 2_000  # characters
_EXPOSED = b", ".join(
    (
        *(b"x-request-id", b"request-id", b"retry-after", b"retry-after-ms", b"x-should-retry"),
        *(b"x-ratelimit-%b-%b" % (what, of) for what in (b"limit", b"remaining", b"reset") for of in (b"requests", b"tokens")),
        *(
            b"x-yout-%b" % name
            for name in (b"attempts", b"balance", b"channel", b"credits-charged", b"job", b"model", b"replayed")
        ),
        *(b"deprecation", b"link", b"sunset"),
        *(b"accept-encoding", b"accept-ranges", b"allow", b"content-disposition", b"content-length", b"content-range", b"etag"),
    )
)


class Cors:
    """The allowed origins from `YOUT_CORS_ORIGINS`: all (`*`), a list, or none."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = ANY_ORIGIN in origins
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)

    def headers(self, origin: bytes | None) -> Headers:
        """Return the CORS headers of a response, errors included, to a request from `origin`."""
        if origin is None:
            return []
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        if origin not in self._origins:
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        ]

    def preflight(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers | None:
        """Return the headers of the response to a preflight, or None if it is no preflight or its origin is not allowed.

        All requested headers are allowed: a call from another origin is authenticated by its key alone.
        """
        sent = dict(headers)
        origin = sent.get(b"origin")
        allowed = self.headers(origin)
        if b"access-control-request-method" not in sent or not any(name == b"access-control-allow-origin" for name, _ in allowed):
            return None
        answer = [
            *((name, value) for name, value in allowed if name == b"access-control-allow-origin"),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
            (b"vary", b"origin, access-control-request-headers"),
        ]
        requested = sent.get(b"access-control-request-headers", b"")
        if requested and len(requested) <= MAX_REQUESTED_HEADERS:
            answer.append((b"access-control-allow-headers", requested))
        if sent.get(b"access-control-request-private-network") == b"true":  # a public page calls an edge in a private network
            answer.append((b"access-control-allow-private-network", b"true"))
        return answer

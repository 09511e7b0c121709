"""`HttpRequest` and response `Headers`."""

from collections.abc import Iterator

from msgspec import Struct


class HttpRequest(Struct, frozen=True, gc=False):
    """A request with its complete body.

    `url` is an absolute, percent-encoded `http` or `https` URL. `headers` must not include those that the client sets itself
    (host, framing, connection, accept-encoding); see `request_head`.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Headers:
    """Response headers, decoded on first access."""

    __slots__ = ("_index", "_pairs")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self._index: dict[str, str] | None = None

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header; `name` is in lower case. Repeated headers are joined with ", " (RFC 9110, 5.3)."""
        index = self._index
        if index is None:
            index = self._index = {}
            for key, value in self:
                index[key] = f"{index[key]}, {value}" if key in index else value
        return index.get(name, default)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield (lower-case name, value) in order of arrival, including repeated names."""
        for name, value in self._pairs:
            yield name.decode("latin-1").lower(), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"

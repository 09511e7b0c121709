"""The two plain values of the client: the request that goes out and the headers that come back."""

from collections.abc import Iterator
from typing import NamedTuple


class HttpRequest(NamedTuple):
    """One request, complete: the body is in memory.

    `url` is absolute, `http` or `https`, ASCII, already percent-encoded. `headers` must not name what the client itself
    decides (host, framing, connection, accept-encoding); see `request_head`.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Headers:
    """Response headers. Kept as the bytes that came; turned into text only when somebody asks."""

    __slots__ = ("_index", "_pairs")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self._index: dict[str, str] | None = None

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a header, `name` in lower case. Repeated headers are joined by ", " (RFC 9110, 5.3)."""
        index = self._index
        if index is None:
            index = self._index = {}
            for key, value in self:
                index[key] = f"{index[key]}, {value}" if key in index else value
        return index.get(name, default)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(lower-case name, value) in the order of arrival, repeated names included."""
        for name, value in self._pairs:
            yield name.decode("latin-1").lower(), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"

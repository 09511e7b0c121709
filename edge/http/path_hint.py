"""The hint in a 404 for a client with a wrong base URL: the path exists, but under another prefix. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

NO_HINT = "The API is under /v1; see the documentation for its paths."


def path_hint(path: str, edge_url: str, is_known: Callable[[str], bool]) -> str:
    """One sentence for the 404 of `path`. `is_known` checks whether a path exists for the request's method."""
    for rest in _suffixes(path.rstrip("/")):
        known = f"/v1{rest.removeprefix('/v1')}"
        if is_known(known):
            if known.startswith("/v1/messages"):  # SDKs of the Messages API add /v1 themselves
                return f"Set your client's base URL to {edge_url}, or to {edge_url}/v1 if it adds no /v1 itself."
            return f"Set your client's base URL to {edge_url}/v1."
    return NO_HINT


def _suffixes(path: str) -> Iterator[str]:
    """The path, and its remainders after removing leading segments."""
    while path:
        yield path
        _, slash, rest = path[1:].partition("/")
        path = slash + rest

"""Hints in 404 errors for clients with a wrong base URL. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

NO_HINT = "The API is under /v1; see the documentation for all paths."


def path_hint(path: str, edge_url: str, is_known: Callable[[str], bool]) -> str:
    """Return a hint for the 404 of `path`. `is_known` checks whether a path exists for the request's method."""
    for rest in _suffixes(path.rstrip("/")):
        known = f"/v1{rest.removeprefix('/v1')}"
        if is_known(known):
            if known.startswith("/v1/messages"):  # Anthropic's SDKs add /v1 themselves
                return f"Set your client's base URL to {edge_url}, or to {edge_url}/v1 if the client does not add /v1."
            return f"Set your client's base URL to {edge_url}/v1."
    return NO_HINT


def _suffixes(path: str) -> Iterator[str]:
    """Yield the path, then the path without its first segment, and so on."""
    while path:
        yield path
        _, slash, rest = path[1:].partition("/")
        path = slash + rest

"""Directives of demo-echo: commands at the start of the last user message, for testing a client."""

import re
from dataclasses import dataclass

from embedded.errors import ApiError, invalid_request

DIRECTIVE = re.compile(r"\s*/(slow|fail|cut|words)\b[ \t]*(\S*)[ \t]*")

BOUNDS = {"slow": (0, 60_000), "fail": (400, 599), "cut": (0, 10_000), "words": (1, 10_000)}

FAULTS = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "permission_denied"),
    404: ("not_found_error", "not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


@dataclass(frozen=True, slots=True)
class Directives:
    """The parsed directives. `text` is the message without them."""

    text: str
    word_delay_ms: int = 0
    fail_status: int | None = None
    cut_after_words: int | None = None
    answer_words: int | None = None


def parse_directives(message: str) -> Directives:
    """Parse the directives at the start of a message. Raises ApiError 400 for an invalid number."""
    values: dict[str, int] = {}
    while (match := DIRECTIVE.match(message)) is not None:
        values[match[1]] = _amount(match[1], match[2])
        message = message[match.end() :]
    return Directives(
        text=message.strip() if values else message,
        word_delay_ms=values.get("slow", 0),
        fail_status=values.get("fail"),
        cut_after_words=values.get("cut"),
        answer_words=values.get("words"),
    )


def scripted_error(status: int) -> ApiError:
    """Return the error that a real API would send with this status; 429 and 503 include Retry-After."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind, code = FAULTS.get(status, (kind, "demo_failure"))
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    return ApiError(status, f"Requested by the /fail directive: status {status}.", kind, code=code, headers=headers)


def _amount(directive: str, given: str) -> int:
    minimum, maximum = BOUNDS[directive]
    if not re.fullmatch(r"[0-9]{1,6}", given) or not minimum <= int(given) <= maximum:
        raise invalid_request(
            "messages", f"'/{directive}' requires a whole number from {minimum} to {maximum}, such as '/{directive} {maximum}'."
        )
    return int(given)

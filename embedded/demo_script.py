"""Scripted behaviour of demo-echo: directives that open the last user message, for people who test their client."""

import re
from dataclasses import dataclass

from embedded.errors import ApiError, invalid

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
class Script:
    """What the message asked for besides an echo. `text` is the message without its directives."""

    text: str
    word_delay_ms: int = 0
    fail_status: int | None = None
    cut_after_words: int | None = None
    answer_words: int | None = None


def read_script(message: str) -> Script:
    """Take the directives off the front of a message. Raises ApiError 400 for one without a sensible number."""
    found: dict[str, int] = {}
    while (match := DIRECTIVE.match(message)) is not None:
        found[match[1]] = _amount(match[1], match[2])
        message = message[match.end() :]
    return Script(
        text=message.strip() if found else message,
        word_delay_ms=found.get("slow", 0),
        fail_status=found.get("fail"),
        cut_after_words=found.get("cut"),
        answer_words=found.get("words"),
    )


def fault(status: int) -> ApiError:
    """The error a real API would send with this status; 429 and 503 say when to come back."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind, code = FAULTS.get(status, (kind, "demo_failure"))
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    return ApiError(status, f"demo-echo was told to fail with {status}.", kind, code=code, headers=headers)


def _amount(directive: str, given: str) -> int:
    least, most = BOUNDS[directive]
    if not re.fullmatch(r"[0-9]{1,6}", given) or not least <= int(given) <= most:
        raise invalid("messages", f"'/{directive}' needs a whole number from {least} to {most}, as in '/{directive} {most}'.")
    return int(given)

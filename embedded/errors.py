"""Errors in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`, always with all four keys."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class ApiError(Exception):
    """An error response. `param` names the invalid request field, `code` is machine-readable."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status == 503:
            self.headers.setdefault("Retry-After", "5")

    def body(self) -> dict[str, Any]:
        """Return the JSON body, also sent as an SSE event if a stream fails after its first chunk."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


def invalid_request(param: str | None, message: str, code: str | None = None) -> ApiError:
    """Return a 400 for an invalid request."""
    return ApiError(400, message, param=param, code=code)


def server_error(message: str) -> ApiError:
    """Return a 500."""
    return ApiError(500, message, type="server_error")

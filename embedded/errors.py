"""Errors as the OpenAI API words them: `{"error": {"message", "type", "param", "code"}}`, always with all four keys."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class ApiError(Exception):
    """An answer that is not 200. `param` names the request field at fault, `code` is for programs."""

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
        """The JSON body; also sent as one SSE event when a stream fails after its first chunk."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


def invalid(param: str | None, message: str, code: str | None = None) -> ApiError:
    """A 400 that says which field is wrong and what would be right."""
    return ApiError(400, message, param=param, code=code)


def server_error(message: str) -> ApiError:
    """A 500: the fault is ours, trying again may help."""
    return ApiError(500, message, type="server_error")

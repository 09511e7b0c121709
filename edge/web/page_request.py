"""Requests to pages: their bodies are small forms, so a lower size limit applies."""

from __future__ import annotations

from typing import Any

from quart import Request

API = ("/v1/", "/api/")
MAX_FORM_BYTES = 64_000


class PageRequest(Request):
    """Limits the bytes read of a page's body, because a chunked body declares no length."""

    def __init__(
        self, method: str, scheme: str, path: str, *rest: Any, max_content_length: int | None = None, **options: Any
    ) -> None:
        if not path.startswith(API):
            max_content_length = min(max_content_length or MAX_FORM_BYTES, MAX_FORM_BYTES)
        super().__init__(method, scheme, path, *rest, max_content_length=max_content_length, **options)

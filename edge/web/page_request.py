"""The request class of pages, with a lower body size limit, because forms are small."""

from __future__ import annotations

from typing import Any

from quart import Request

API = ("/v1/", "/api/")
PROBES = ("/healthz", "/readyz", "/metrics")
WEBHOOKS = "/webhooks/"
MAX_FORM_BYTES = 64_000
MAX_WEBHOOK_BYTES = 500_000


class PageRequest(Request):
    """Limits the bytes read from a page's body; chunked bodies have no declared length."""

    def __init__(
        self, method: str, scheme: str, path: str, *rest: Any, max_content_length: int | None = None, **options: Any
    ) -> None:
        if not path.startswith(API):
            limit = MAX_WEBHOOK_BYTES if path.startswith(WEBHOOKS) else MAX_FORM_BYTES
            max_content_length = min(max_content_length or limit, limit)
        super().__init__(method, scheme, path, *rest, max_content_length=max_content_length, **options)

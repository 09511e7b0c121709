"""Interface of media formats, and the values that they exchange with media jobs. Pure.

begin(call, target)          → the request that starts the generation
read(answer)                 → files, URLs to download them from, or the id of a provider's job
poll(vendor_job, target)     → the request for the status of such a job; `read` parses its response
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from shared.billing.pricing import MediaUnits
from shared.dialects.base import ProviderError, ProviderRequest, Target


class InputFile(NamedTuple):
    """A file of a request, sent in the form field `field`. `media_type` is that of its bytes."""

    field: str
    media_type: str
    data: bytes


class MediaCall(NamedTuple):
    """A validated media request.

    kind      image, video or speech
    body      fields for the provider, in OpenAI's names, including the prompt; deleted when the job ends
    units     the amount to bill
    options   fields that can be kept (numbers and names), never a prompt. `operation` is `edit` or `variation` for images that
              are made from others
    files     input images; deleted when the job ends
    tag       the caller's label for the usage row, not for the provider
    """

    kind: str
    model: str
    body: Mapping[str, Any]
    units: MediaUnits
    options: Mapping[str, Any]
    files: tuple[InputFile, ...] = ()
    tag: str | None = None

    @property
    def cost_kind(self) -> str:
        """The kind of request in the table of cost effects, such as `image edit`."""
        operation = self.options.get("operation")
        return f"{self.kind} {operation}" if operation else self.kind


class FileUrl(NamedTuple):
    """A file at a URL named by the provider. It is downloaded with protection against internal addresses."""

    url: str


class AuthenticatedDownload(NamedTuple):
    """A file that the provider delivers to the owner of the credential."""

    build_request: ProviderRequest


MediaFile = bytes | FileUrl | AuthenticatedDownload


class MediaAnswer(NamedTuple):
    """A parsed response.

    files        the files, in order; empty while the provider is working
    provider_job_id  id of the provider's job if it continues
    progress     percent, or None if not reported
    failure      validated error code if the provider failed, else None
    cost_nano_usd  what the provider reports that it charges us, in billionths of a USD, or None
    """

    files: tuple[MediaFile, ...] = ()
    provider_job_id: str | None = None
    progress: int | None = None
    failure: str | None = None
    cost_nano_usd: int | None = None


class MalformedAnswer(Exception):
    """The provider's response does not have the expected format."""


class MediaDialect(Protocol):
    """Wire format for one kind of media.

    `raw` means that the response body is the file itself, and `read` is not called. `read` raises `MalformedAnswer`.
    """

    body_is_file: bool

    def build_request(self, call: MediaCall, target: Target) -> ProviderRequest: ...
    def parse_response(self, data: bytes, target: Target) -> MediaAnswer: ...
    def build_poll_request(self, provider_job: str, target: Target) -> ProviderRequest: ...
    def parse_error(self, status: int, data: bytes, call: MediaCall, target: Target) -> ProviderError: ...

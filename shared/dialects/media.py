"""The values between media jobs and a vendor's wire format, and what a format of one kind of media must offer. Pure.

begin(call, target)          → the request that asks for the media
read(answer)                 → what it brought: files, places to fetch them from, or a job of the vendor's own
poll(vendor_job, target)     → for such a job, the request that asks how it is; answered in the same terms
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from shared.billing.pricing import MediaUnits
from shared.dialects.base import Target, VendorError, VendorRequest


class MediaCall(NamedTuple):
    """A validated wish for media.

    kind      image, video or speech
    body      the fields for the vendor, in OpenAI's names, the prompt among them; never kept beyond the job
    units     what it is priced by
    options   the numbers and names among the fields that may be kept: never a prompt
    """

    kind: str
    model: str
    body: Mapping[str, Any]
    units: MediaUnits
    options: Mapping[str, Any]


class Link(NamedTuple):
    """A file that lies at an address which the vendor named: fetched with the guard against inner addresses."""

    url: str


class Download(NamedTuple):
    """A file that the vendor gives to the owner of the credential."""

    request: VendorRequest


Piece = bytes | Link | Download


class MediaAnswer(NamedTuple):
    """What an answer brought.

    pieces       the files, in order; empty while the vendor works on
    vendor_job   the vendor's name for the work, when it goes on
    progress     per cent, None where the vendor doesn't tell
    failure      why the vendor gave up, as a code that was checked; None when it did not
    """

    pieces: tuple[Piece, ...] = ()
    vendor_job: str | None = None
    progress: int | None = None
    failure: str | None = None


class MalformedAnswer(Exception):
    """The vendor's answer is none of the format."""


class MediaDialect(Protocol):
    """One wire format for one kind of media.

    `raw` says that the answer's body is the file itself, which `read` then never sees. `read` raises `MalformedAnswer`.
    """

    raw: bool

    def begin(self, call: MediaCall, target: Target) -> VendorRequest: ...
    def read(self, data: bytes, target: Target) -> MediaAnswer: ...
    def poll(self, vendor_job: str, target: Target) -> VendorRequest: ...
    def read_error(self, status: int, data: bytes, call: MediaCall, target: Target) -> VendorError: ...

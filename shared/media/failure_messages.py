"""Error codes of failed media jobs, and their messages for the owner. Pure.

A provider's message is never stored. Its error code is kept only if it means that the request itself is invalid.
"""

from __future__ import annotations

MESSAGES = {
    "upstream_error": "The model failed to generate the output. Nothing was charged.",
    "upstream_timeout": "The model did not generate the output in time. Nothing was charged.",
    "no_upstream_available": "This model is temporarily unavailable. Nothing was charged.",
    "nothing_delivered": "The model returned no usable output. Nothing was charged.",
    "output_too_large": "The generated file exceeds the size limit. Nothing was charged.",
    "storage_unavailable": "The output could not be stored. Nothing was charged.",
    "job_timeout": "The job exceeded the time limit. Nothing was charged.",
    "worker_lost": "The job failed after several attempts. Nothing was charged.",
    "model_not_found": "The model is no longer available. Nothing was charged.",
    "ended_by_staff": "The job was ended by support. Nothing was charged.",
    "internal_error": "Internal server error. Nothing was charged.",
}
_REFUSED = "The model rejected this request. Change it before you try again. Nothing was charged."


def failure_message(code: str) -> str:
    """Return the message for the owner of a job that failed with `code`."""
    return MESSAGES.get(code, _REFUSED)

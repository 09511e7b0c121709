"""Error codes of failed media jobs, and their messages for the owner. Pure.

A provider's message is never stored. Its error code is kept only if it means that the request itself is invalid.
"""

from __future__ import annotations

from shared.text.translation import lazy_gettext

MESSAGES = {
    "upstream_error": lazy_gettext("The model failed to generate the output. Nothing was charged."),
    "upstream_timeout": lazy_gettext("The model did not generate the output in time. Nothing was charged."),
    "no_upstream_available": lazy_gettext("This model is temporarily unavailable. Nothing was charged."),
    "nothing_delivered": lazy_gettext("The model returned no usable output. Nothing was charged."),
    "output_too_large": lazy_gettext("The generated file exceeds the size limit. Nothing was charged."),
    "storage_unavailable": lazy_gettext("The output could not be stored. Nothing was charged."),
    "job_timeout": lazy_gettext("The job exceeded the time limit. Nothing was charged."),
    "worker_lost": lazy_gettext("The job failed after several attempts. Nothing was charged."),
    "model_not_found": lazy_gettext("The model is no longer available. Nothing was charged."),
    "ended_by_staff": lazy_gettext("The job was ended by support. Nothing was charged."),
    "internal_error": lazy_gettext("Internal server error. Nothing was charged."),
}
_REFUSED = lazy_gettext("The model rejected this request. Change it before you try again. Nothing was charged.")


def failure_message(code: str) -> str:
    """Return the message for the owner of a job that failed with `code`."""
    return MESSAGES.get(code, _REFUSED)

"""Why a job failed: codes of our own, each with what its owner is told. Pure.

What a vendor says in its own words is never kept; of its codes, only those that say that the request itself is wrong.
"""

from __future__ import annotations

REASONS = {
    "upstream_error": "The upstream failed to make it. Nothing was charged.",
    "upstream_timeout": "The upstream did not make it in time. Nothing was charged.",
    "no_upstream_available": "No upstream for this model is available at the moment. Nothing was charged.",
    "nothing_delivered": "The upstream delivered nothing that could be used. Nothing was charged.",
    "output_too_large": "What the upstream made is larger than media may be here. Nothing was charged.",
    "storage_unavailable": "What was made could not be stored. Nothing was charged.",
    "job_timeout": "The job took longer than a job may take. Nothing was charged.",
    "worker_lost": "The job could not be finished in several attempts. Nothing was charged.",
    "model_not_found": "The model is no longer offered. Nothing was charged.",
    "ended_by_staff": "The job was ended by hand. Nothing was charged.",
    "internal_error": "The job failed by a mistake of the server. Nothing was charged.",
}
_REFUSED = "The upstream refused this request. Change it before you send it again. Nothing was charged."


def reason(code: str) -> str:
    """What the owner of a job that failed with `code` is told."""
    return REASONS.get(code, _REFUSED)

"""Media jobs: their rows and their charges, for edge, workers and console.

    submit(…)     take the hold and insert the job, in one transaction
    claim(…)      lease a job to a worker, which can `renew`, `pause` and `store_progress`
    finish(…)     store outputs, charge or release, and erase the prompt, in one transaction, exactly once
    cancel(…)     end a job for its owner

States change by compare-and-set only. Accounts are locked before jobs.
"""

from shared.media.finish_job import CANCELLED, JobResult, Output, cancel_job, finish
from shared.media.inputs import delete_inputs, load_inputs, store_inputs
from shared.media.leases import (
    due_for_resend,
    lease_job,
    release_until,
    renew_leases,
    store_progress,
    store_provider_job,
    store_request,
)
from shared.media.submission import REQUESTED_MODEL, JobRequest, Submitted, decrypt_body, encrypt_body, submit, undo_submission

__all__ = [
    "CANCELLED",
    "REQUESTED_MODEL",
    "JobRequest",
    "JobResult",
    "Output",
    "Submitted",
    "cancel_job",
    "decrypt_body",
    "delete_inputs",
    "due_for_resend",
    "encrypt_body",
    "finish",
    "lease_job",
    "load_inputs",
    "release_until",
    "renew_leases",
    "store_inputs",
    "store_progress",
    "store_provider_job",
    "store_request",
    "submit",
    "undo_submission",
]

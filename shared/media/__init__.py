"""Media jobs: their rows and their charges, for edge, workers and console.

    submit(…)     take the hold and insert the job, in one transaction
    claim(…)      lease a job to a worker, which can `renew`, `pause` and `note_progress`
    finish(…)     store outputs, charge or release, and erase the prompt, in one transaction, exactly once
    cancel(…)     end a job for its owner

States change by compare-and-set only. Accounts are locked before jobs.
"""

from shared.media.finish_job import CANCELLED, End, Output, cancel, finish
from shared.media.leases import claim, note_progress, note_vendor, pause, renew, resend
from shared.media.submission import Submitted, Wish, seal_body, submit, unseal_body, withdraw

__all__ = [
    "CANCELLED",
    "End",
    "Output",
    "Submitted",
    "Wish",
    "cancel",
    "claim",
    "finish",
    "note_progress",
    "note_vendor",
    "pause",
    "renew",
    "resend",
    "seal_body",
    "submit",
    "unseal_body",
    "withdraw",
]

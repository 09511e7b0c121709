"""Media calls: request validation, job submission, waiting for completion, and file downloads."""

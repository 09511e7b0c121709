"""Background work: periodic tasks and queued jobs, all safe to repeat."""

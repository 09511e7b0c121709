"""Media at the edge: what a body asks for, the order that becomes a job, waiting for its end, and the files it made."""

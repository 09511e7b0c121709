"""One model call, from its raw request to its settlement."""

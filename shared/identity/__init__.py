"""Keys, passwords, sessions and visitors: formats, digests, and limits on attempts."""

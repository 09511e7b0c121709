"""Who is calling: API keys, web sessions, and their revocation."""

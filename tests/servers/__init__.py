"""Real servers and processes that the tests start, and that are always stopped afterwards."""

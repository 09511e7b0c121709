"""Authentication and permissions of the console's staff."""

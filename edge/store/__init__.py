"""The state of one edge process: its connections to the database and Redis, its running calls, its metrics."""

"""Protocol code that is independent of the domain: an HTTP/1.1 client, a server connection, and a Redis client."""

"""Protocol code without a word of the domain: an HTTP/1.1 client, a server connection, and a Redis script."""

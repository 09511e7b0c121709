"""The embedded provider: an OpenAI-compatible HTTP server on loopback for the models that come as packages."""

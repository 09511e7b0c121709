"""The embedded provider: an OpenAI-shaped HTTP server on loopback over the models that come as packages."""

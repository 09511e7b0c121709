"""The API reference: an OpenAPI 3.1 document of all declared routes, with examples."""

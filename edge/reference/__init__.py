"""The API's own reference: an OpenAPI 3.1 document of every declared route, and a page to read."""

"""`/docs`: a guide in chapters, the API reference, and a search over both."""

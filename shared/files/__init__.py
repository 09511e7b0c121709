"""Stored files, signed URLs and signed certificates."""

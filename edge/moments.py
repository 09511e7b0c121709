"""Moments as the native API writes them."""

from shared.moments import iso_moment, read_moment

__all__ = ["iso_moment", "read_moment"]

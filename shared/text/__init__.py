"""Parsing and cleaning text. Pure."""

"""Foundations: settings, time, errors, secrets, and database connections."""

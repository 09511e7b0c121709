"""Outgoing email: recipients, the outbox and the texts. `workers/mail.py` sends it."""

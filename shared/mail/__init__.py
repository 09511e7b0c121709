"""Outgoing mail: the server and the sender's address, the outbox, and the texts. `workers/mail.py` sends it."""

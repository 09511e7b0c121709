"""Alerts: conditions that staff must act on. A worker evaluates them, and sends a message when one opens and when it closes.

`conditions.py` finds what is wrong now, `state.py` decides when an alert opens and closes, `notices.py` is the outbox of the
messages, and `texts.py` has the texts.
"""

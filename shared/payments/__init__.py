"""Payments: how bought credits reach an account, whoever was paid.

A provider (`base.Provider`) turns a proof of payment, such as a redeem code or a signed notice, into a `Payment` with a reference
that is its own. `collect` books each reference once. Redeem codes are the first provider.
"""

from shared.payments.base import Payment, Provider
from shared.payments.collect import collect

__all__ = ["Payment", "Provider", "collect"]

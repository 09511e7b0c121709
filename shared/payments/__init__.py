"""Payments: how purchased credits are added to an account, for any payment provider.

A provider (`base.Provider`) turns a proof of payment, such as a redeem code or a signed notification, into a `Payment` with a
unique reference. `collect` records each reference once. Redeem codes are the first provider.
"""

from shared.payments.base import Payment, Provider
from shared.payments.collect import record_payment

__all__ = ["Payment", "Provider", "record_payment"]

"""Amounts of money in a currency's smallest unit, and the credits that they buy. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from shared.core.errors import InvalidInput
from shared.core.formats import NARROW_SPACE, with_decimal_symbol
from shared.text.translation import lazy_gettext

MAX_MINOR = 10**12
MAX_CREDITS_PER_MINOR_UNIT = 10**12
MAX_PURCHASE_CREDITS = 10**15  # of one ledger entry
# Digits after the decimal point; all other currencies have two. Source: Stripe, "Supported currencies".
_NO_DECIMALS = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE_DECIMALS = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))
_CURRENCY = re.compile(r"[a-z]{3}")
_AMOUNT = re.compile(r"(\d{1,12})(?:[.,](\d{1,3}))?")


class CreditPrice(NamedTuple):
    """The price of credits, which staff set, and the amounts that customers may pay at once, in minor units."""

    currency: str
    credits_per_minor_unit: int
    minimum_minor: int
    maximum_minor: int

    def credits(self, amount_minor: int) -> int:
        """Return the credits for an amount. Raises `InvalidInput` outside of the allowed range."""
        if not self.minimum_minor <= amount_minor <= self.maximum_minor:
            raise InvalidInput(
                lazy_gettext(
                    "The amount must be between {minimum} and {maximum}.",
                    minimum=format_money(self.minimum_minor, self.currency),
                    maximum=format_money(self.maximum_minor, self.currency),
                )
            )
        return amount_minor * self.credits_per_minor_unit


def decimals(currency: str) -> int:
    """Return the number of digits after the decimal point."""
    return 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2


def check_currency(text: str) -> str:
    """Return an ISO 4217 code in lower case. Raises `InvalidInput`."""
    currency = text.strip().lower()
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInput(lazy_gettext("The currency must be a code of three letters, such as USD or EUR."))
    return currency


def format_money(amount_minor: int | None, currency: str | None) -> str:
    """Format an amount as `25.00 USD`; `–` for None."""
    if amount_minor is None or currency is None:
        return "–"
    digits = decimals(currency)
    text = f"{amount_minor / 10**digits:,.{digits}f}" if digits else f"{amount_minor:,}"
    return f"{with_decimal_symbol(text.replace(',', NARROW_SPACE))}{NARROW_SPACE}{currency.upper()}"


def plain_money(amount_minor: int, currency: str) -> str:
    """Return an amount as `parse_money` reads it, such as `25.00`."""
    digits = decimals(currency)
    whole, rest = divmod(amount_minor, 10**digits)
    return f"{whole}.{rest:0{digits}d}" if digits else str(whole)


def parse_money(text: str, currency: str) -> int:
    """Read an amount such as `25` or `25.50` into minor units. Raises `InvalidInput`."""
    found = _AMOUNT.fullmatch(text.strip())
    digits = decimals(currency)
    fraction = (found[2] or "") if found else ""
    if found is None or len(fraction) > digits:
        raise InvalidInput(lazy_gettext("Enter an amount such as 25 or 25.50, without a currency."))
    amount: int = int(found[1]) * 10**digits + int(fraction.ljust(digits, "0") or 0)
    if not 0 < amount <= MAX_MINOR:
        raise InvalidInput(lazy_gettext("Enter an amount such as 25 or 25.50, without a currency."))
    return amount


def credits_to_return(credits: int, total_minor: int, returned_minor: int) -> int:
    """Return the credits to take back for the money that was paid back, in proportion, rounded up."""
    return -(-credits * min(returned_minor, total_minor) // total_minor)

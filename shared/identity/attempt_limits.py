"""Limits on password and code attempts, per person, network and browser. Pure.

A stranger must be able neither to guess a password nor to lock its owner out. So failures are counted per person *and* network,
with wider limits for each of the two. A browser in which the person has signed in before is counted separately; it is recognized
by a signed cookie ("Slow Down Online Guessing Attacks with Device Cookies", OWASP).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

from shared.core.secrets import derive_key

MAX_FAILURES_PER_PERSON = 10  # per throttle window, from one network or one known browser
MAX_FAILURES_PER_NETWORK = 30
MAX_FAILURES_PER_PERSON_TOTAL = 100  # from all unknown browsers together
MAX_CONFIRMATIONS_PER_PERSON = 30  # wrong passwords in all sessions of a person together
BROWSER_COOKIE = "yout_browser"
BROWSER_MS = 365 * 24 * 3600 * 1000
_NONCE_LENGTH = 22


class AttemptLimits(NamedTuple):
    """Limits for one attempt: maximum failures by throttle key, and the keys to clear after a success."""

    keys: dict[str, int]
    reset_on_success: tuple[str, ...]


class AttemptOrigin(NamedTuple):
    """Origin of an attempt: the network, and the token of a known browser ("" for an unknown one)."""

    network: str
    browser: str = ""

    @property
    def browser_is_known(self) -> bool:
        """Whether the person has signed in from this browser before."""
        return bool(self.browser)


def password_limits(kind: str, person: str, place: AttemptOrigin) -> AttemptLimits:
    """Return the limits for a sign-in of `person` (an email address). `kind` separates members from staff."""
    if place.browser_is_known:
        own = f"{kind} browser {place.browser}"
        return AttemptLimits({own: MAX_FAILURES_PER_PERSON}, (own,))
    own = f"{kind} {person} from {place.network}"
    everywhere = {f"{kind} {person}": MAX_FAILURES_PER_PERSON_TOTAL, f"{kind} network {place.network}": MAX_FAILURES_PER_NETWORK}
    return AttemptLimits({own: MAX_FAILURES_PER_PERSON, **everywhere}, (own,))


def confirmation_limits(kind: str, person: str, session: str) -> AttemptLimits:
    """Return the limits for entering a password or code again within a session."""
    own = f"{kind} session {session}"
    return AttemptLimits({own: MAX_FAILURES_PER_PERSON, f"{kind} sessions of {person}": MAX_CONFIRMATIONS_PER_PERSON}, (own,))


def code_limits(person: str, place: AttemptOrigin) -> AttemptLimits:
    """Return the limits for a second-factor code. It follows a correct password, so the network does not matter."""
    own = f"code browser {place.browser}" if place.browser_is_known else f"code {person}"
    return AttemptLimits({own: MAX_FAILURES_PER_PERSON}, (own,))


def flow_limits(kind: str, network: str, name: str) -> dict[str, int]:
    """Return the limits for a sign-in whose flow `name` works once. A success subtracts from the first one only."""
    return {f"{kind} network {network}": MAX_FAILURES_PER_NETWORK, f"{kind} {name}": 1}


def browser_cookie(secret_key: str, kind: str, person: str, now: int) -> str:
    """Return the cookie value for a browser in which `person` has signed in. `now` is in milliseconds UTC."""
    nonce, ends = secrets.token_urlsafe(16), now + BROWSER_MS
    return f"{nonce}.{ends}.{_sign(secret_key, kind, person, nonce, ends)}"


def read_browser_cookie(cookie: str, secret_key: str, kind: str, person: str, now: int) -> str:
    """Return the token in a known browser's cookie, or "" if the cookie is invalid, expired or another person's."""
    nonce, _, rest = cookie.partition(".")
    ends, _, signature = rest.partition(".")
    if len(cookie) > 128 or len(nonce) != _NONCE_LENGTH or not (cookie.isascii() and ends.isdigit()) or int(ends) <= now:
        return ""
    return nonce if hmac.compare_digest(_sign(secret_key, kind, person, nonce, int(ends)), signature) else ""


def _sign(secret_key: str, kind: str, person: str, nonce: str, ends: int) -> str:
    message = "\0".join((kind, person, nonce, str(ends))).encode(errors="surrogatepass")
    return hmac.new(derive_key(secret_key, "known-browser"), message, hashlib.sha256).hexdigest()[:32]

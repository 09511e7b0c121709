"""Verifies staff passwords and second-factor codes, with a bounded hash queue and throttling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from flask import Flask, current_app, request
from flask_login import current_user
from werkzeug.wrappers import Response

from console.security.client_ip import client_address
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, TooManyAttempts, Unavailable, YoutError
from shared.core.settings import Settings
from shared.identity import passwords
from shared.identity.attempt_limits import (
    BROWSER_COOKIE,
    BROWSER_MS,
    AttemptLimits,
    AttemptOrigin,
    browser_cookie,
    code_limits,
    confirmation_limits,
    flow_limits,
    password_limits,
    read_browser_cookie,
)
from shared.identity.emails import normalize_for_lookup
from shared.identity.hash_queue import HashQueue
from shared.identity.login_throttle import Throttle
from shared.models import StaffUser
from shared.operations.second_factor import STAFF
from shared.operations.staff import verify_password
from shared.operations.staff_identities import NO_PASSWORD
from shared.text.client_address import network_of
from shared.text.translation import gettext

T = TypeVar("T")

KIND = "staff"
FRESH_MS = 10 * 60 * 1000  # of a sign-in that replaces the password of a person without one
# Each waiting check blocks one of the server's eight threads; the others must stay free for pages.
MAX_WAITING, MAX_WAITING_KNOWN = 4, 2


class PasswordAuth:
    """The throttle and the hash queue of one console process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.throttle = Throttle(settings.secret_key, settings.redis_url)
        self.hashes = HashQueue(MAX_WAITING, MAX_WAITING_KNOWN)

    def attempt(self, limits: AttemptLimits, place: AttemptOrigin, check: Callable[[], T | None]) -> T | None:
        """Count an attempt and run `check`, which returns None on failure. Raises `TooManyAttempts` or `SignInQueueFull`."""
        with self.hashes.slot(place.network, known=place.browser_is_known):
            wait_ms = self.throttle.count_attempt(limits.keys)
            if wait_ms:
                raise TooManyAttempts(wait_ms)
            try:
                found = check()
            except YoutError:  # nothing was verified, so the attempt does not count
                self.throttle.record_success(limits.keys)
                raise
            if found is not None:
                self.throttle.record_success(limits.keys, limits.reset_on_success)
            return found


def install(app: Flask, settings: Settings) -> None:
    """Add the throttle and the hash queue to `app`."""
    app.extensions["yout_proofs"] = PasswordAuth(settings)


def verify_password_attempt(email: str, password: str) -> StaffUser | None:
    """Return the staff member with this email and password, or None. Raises like `PasswordAuth.attempt`."""
    proofs, place = _proofs(), _place(email)
    limits = password_limits(KIND, normalize_for_lookup(email), place)
    return proofs.attempt(limits, place, lambda: verify_password(email, password, run=proofs.hashes.run))


def verify_code(person: StaffUser, code: str) -> bool:
    """Return whether `code` is valid for a person whose password was verified. Raises like `PasswordAuth.attempt`."""
    place = _place(person.email)
    return bool(_proofs().attempt(code_limits(person.id.hex, place), place, lambda: _check_code(person, code)))


@contextmanager
def count_flow(name: str) -> Iterator[Callable[[], None]]:
    """Count a sign-in whose flow works once. It counts as failed unless the block calls the function that it gets.

    Raises `TooManyAttempts`, also if the flow `name` was counted before.
    """
    proofs = _proofs()
    limits = flow_limits(KIND, network_of(client_address()), name)
    wait_ms = proofs.throttle.count_attempt(limits)
    if wait_ms:
        raise TooManyAttempts(wait_ms)
    limits.popitem()  # the flow stays counted
    yield lambda: proofs.throttle.record_success(limits)


def require_person(password: str, code: str) -> None:
    """Require the signed-in person's password, and a code if they have a second factor. An open session is not enough.

    Everything that changes how they sign in requires this. A person without a password must have signed in within `FRESH_MS`.
    A code is used up, so check everything else first. Raises `InvalidInput`, and like `PasswordAuth.attempt`.
    """
    _require_password(current_user.person, password)
    _require_code(current_user.person, code)


def error_status(problem: Exception) -> tuple[int, dict[str, str]]:
    """Return the status and headers of a form that was rejected with `problem`."""
    if isinstance(problem, TooManyAttempts):
        return 429, {"Retry-After": str(-(-problem.wait_ms // 1000))}
    return (503, {"Retry-After": "5"}) if isinstance(problem, Unavailable) else (422, {})


def mark_browser_known(response: Response, person: StaffUser) -> Response:
    """Mark the browser as known, so that its sign-ins as this person are counted separately."""
    value = browser_cookie(_proofs().settings.secret_key, KIND, person.email, now_ms())
    secure = _proofs().settings.production
    response.set_cookie(_cookie(), value, max_age=BROWSER_MS // 1000, path="/", secure=secure, httponly=True, samesite="Lax")
    return response


def _require_password(person: StaffUser, password: str) -> None:
    stored = person.password_hash
    if stored == NO_PASSWORD:
        if now_ms() - current_user.session.created_at < FRESH_MS:
            return
        raise InvalidInput(gettext("Sign out and in again. This change needs a sign-in that is less than 10 minutes old."))
    if not _confirm(person, lambda: _proofs().hashes.run(lambda: passwords.matches(stored, password)) or None):
        raise InvalidInput(gettext("Incorrect password."))


def _require_code(person: StaffUser, code: str) -> None:
    if person.sealed_totp and not _confirm(person, lambda: _check_code(person, code)):
        raise InvalidInput(gettext("The code is incorrect or was already used. Wait for the next one, or use a recovery code."))


def _confirm(person: StaffUser, check: Callable[[], bool | None]) -> bool:
    session = current_user.session.digest
    place = AttemptOrigin(network_of(client_address()), session)
    return bool(_proofs().attempt(confirmation_limits(KIND, person.id.hex, session), place, check))


def _check_code(person: StaffUser, code: str) -> bool | None:
    return STAFF.verify_code(person, code, secret_key=_proofs().settings.secret_key) or None


def _place(email: str) -> AttemptOrigin:
    cookie = request.cookies.get(_cookie(), "")
    browser = read_browser_cookie(cookie, _proofs().settings.secret_key, KIND, normalize_for_lookup(email), now_ms())
    return AttemptOrigin(network_of(client_address()), browser)


def _cookie() -> str:
    # Unlike the edge's cookie name, so that neither replaces the other on the same host.
    return f"{'__Host-' if _proofs().settings.production else ''}{BROWSER_COOKIE}_console"


def _proofs() -> PasswordAuth:
    found: PasswordAuth = current_app.extensions["yout_proofs"]
    return found

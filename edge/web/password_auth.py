"""Checks passwords: in a bounded queue, in equal time for known and unknown addresses, and with a limit on attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import UUID

from quart import request

from edge.identity.sessions import SessionRow
from edge.request_context import read, services, write
from edge.web.web_session import KIND, address, known_browser
from shared.core.errors import InvalidInput, SignInQueueFull, TooManyAttempts, YoutError
from shared.identity import passwords
from shared.identity.attempt_limits import (
    AttemptLimits,
    AttemptOrigin,
    code_limits,
    confirmation_limits,
    flow_limits,
    password_limits,
)
from shared.identity.emails import normalize_for_lookup
from shared.identity.passwords import check_password
from shared.identity.web_sessions import agent_label
from shared.operations.people import SignIn, find_sign_in
from shared.operations.web_accounts import renew_hash
from shared.text.client_address import network_of
from shared.text.translation import lazy_gettext

T = TypeVar("T")
MAX_SIGN_UPS = 10  # per network in 15 minutes
MAX_REDEMPTIONS = 10  # per account in 15 minutes
MAX_VERIFICATION_MAILS = 3  # per account in 15 minutes
MAX_NETWORK_VERIFICATION_MAILS = 10  # per network in 15 minutes
MAX_PASSWORD_MAILS = 3  # per address and network in 15 minutes
MAX_NETWORK_PASSWORD_MAILS = 10  # per network in 15 minutes


class VerifiedPerson(NamedTuple):
    """A person with a verified password, their email address and current hash."""

    person: UUID
    email: str
    password_hash: str


async def verify_password(email: str, password: str) -> VerifiedPerson | None:
    """Return the person with this email address and password, or None. Takes equal time for all failures.

    Raises `TooManyAttempts`, and `SignInQueueFull` if too many passwords are being checked.
    """
    email = normalize_for_lookup(email)
    place = AttemptOrigin(network_of(address()), known_browser(email))
    return await _prove(email, password, password_limits(KIND, email, place), place)


async def confirm_password(session: SessionRow, password: str) -> VerifiedPerson | None:
    """Verify the password of a signed-in member, who must enter it again. Returns and raises the same as `prove`."""
    limits = confirmation_limits(KIND, str(session.person), session.digest)
    return await _prove(session.email, password, limits, AttemptOrigin(network_of(address()), session.digest))


async def count_code(person: SignIn, check: Callable[[], bool]) -> bool:
    """Run `check`, which uses up a second-factor code, after a correct password. Raises `TooManyAttempts`."""
    place = AttemptOrigin(network_of(address()), known_browser(person.email))
    return await _count(code_limits(f"{KIND} {person.person}", place), check)


async def confirm_code(session: SessionRow, check: Callable[[], bool]) -> bool:
    """The same for a signed-in member."""
    return await _count(confirmation_limits(KIND, str(session.person), session.digest), check)


async def _count(limits: AttemptLimits, check: Callable[[], bool]) -> bool:
    await _begin(limits.keys)
    valid = await write(check)
    if valid:
        await asyncio.to_thread(services().throttle.record_success, limits.keys, limits.reset_on_success)
    return valid


async def count_flow(name: str) -> None:
    """Count a sign-in whose flow works once. Raises `TooManyAttempts`, also if the flow `name` was counted before."""
    await _begin(flow_limits(KIND, network_of(address()), name))


async def forget_flow(name: str) -> None:
    """Subtract a sign-in that succeeded. Its flow stays counted."""
    limits = flow_limits(KIND, network_of(address()), name)
    limits.popitem()
    await asyncio.to_thread(services().throttle.record_success, limits)


async def count_sign_up() -> None:
    """Count a sign-up from this address. Raises `TooManyAttempts`."""
    await _begin({f"sign-up {network_of(address())}": MAX_SIGN_UPS})


async def count_redemption(account: UUID) -> None:
    """Count an account's attempt to redeem a code. Raises `TooManyAttempts`."""
    await _begin({f"redeem {account}": MAX_REDEMPTIONS})


async def count_verification_mail(account: UUID) -> None:
    """Count a verification email that an account requests. Raises `TooManyAttempts`."""
    await _begin(
        {
            f"verification {account}": MAX_VERIFICATION_MAILS,
            f"verification network {network_of(address())}": MAX_NETWORK_VERIFICATION_MAILS,
        }
    )


async def count_password_mail(email: str) -> None:
    """Count a request for a link to set a password. Raises `TooManyAttempts`."""
    network = network_of(address())
    await _begin(
        {
            f"password mail {normalize_for_lookup(email)} from {network}": MAX_PASSWORD_MAILS,
            f"password mail network {network}": MAX_NETWORK_PASSWORD_MAILS,
        }
    )


async def hash_new(password: str, email: str) -> str:
    """Return the hash of a new password.

    Raises `InvalidInput` if it is too short, too long, or the email address; and `SignInQueueFull`.
    """
    password = check_new(password, email)
    with services().hashes.slot(network_of(address())):
        return await _hash(lambda: passwords.hash_password(password))


def check_new(password: str, email: str) -> str:
    """Return the normalized password. Raises `InvalidInput` like `hash_new`."""
    password = check_password(password)
    if normalize_for_lookup(password) == email:
        raise InvalidInput(lazy_gettext("The password must not be your email address."))
    return password


def browser_label() -> str:
    """Return the label of the request's browser for the list of sessions."""
    return agent_label(request.headers.get("user-agent", ""))


async def _prove(email: str, password: str, limits: AttemptLimits, place: AttemptOrigin) -> VerifiedPerson | None:
    with services().hashes.slot(place.network, known=place.browser_is_known):
        await _begin(limits.keys)
        try:
            found = await read(lambda: _find(email))
            verdict = await _hash(partial(passwords.check_hash, found.password_hash if found else None, password))
        except YoutError:  # the password was not checked, so the attempt does not count
            await asyncio.to_thread(services().throttle.record_success, limits.keys)
            raise
        if found is None or not verdict.matches:
            return None
        await asyncio.to_thread(services().throttle.record_success, limits.keys, limits.reset_on_success)
        return await _renew(found, password) if verdict.outdated else found


async def _renew(found: VerifiedPerson, password: str) -> VerifiedPerson:
    """Replace an outdated hash, unless the queue is full."""
    try:
        fresh = await _hash(lambda: passwords.hash_password(password))
    except SignInQueueFull:
        return found
    await write(partial(renew_hash, found.person, found.password_hash, fresh))
    return found._replace(password_hash=fresh)


async def _begin(limits: dict[str, int]) -> None:
    wait_ms = await asyncio.to_thread(services().throttle.count_attempt, limits)
    if wait_ms:
        raise TooManyAttempts(wait_ms)


def _hash(work: Callable[[], T]) -> Awaitable[T]:
    return asyncio.wrap_future(services().hashes.submit(work))


def _find(email: str) -> VerifiedPerson | None:
    """Return the person with this email address, if they can sign in."""
    found = find_sign_in(email)
    return VerifiedPerson(found.person, found.email, found.password_hash) if found and found.password_hash else None

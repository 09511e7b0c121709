"""Proving a password: slow work off the event loop, the same for everybody, and only so often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from uuid import UUID

from quart import request

from edge.current import read, services
from edge.web.visit import address
from shared import passwords
from shared.clock import now_ms
from shared.errors import InvalidInput, YoutError
from shared.models import Account
from shared.proxies import network_of
from shared.web_sessions import agent_label

T = TypeVar("T")

FAILURES_A_PERSON = 10  # in a quarter of an hour
FAILURES_AN_ADDRESS = 30
SIGN_UPS_AN_ADDRESS = 10
REDEMPTIONS_AN_ACCOUNT = 10


class Throttled(YoutError):
    """Too many attempts; `wait_ms` until the next may begin."""

    def __init__(self, wait_ms: int) -> None:
        minutes = -(-wait_ms // 60_000)
        super().__init__(f"Too many attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}.")
        self.wait_ms = wait_ms


class Proven(NamedTuple):
    """An account whose password was given, and the hash that it was checked against."""

    account: UUID
    password_hash: str


async def prove(email: str, password: str) -> Proven | None:
    """The account with this e-mail and password, or None, with the same work whatever was wrong. Raises `Throttled`."""
    email = email.strip().lower()
    who, where = f"email {email}", f"address {network_of(address())}"
    wait_ms = services().throttle.begin({who: FAILURES_A_PERSON, where: FAILURES_AN_ADDRESS}, now_ms())
    if wait_ms:
        raise Throttled(wait_ms)
    found = await read(lambda: _find(email))
    stored = found[1] if found is not None else None
    if not await _off_loop(lambda: passwords.matches(stored, password)) or found is None or stored is None:
        return None
    services().throttle.forgive(who, where)
    return Proven(found[0], stored)


def count_sign_up() -> None:
    """Let so many people of one address sign up. Raises `Throttled`."""
    wait_ms = services().throttle.begin({f"sign-up {network_of(address())}": SIGN_UPS_AN_ADDRESS}, now_ms())
    if wait_ms:
        raise Throttled(wait_ms)


def count_redemption(account: UUID) -> None:
    """Let an account try so many codes. Raises `Throttled`."""
    wait_ms = services().throttle.begin({f"redeem {account}": REDEMPTIONS_AN_ACCOUNT}, now_ms())
    if wait_ms:
        raise Throttled(wait_ms)


async def hash_new(password: str, email: str) -> str:
    """The hash of a password that somebody chose. Raises `InvalidInput` for one that is too short, too long or the e-mail."""
    if len(password) < passwords.SHORTEST:
        raise InvalidInput(f"The password needs {passwords.SHORTEST} characters or more. Four unusual words are easy to keep.")
    if len(password) > passwords.LONGEST:
        raise InvalidInput(f"The password may have {passwords.LONGEST} characters at most.")
    if password.strip().lower() == email:
        raise InvalidInput("The password must not be your e-mail address.")
    return await _off_loop(lambda: passwords.hash_password(password))


def agent() -> str:
    """What the browser of this request is called in the list of sessions."""
    return agent_label(request.headers.get("user-agent", ""))


async def _off_loop(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(services().passwords, work)


def _find(email: str) -> tuple[UUID, str | None] | None:
    """Id and hash of an account that may sign in."""
    open_one = (Account.email == email) & (Account.status != "closed")
    row: tuple[UUID, str | None] | None = Account.select(Account.id, Account.password_hash).where(open_one).tuples().first()
    return row

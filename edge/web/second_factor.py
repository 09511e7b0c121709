"""The second factor of a person: the code at sign-in, and setting it up and turning it off under Account → Security."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import error_spec
from edge.http.web_headers import cookie_value
from edge.identity.sessions import SessionRow
from edge.request_context import read, services, write
from edge.web.confirmation import MAX_CODE, confirm_person, required_of, verify_code, wrong_code
from edge.web.pages import page
from edge.web.password_auth import browser_label, count_code
from edge.web.security import read_offered, seal_values, security_page, unseal_values
from edge.web.web_session import (
    address,
    clear_short_cookie,
    known_browser,
    origin_of,
    page_session,
    prefixed,
    redirect_to,
    remember_browser,
    require_session,
    set_session,
    set_short_cookie,
)
from shared.core.errors import InvalidRequest, InvalidSession, SignInQueueFull, TooManyAttempts
from shared.operations.audit import Origin
from shared.operations.people import SignIn, current_sign_in, find_sign_in_by_id
from shared.operations.second_factor import PEOPLE
from shared.operations.web_accounts import create_session, end_session
from shared.text.redirects import safe_redirect
from shared.text.translation import gettext

if TYPE_CHECKING:
    from collections.abc import Callable

second_factor = Blueprint("second_factor", __name__)

COOKIE = "yout_code"
PENDING = "second-factor-pending"  # purpose of the key that encrypts the cookie
PENDING_MS = 5 * 60 * 1000  # time allowed between the first step of a sign-in and the code


class Pending(NamedTuple):
    """A person who has proved the first factor. `proof` is the end of their password's hash, so a password change ends this."""

    person: UUID
    proof: str
    next: str


async def has_second_factor(person: UUID) -> bool:
    """Return whether a person must enter a code to sign in."""
    return (await required_of(person)).code


def ask_for_code(person: UUID, password_hash: str | None, next: str) -> Response:
    """Redirect a person who has proved the first factor to the page for the code."""
    cookie = seal_values([person.hex, _proof(password_hash), next if len(next) < 1_000 else ""], PENDING)
    return set_short_cookie(redirect_to("/sign-in/code"), COOKIE, cookie, PENDING_MS // 1000)


@second_factor.get("/sign-in/code")
async def show_code() -> Response:
    pending, _ = await _pending()
    return redirect_to("/sign-in", "sign-in-expired") if pending is None else await page("sign_in_code.html", wrong="")


@second_factor.post("/sign-in/code")
async def enter_code() -> Response:
    pending, found = await _pending()
    if pending is None or found is None:
        return redirect_to("/sign-in", "sign-in-expired")
    code = (await request.form).get("code", "")[:MAX_CODE]
    try:
        valid = await count_code(found, partial(verify_code, pending.person, code, services().settings.secret_key))
    except TooManyAttempts as error:
        response = await page("sign_in_code.html", 429, wrong=str(error))
        response.headers["retry-after"] = str(-(-error.wait_ms // 1000))
        return response
    if not valid:
        return await page("sign_in_code.html", 403, wrong=wrong_code())
    signing_in = partial(create_session, pending.person, browser_label(), password_hash=found.password_hash, address=address())
    settings = services().settings
    notifies = settings.sends_mail and not known_browser(found.email)
    try:
        session = await write(partial(signing_in, creates_account=settings.sign_up == "open", notifies=notifies))
    except (InvalidRequest, InvalidSession) as error:
        return await page("sign_in_failed.html", 403, wrong=str(error), target="")
    current = page_session().session
    if current is not None:
        await write(partial(end_session, current.digest))
    response = set_session(redirect_to(safe_redirect(pending.next, "/account")), session)
    return clear_short_cookie(remember_browser(response, found.email), COOKIE)


@second_factor.post("/account/second-factor")
async def enroll() -> Response:
    """Turn the second factor on. The page offered the secret in a form, encrypted for this person."""
    session = require_session()
    form = await request.form
    offered = form.get("offered", "")
    secret = read_offered(offered, session.person)
    if not secret:
        return await security_page(422, {"enroll": gettext("The page has expired. Scan the new QR code.")})
    code, secret_key = form.get("code", "")[:MAX_CODE], services().settings.secret_key
    enrolling = partial(_enroll, session.person, secret, code, secret_key, origin_of(session.account))
    return await _change(session, "enroll", enrolling, offered=offered)


@second_factor.post("/account/second-factor/off")
async def turn_off() -> Response:
    session = require_session()
    return await _change(session, "second_factor", partial(PEOPLE.disable, session.person, origin=origin_of(session.account)))


@second_factor.post("/account/second-factor/recovery-codes")
async def renew_codes() -> Response:
    session = require_session()
    renewal = partial(PEOPLE.renew_recovery_codes, session.person, origin=origin_of(session.account))
    return await _change(session, "second_factor", renewal)


async def _change(session: SessionRow, section: str, change: Callable[[], list[str] | None], *, offered: str = "") -> Response:
    """Run a confirmed change, and show the recovery codes that it returns."""
    try:
        wrong = await confirm_person(session, await request.form)
        codes = await write(change) if not wrong else None
    except (TooManyAttempts, SignInQueueFull) as error:
        return await security_page(error_spec(error).status, {section: str(error)}, offered)
    except InvalidRequest as error:
        wrong, codes = str(error), None
    if wrong:
        return await security_page(422, {section: wrong}, offered)
    if codes is None:
        return redirect_to("/account/security", "second-factor-off")
    return await page("account/recovery_codes.html", codes=codes)


def _enroll(person: UUID, secret: str, code: str, secret_key: str, origin: Origin) -> list[str]:
    current_sign_in(person)  # adds the person if the previous release created their account
    return PEOPLE.enroll(person, secret, code, secret_key=secret_key, origin=origin)


async def _pending() -> tuple[Pending | None, SignIn | None]:
    cookie = cookie_value(page_session().sent.cookie, prefixed(COOKIE))
    values = unseal_values(cookie, PENDING, PENDING_MS)
    if values is None:
        return None, None
    pending = Pending(UUID(values[0]), values[1], values[2])
    found = await read(partial(find_sign_in_by_id, pending.person))
    if found is None or _proof(found.password_hash) != pending.proof or not await has_second_factor(pending.person):
        return None, None
    return pending, found


def _proof(password_hash: str | None) -> str:
    return (password_hash or "")[-16:]

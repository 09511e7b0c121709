"""Sign-up, sign-in, sign-out, and password links."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import error_headers, error_spec
from edge.request_context import read, services, write
from edge.web.pages import page
from edge.web.password_auth import browser_label, count_password_mail, count_sign_up, hash_new, verify_password
from edge.web.second_factor import ask_for_code, has_second_factor
from edge.web.security import passkey_request
from edge.web.web_session import (
    address,
    clear_session,
    known_browser,
    page_session,
    redirect_to,
    remember_browser,
    require_session,
    set_session,
)
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, InvalidRequest, NotFound, SignInQueueFull, TooManyAttempts
from shared.identity.account_links import ACCOUNT_INVITATION, PASSWORD, AccountLink, proves, read_token
from shared.identity.emails import MAX_LENGTH, normalize_email, require_domain
from shared.identity.visitor_id import network_digest
from shared.mail.address import recipient
from shared.operations.account_mails import queue_password_reset
from shared.operations.audit import Origin
from shared.operations.people import SignIn, find_sign_in_by_id
from shared.operations.unverified_access import find_access, set_password_by_link
from shared.operations.web_accounts import create_session, end_session, end_sessions, sign_up
from shared.text.redirects import safe_redirect
from shared.text.translation import current_language, gettext, lazy_gettext

sign_in = Blueprint("sign_in", __name__)


class _Linked(NamedTuple):
    """A person whose password a link can set. `verifies`: only an email had the link, so it proves the address."""

    person: UUID
    email: str
    password_hash: str | None
    verifies: bool


WRONG = lazy_gettext("Incorrect email address or password.")


@sign_in.get("/sign-in")
async def show_sign_in() -> Response:
    if page_session().session is not None:
        return redirect_to(safe_redirect(request.args.get("next"), "/account"))
    return await _sign_in_page()


@sign_in.post("/sign-in")
async def do_sign_in() -> Response:
    form = await request.form
    email, password = form.get("email", ""), form.get("password", "")
    if len(email) > MAX_LENGTH:
        return await _sign_in_page(422, "", gettext("Email addresses can have at most {maximum} characters.", maximum=MAX_LENGTH))
    try:
        proven = await verify_password(email, password)
    except (TooManyAttempts, SignInQueueFull) as error:
        return _wait(await _sign_in_page(error_spec(error).status, email, str(error)), error)
    if proven is None:
        return await _sign_in_page(403, email, WRONG)
    if await has_second_factor(proven.person):
        return ask_for_code(proven.person, proven.password_hash, safe_redirect(request.args.get("next"), ""))
    proof, may_create = proven.password_hash, services().settings.sign_up == "open"
    try:
        session = await write(
            partial(
                create_session,
                proven.person,
                browser_label(),
                password_hash=proof,
                address=address(),
                creates_account=may_create,
                notifies=services().settings.sends_mail and not known_browser(proven.email),
            )
        )
    except InvalidRequest as error:  # a person without an account
        return await _sign_in_page(403, email, str(error))
    await _end_current_session()
    return remember_browser(set_session(redirect_to(safe_redirect(request.args.get("next"), "/account")), session), proven.email)


async def _sign_in_page(status: int = 200, email: str = "", wrong: str = "") -> Response:
    next = safe_redirect(request.args.get("next"), "")
    options, challenge = passkey_request()
    return await page(
        "sign_in.html", status, email=email, wrong=wrong, next=next, passkey_options=options, passkey_challenge=challenge
    )


@sign_in.get("/sign-up")
async def show_sign_up() -> Response:
    if page_session().session is not None:
        return redirect_to("/account")
    _require_open()
    return await page("sign_up.html", email="", wrong="", field_name="")


@sign_in.post("/sign-up")
async def do_sign_up() -> Response:
    _require_open()
    form, settings = await request.form, services().settings
    email, password = form.get("email", ""), form.get("password", "")
    field = "email"
    try:
        await count_sign_up()
        email = normalize_email(email)
        require_domain(email, settings.sign_up_domains)
        if settings.sends_mail:
            recipient(email)
        field = "password"
        password_hash = await hash_new(password, email)
        field = "email"
        network = network_digest(settings.secret_key, address(), now_ms())
        origin = {"network": network, "address": address(), "language": current_language()}
        account = await write(
            partial(sign_up, email, password_hash, settings.sign_up_credits, **origin, verify=settings.sends_mail)
        )
    except (TooManyAttempts, SignInQueueFull) as error:
        shown = email[:MAX_LENGTH]
        return _wait(await page("sign_up.html", error_spec(error).status, email=shown, wrong=str(error), field_name=""), error)
    except InvalidInput as error:
        return await page("sign_up.html", 422, email=email[:MAX_LENGTH], wrong=str(error), field_name=field)
    except InvalidRequest:  # the address is taken; sign-up cannot hide that, but reveals nothing else
        wrong = gettext("This address cannot be used for a new account. If it is yours, sign in.")
        return await page("sign_up.html", 422, email=email, wrong=wrong, field_name="email")
    await _end_current_session()
    session = await write(partial(create_session, account.id, browser_label(), password_hash=password_hash, address=address()))
    return remember_browser(
        set_session(redirect_to("/account", "welcome-verify" if settings.sends_mail else "welcome"), session), email
    )


@sign_in.post("/sign-out")
async def do_sign_out() -> Response:
    await _end_current_session()
    return clear_session(redirect_to("/sign-in", "signed-out"))


@sign_in.post("/sign-out-everywhere")
async def do_sign_out_everywhere() -> Response:
    """End all other sessions of the person."""
    session = require_session()
    await write(partial(end_sessions, session.person, except_digest=session.digest))
    return redirect_to("/account/sessions", "signed-out-everywhere")


@sign_in.get("/forgot-password")
async def show_forgot_password() -> Response:
    _require_mail()
    return await page("forgot_password.html", email="", wrong="", sent=False)


@sign_in.post("/forgot-password")
async def send_password_link() -> Response:
    """Send a link for setting a password. The answer is the same for addresses without an account."""
    _require_mail()
    email = (await request.form).get("email", "")[:MAX_LENGTH]
    try:
        await count_password_mail(email)
    except TooManyAttempts as error:
        return _wait(await page("forgot_password.html", 429, email=email, wrong=str(error), sent=False), error)
    await write(partial(queue_password_reset, email, origin=Origin("password-reset", address())))
    return await page("forgot_password.html", email=email, wrong="", sent=True)


@sign_in.get("/password/<token>")
async def show_password_link(token: str) -> Response:
    found = await _linked(token)
    if found is None:
        return await page("password_link_invalid.html", 404)
    return await _password_link_page(found)


@sign_in.post("/password/<token>")
async def use_password_link(token: str) -> Response:
    found = await _linked(token)
    if found is None:
        return await page("password_link_invalid.html", 404)
    form = await request.form
    try:
        password_hash = await hash_new(form.get("password", ""), found.email)
    except InvalidInput as error:
        return await _password_link_page(found, 422, str(error))
    except SignInQueueFull as error:
        return _wait(await _password_link_page(found, 503, str(error)), error)
    await _end_current_session()
    change = partial(set_password_by_link, found.person, found.password_hash, password_hash, browser_label())
    options = {"keeps": form.get("keep") == "yes", "notifies": services().settings.sends_mail, "verifies": found.verifies}
    session, removed = await write(partial(change, **options, origin=Origin("password-link", address())))
    if await has_second_factor(found.person):
        await write(partial(end_session, session.digest))
        return ask_for_code(found.person, password_hash, "")
    response = redirect_to("/account", "password-changed-removed" if removed else "password-changed")
    return remember_browser(set_session(response, session), found.email)


async def _password_link_page(found: _Linked, status: int = 200, wrong: str = "") -> Response:
    access = await read(partial(find_access, found.person))
    return await page("password_link.html", status, email=found.email, wrong=wrong, access=access)


async def _linked(token: str) -> _Linked | None:
    """Return the person whose password the link can set, or None for an invalid, used or expired link."""
    try:
        link = read_token(token)
    except InvalidInput:
        return None
    found, secret_key = await read(partial(_find, link)), services().settings.secret_key
    for purpose in (PASSWORD, ACCOUNT_INVITATION):
        if found is not None and proves(link, secret_key, purpose, found.password_hash, now_ms()):
            return _Linked(*found, purpose == ACCOUNT_INVITATION)
    return None


def _find(link: AccountLink) -> SignIn | None:
    return find_sign_in_by_id(link.account)  # links are for a person, whose id is that of their first account


async def _end_current_session() -> None:
    """End the browser's current session, if any, because its cookie is about to be replaced."""
    current = page_session().session
    if current is not None:
        await write(partial(end_session, current.digest))


def _require_mail() -> None:
    if not services().settings.sends_mail:
        raise NotFound(gettext("This service sends no email."))


def _require_open() -> None:
    mode = services().settings.sign_up
    if mode == "invitation":
        raise NotFound(gettext("Sign-up needs an invitation. Open the link in the email that invited you."))
    if mode != "open":
        raise NotFound(gettext("Sign-up is closed. Ask the operator of this service for an account."))


def _wait(response: Response, error: TooManyAttempts | SignInQueueFull) -> Response:
    for name, value in error_headers(error, error_spec(error)):
        if name == b"retry-after":
            response.headers["retry-after"] = value.decode()
    return response

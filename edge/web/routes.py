"""The blueprint of all pages, with their hooks."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.web.account_closing import account_closing
from edge.web.accounts import accounts
from edge.web.budgets import budgets
from edge.web.calls import calls
from edge.web.chat import chat
from edge.web.conversations import stored_content
from edge.web.docs.pages import docs
from edge.web.email_change import email_change
from edge.web.emails import emails
from edge.web.keys import keys
from edge.web.media import media
from edge.web.members import members
from edge.web.models import models
from edge.web.openid import openid
from edge.web.overview import overview
from edge.web.pages import add_headers
from edge.web.passkeys import passkeys
from edge.web.payments import payments
from edge.web.plans import plans
from edge.web.playground import playground
from edge.web.second_factor import second_factor
from edge.web.security import security
from edge.web.sessions import sessions
from edge.web.sign_in import sign_in
from edge.web.trust import trust_page
from edge.web.usage import usage
from edge.web.verification import verification
from edge.web.web_session import SignInRequired, load_session, redirect_to_sign_in, update_cookies
from edge.web.your_data import data

web = Blueprint("web", __name__, template_folder="templates")
web.before_request(load_session)
web.after_request(update_cookies)
web.after_request(add_headers)
for blueprint in (
    models,
    playground,
    chat,
    docs,
    sign_in,
    openid,
    overview,
    payments,
    plans,
    members,
    accounts,
    keys,
    calls,
    usage,
    budgets,
    emails,
    media,
    stored_content,
    sessions,
    security,
    passkeys,
    second_factor,
    data,
    account_closing,
    verification,
    email_change,
    trust_page,
):
    web.register_blueprint(blueprint)


@web.errorhandler(SignInRequired)
async def sign_in_first(_: SignInRequired) -> Response:
    return redirect_to_sign_in()

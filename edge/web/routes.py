"""The blueprint of all pages, with their hooks."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.web.chat import chat
from edge.web.conversations import stored
from edge.web.docs import docs
from edge.web.keys import keys
from edge.web.landing import front
from edge.web.media import media
from edge.web.overview import overview
from edge.web.pages import add_headers
from edge.web.sessions import sessions
from edge.web.sign_in import sign_in
from edge.web.usage import usage
from edge.web.verification import verification
from edge.web.web_session import SignInNeeded, begin_visit, end_visit, to_sign_in
from edge.web.your_data import data

web = Blueprint("web", __name__, template_folder="templates")
web.before_request(begin_visit)
web.after_request(end_visit)
web.after_request(add_headers)
for blueprint in (front, docs, chat, sign_in, overview, keys, usage, media, stored, sessions, data, verification):
    web.register_blueprint(blueprint)


@web.errorhandler(SignInNeeded)
async def sign_in_first(_: SignInNeeded) -> Response:
    return to_sign_in()

"""Web pages during a database outage: an explanation is shown, and sessions survive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edge.ledger_fixture import new_ledger_database
from tests.edge.web.conftest import COOKIE, Browser, Site
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Upstream

PAGES = ("/account", "/account/usage", "/account/keys", "/account/data", "/account/media", "/c/0123456789012345678901")


@pytest.fixture
def own_site(tmp_path: Path, postgres: Postgres, redis_servers: Callable[[str], RedisServer]) -> Iterator[Site]:
    """A site whose database the test may cut off."""
    with new_ledger_database(tmp_path, postgres) as ledger_database:
        site = Site(redis_servers("valkey").url, Upstream(), ledger_database)
        yield site
        site.close()


def test_an_outage_is_explained_and_sessions_survive(own_site: Site, postgres: Postgres) -> None:
    member = own_site.member()
    assert member.get("/account").status == 200
    held, token = dict(member.cookies), member.token("/account/keys")
    own_site.ledger_database.database.close_all()  # type: ignore[attr-defined]  # a pool's
    postgres.cut_off(own_site.ledger_database.url)
    try:
        answers = {path: member.get(path) for path in PAGES}
        key = member.request("POST", "/account/keys", f"csrf_token={token}&name=lost".encode(), _form_of(member))
        stranger = own_site.browser().get("/account")
    finally:
        postgres.reconnect(own_site.ledger_database.url)
    assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(PAGES, 503)
    for answer in (*answers.values(), key):
        assert (answer.status, "cannot reach its database" in answer.body.decode()) == (503, True)
    assert (stranger.status, stranger.headers["location"]) == (303, "/sign-in?next=/account")
    assert member.cookies[COOKIE] == held[COOKIE]
    eventually(lambda: member.get("/account").status == 200, "the page is back, and the session with it")
    assert "lost" not in member.get("/account/keys").body.decode()


def _form_of(browser: Browser) -> dict[str, str]:
    return {"origin": f"http://127.0.0.1:{browser.port}", "content-type": "application/x-www-form-urlencoded"}

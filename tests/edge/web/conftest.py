"""An edge with web pages on each kind of database, and visitors who use its forms and cookies like a browser."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from html import unescape
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from playwright.async_api import Page

from shared.core.settings import Settings
from shared.models import Account, OutgoingMail
from shared.operations.web_accounts import create_session, sign_up
from tests import factories
from tests.edge.conftest import OpenBooks
from tests.edge.ledger_fixture import LedgerDatabase
from tests.edge.shared_edge import Reply, read
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.redis import RedisServer
from tests.servers.smtp import SmtpServer
from tests.upstream import Upstream
from tests.upstream_responses import WAIT_SECONDS
from workers.mail import MailWork

COOKIE = "yout_session"  # the cookie's name when served over plain HTTP
PASSWORD = "correct horse battery"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
MAIL_FROM = "Yout <no-reply@yout.example>"
_numbers = iter(range(1, 100_000))


class Browser:
    """A browser with its own IP address: stores cookies and sends form tokens, but does not follow redirects."""

    def __init__(self, port: int, agent: str = AGENT) -> None:
        self.port = port
        self.agent = agent
        number = next(_numbers)
        self.address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        self.account: Account | None = None  # only set by `member`
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []  # the raw Set-Cookie headers of the last response

    def request(self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS * 2)) as connection:
            sent = {"user-agent": self.agent, "accept": "text/html", "x-forwarded-for": self.address}
            if self.cookies:
                sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            sent = {name: value for name, value in {**sent, **(headers or {})}.items() if value}
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            self.set_cookies = response.msg.get_all("set-cookie") or []
            for header in self.set_cookies:
                name, _, value = header.split(";")[0].partition("=")
                self.cookies[name] = value
                if not value:
                    del self.cookies[name]
            return read(response)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.request("GET", path, None, headers)

    def token(self, path: str = "/sign-in") -> str:
        """The CSRF token of the forms on a page."""
        return self.tokens(path)["csrf_token"]

    def tokens(self, path: str) -> dict[str, str]:
        """The hidden tokens of a page's forms: the CSRF token, and the token of a single-use form."""
        found = dict(re.findall(r'name="(csrf_token|form_token)" value="([^"]*)"', self.get(path).body.decode()))
        assert found, f"{path} has no form"
        return {name: unescape(value) for name, value in found.items()}

    def follow(self, answer: Reply) -> Reply:
        """The page that a form redirected to."""
        assert answer.status == 303, answer.body.decode()
        return self.get(answer.headers["location"])

    def submit_form(
        self, path: str, fields: dict[str, Any] | None = None, *, page: str = "", headers: dict[str, str] | None = None
    ) -> Reply:
        """Fill in a form on `page` (by default `path`) and post it to `path`."""
        body = urlencode({**self.tokens(page or path), **(fields or {})}, doseq=True).encode()
        return self.post(path, body, headers)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Reply:
        origin = {"origin": f"http://127.0.0.1:{self.port}", "content-type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, body, {**origin, **(headers or {})})

    async def copy_session_to(self, page: Page) -> None:
        """Sign a real browser's page in with this session."""
        url = f"http://127.0.0.1:{self.port}"
        await page.context.add_cookies([{"name": name, "value": value, "url": url} for name, value in self.cookies.items()])

    def sign_up(self, email: str | None = None, password: str = PASSWORD) -> str:
        """Sign up; returns the email."""
        email = email or f"person-{next(_numbers)}@example.com"
        answer = self.submit_form("/sign-up", {"email": email, "password": password})
        assert answer.status == 303, answer.body.decode()
        return email

    def sign_in(self, email: str, password: str = PASSWORD) -> Reply:
        return self.submit_form("/sign-in", {"email": email, "password": password})

    def api(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        """Call the native API as a script on the page does."""
        sent = {"accept": "application/json", "content-type": "application/json"}
        if method != "GET":
            page = "/account/keys" if COOKIE in self.cookies else "/sign-in"
            sent |= {"origin": f"http://127.0.0.1:{self.port}", "x-csrf-token": self.token(page)}
        data = orjson.dumps(body) if body is not None else None
        return self.request(method, path, data, {**sent, **(headers or {})})


class Site:
    """The edge and its visitors. `second` is another process on the same database."""

    def __init__(self, redis_url: str, upstream: Upstream, ledger_database: LedgerDatabase) -> None:
        self.upstream, self.ledger_database = upstream, ledger_database
        self.settings: dict[str, Any] = {
            "database_url": ledger_database.url,
            "redis_url": redis_url,
            "data_dir": ledger_database.folder,
        }
        self.settings |= {"sign_up_credits": 500_000, "trusted_proxies": ("127.0.0.1",), "trust_page": True}
        self._edges: dict[str, WebProcess] = {}

    def edge(self, **settings: Any) -> WebProcess:
        """The edge with these extra settings, started on first use."""
        key = repr(sorted(settings.items()))
        if key not in self._edges:
            self._edges[key] = start_edge(self.ledger_database.folder, environment_of({**self.settings, **settings}))
        return self._edges[key]

    def browser(self, agent: str = AGENT, **settings: Any) -> Browser:
        """A signed-out browser."""
        return Browser(self.edge(**settings).port, agent)

    def member(self, email: str = "", **settings: Any) -> Browser:
        """A browser signed in to a new account by `create_session`, which avoids slow password hashing."""
        account = sign_up(email or f"member-{next(_numbers)}@example.com", "known to nobody", 500_000)
        browser = self.browser(**settings)
        browser.cookies[COOKIE] = create_session(account.id, "Firefox on Linux", password_hash="known to nobody").secret
        browser.account = account
        return browser

    def account(self, email: str) -> Account:
        found: Account = Account.get(Account.email == email)
        return found

    def close(self) -> None:
        for edge in self._edges.values():
            edge.kill()
        self.upstream.close()


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def running_site(
    request: pytest.FixtureRequest, open_ledger_database: OpenBooks, redis_servers: Callable[[str], RedisServer]
) -> Iterator[Site]:
    upstream = Upstream()
    with open_ledger_database(request.param) as ledger_database:
        channel = factories.channel(upstream.url)
        factories.model("m-1", channel, input=1_000, output=2_000, minimum=10)
        factories.model("free", channel, input=1_000, output=2_000, is_free=True, context_window=8_000)
        made = Site(redis_servers("valkey").url, upstream, ledger_database)
        yield made
        made.close()


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    """Checks after the test that the ledger verifies and nothing is held."""
    with running_site.ledger_database.verified():
        yield running_site


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()


@pytest.fixture
def member(site: Site) -> Browser:
    return site.member()


class MailSite:
    """A site that sends email to a scripted SMTP server."""

    def __init__(self, site: Site, server: SmtpServer, make_settings: Callable[..., Settings]) -> None:
        self.site, self.server = site, server
        self.settings = {"smtp_url": server.url, "mail_from": MAIL_FROM, "public_url": "http://yout.test"}
        self._work = MailWork(make_settings(**self.settings))

    def browser(self) -> Browser:
        return self.site.browser(**self.settings)

    def link(self) -> str:
        """Wait for the next email; returns the path of its link."""
        self.send()
        return self.server.mails.pop(0).link()

    def send(self) -> None:
        self._work.send_due()

    def signed_up(self) -> tuple[Browser, Account]:
        """A browser signed in to a new account."""
        browser = self.browser()
        return browser, self.site.account(browser.sign_up())


@pytest.fixture(scope="module")
def smtp_server() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.close()


@pytest.fixture
def mail_site(site: Site, smtp_server: SmtpServer, make_settings: Callable[..., Settings]) -> Iterator[MailSite]:
    OutgoingMail.delete().execute()  # of tests before this one
    yield MailSite(site, smtp_server, make_settings)
    OutgoingMail.delete().execute()
    smtp_server.mails.clear()

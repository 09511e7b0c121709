"""A console on each kind of database, and staff members who sign in through its forms as a browser does."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Any

import peewee
import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.async_api import Page
from werkzeug.test import TestResponse

from console.app import create_app
from shared.core.settings import Settings
from shared.models import StaffUser
from shared.operations.staff import create_staff
from tests.conftest import OpenPage, StartWeb
from tests.factories import ORIGIN
from tests.servers.process import free_port

Enter = Callable[..., Awaitable[Page]]
PASSWORD = "correct horse battery"


class Browser:
    """A signed-out visitor. `send` submits a form of a page, including its hidden fields."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def get(self, path: str, **options: Any) -> TestResponse:
        return self._client.get(path, **options)

    def post(self, path: str, data: dict[str, Any], **options: Any) -> TestResponse:
        return self._client.post(path, data=data, **options)

    def form(self, page: str, action: str | None = None) -> dict[str, str]:
        """The hidden fields of the form on `page` that posts to `action` (by default to `page` itself)."""
        text = self.get(page).text
        forms = re.findall(r"<form[^>]*method=\"post\"[^>]*>.*?</form>", text, re.DOTALL)
        wanted = [form for form in forms if (f'action="{action}"' in form if action else "action=" not in form.split(">")[0])]
        assert wanted, f"{page} has no form for {action}"
        tags = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", wanted[0])
        return {_attribute(tag, "name"): _attribute(tag, "value") for tag in tags}

    def submit_form(self, page: str, action: str, **values: Any) -> TestResponse:
        """Open `page`, fill in its form for `action`, submit it, and follow redirects."""
        return self.post(action, {**self.form(page, action), **values}, follow_redirects=True)

    def sign_in(self, email: str, password: str = PASSWORD, path: str = "/login", **options: Any) -> TestResponse:
        hidden = self.form(path)
        return self.post(path, {**hidden, "email": email, "password": password}, **options)


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', tag)
    return unescape(found.group(1)) if found else ""


@pytest.fixture
def app(bound_database: peewee.Database, make_settings: Callable[..., Settings]) -> Flask:
    return create_app(make_settings(edge_port=free_port()))  # where no edge runs


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app.test_client())


@pytest.fixture
def staff(app: Flask) -> Callable[[str], StaffUser]:
    """`staff("billing")`: a staff member with this role; the password is `PASSWORD`."""

    def make(role: str) -> StaffUser:
        return create_staff(f"{role}@yout.example", role, PASSWORD, origin=ORIGIN)[0]

    return make


@pytest.fixture
def signed_in(app: Flask, staff: Callable[[str], StaffUser]) -> Callable[[str], Browser]:
    """`signed_in("owner")`: a browser signed in as a new staff member with this role."""

    def make(role: str = "owner") -> Browser:
        visitor = Browser(app.test_client())
        assert visitor.sign_in(staff(role).email).status_code == 303
        return visitor

    return make


@pytest.fixture
def console_settings() -> dict[str, Any]:
    """Settings of the console that `enter` opens. A test file can override this."""
    return {}


@pytest.fixture
def enter(
    bound_database, any_database_url, start_console: StartWeb, open_page: OpenPage, console_settings: dict[str, Any]
) -> Enter:
    """`await enter("/usage/")`: this console page in Chromium, signed in as an owner."""
    create_staff("owner@yout.example", "owner", PASSWORD, origin=ORIGIN)
    console = start_console(database_url=any_database_url, **console_settings)

    async def make(path: str = "/", **options: Any) -> Page:
        page = await open_page(**options)
        await page.goto(f"{console.url}/login?next={path}")
        await page.fill("[name=email]", "owner@yout.example")
        await page.fill("[name=password]", PASSWORD)
        await page.click("button.primary")
        await page.wait_for_url(f"{console.url}{path}")
        return page

    return make

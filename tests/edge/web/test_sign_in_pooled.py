"""The ways to sign in through PgBouncer in transaction mode, where each transaction may get another connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.edge.web.conftest import PASSWORD, Site
from tests.edge.web.test_openid import sign_in as sign_in_with_provider
from tests.edge.web.test_second_factor import enroll, enter_code
from tests.servers.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from tests.servers.pgbouncer import PgBouncer


@pytest.mark.parametrize("running_site", ["postgresql"], indirect=True)
def test_sign_up_password_second_factor_and_provider(
    site: Site, start_pgbouncer: Callable[..., PgBouncer], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pooled = start_pgbouncer(pool_size=2).url(site.ledger_database.url)
    provider = OpenIdProvider(tmp_path_factory.mktemp("openid"))
    try:
        settings: dict[str, Any] = {"database_url": pooled, "oidc_issuer": provider.url}
        settings |= {"oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}
        browser = site.browser(**settings)
        email = browser.sign_up()
        assert site.account(email).balance == 500_000
        assert site.browser(**settings).sign_in(email).headers["location"] == "/account"
        assert site.browser(**settings).sign_in(email, "not the password").status == 403

        device, codes = enroll(browser)
        code = device.code()
        assert enter_code(site.browser(**settings), email, code) == 303
        assert enter_code(site.browser(**settings), email, code) == 403  # used by another transaction
        fields = {"current": PASSWORD, "password": PASSWORD + "2", "code": codes[0]}
        assert browser.submit_form("/account/password", fields, page="/account/sessions").status == 303

        subject = f"pooled-{email}"
        provider.set_user(subject, email=subject, email_verified=True)
        for _ in range(2):
            done = sign_in_with_provider(site.browser(**settings), provider, subject)
            assert done.headers["location"].startswith("/account")
    finally:
        provider.process.kill()

"""The authorization code flow against a provider that sends valid and invalid answers: tokens, keys, configuration, cookies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import OctKey, RSAKey

from shared.core.errors import OpenIdUnavailable, SignInFailed
from shared.core.settings import Settings
from shared.openid import provider as provider_module
from shared.openid import sign_in as flow_module
from shared.openid.identity import Identity
from shared.openid.provider import CLOCK_SKEW_SECONDS
from shared.openid.sign_in import OpenIdSignIn, customer_sign_in, staff_sign_in
from tests.servers.openid import CLIENT_ID, CLIENT_SECRET, ScriptedProvider

BACK = "https://yout.test/sign-in/oidc/callback"
MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="module")
def running_provider() -> Iterator[ScriptedProvider]:
    made = ScriptedProvider()
    yield made
    made.close()


@pytest.fixture
def provider(running_provider: ScriptedProvider) -> Iterator[ScriptedProvider]:
    kept = (running_provider.key, dict(running_provider.configuration))
    yield running_provider
    running_provider.key, running_provider.configuration = kept
    running_provider.signing_key, running_provider.algorithm, running_provider.info = None, "RS256", {}
    running_provider.statuses.clear()
    running_provider.requests.clear()


@pytest.fixture
def client(provider: ScriptedProvider, make_settings: MakeSettings) -> OpenIdSignIn:
    return customer(provider, make_settings)


def customer(provider: ScriptedProvider, make_settings: MakeSettings, **settings: Any) -> OpenIdSignIn:
    registered = {"oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}
    found = customer_sign_in(make_settings(oidc_issuer=provider.url, **registered, **settings))
    assert found is not None
    return found


def sign_in(client: OpenIdSignIn, provider: ScriptedProvider, query: dict[str, str] | None = None, **claims: Any) -> Identity:
    """Run the flow; the provider's ID token has these claims."""
    url, cookie = client.begin(BACK, "/account")
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    provider.id_token(**{"nonce": sent["nonce"], **claims})
    answer = {"code": "the-code", "state": sent["state"]} | (query or {})
    return client.finish(client.open(cookie, answer), answer, BACK)


def test_the_flow_gives_an_identity(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    found = sign_in(client, provider, email="ida@example.com", email_verified=True)

    assert found == Identity(provider.url, "ida", "ida@example.com", True)
    token_request = dict(provider.requests)["/token"]
    assert token_request["grant_type"] == "authorization_code"
    assert token_request["code"] == "the-code"
    assert token_request["redirect_uri"] == BACK
    assert len(token_request["code_verifier"]) >= 43  # RFC 7636, section 4.1
    assert token_request["authorization"].startswith("Basic ")
    assert CLIENT_SECRET not in token_request.values()


def test_the_request_is_bound_to_the_browser_that_began(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    url, cookie = client.begin(BACK, "/account/keys")
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    flow = client.open(cookie, {"state": sent["state"]})

    assert url.startswith(provider.configuration["authorization_endpoint"])
    assert (sent["response_type"], sent["code_challenge_method"], sent["client_id"]) == ("code", "S256", CLIENT_ID)
    assert flow.next == "/account/keys"
    assert flow.code_verifier not in url
    for secret in (flow.state, flow.nonce, flow.code_verifier):
        assert secret not in cookie
    other = client.begin(BACK, None)[1]
    for wrong_cookie, state in ((cookie, "other"), (cookie, ""), (other, flow.state), ("", flow.state), ("forged", flow.state)):
        with pytest.raises(SignInFailed, match="expired"):
            client.open(wrong_cookie, {"state": state})


def test_a_flow_expires(client: OpenIdSignIn, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    url, cookie = client.begin(BACK, None)
    query = {"state": parse_qs(urlsplit(url).query)["state"][0]}
    later = int(time.time() * 1000) + flow_module.LASTS_MS + 1000
    monkeypatch.setattr(flow_module, "now_ms", lambda: later)

    with pytest.raises(SignInFailed, match="expired"):
        client.open(cookie, query)


@pytest.mark.parametrize(
    "next", ["https://evil.example/", "//evil.example", "/\\evil.example", "account", "", None, "/" + "a" * 2_000]
)
def test_it_returns_only_to_pages_of_this_site(client: OpenIdSignIn, provider: ScriptedProvider, next: str | None) -> None:
    url, cookie = client.begin(BACK, next)

    assert client.open(cookie, {"state": parse_qs(urlsplit(url).query)["state"][0]}).next == ""


class FromNow(int):
    """Seconds from the time at which the test runs, which is long after its parameters are made."""


def at_now(claims: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {name: now + value if isinstance(value, FromNow) else value for name, value in claims.items()}


REFUSED_CLAIMS: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "other"},
    "several audiences without azp": {"aud": [CLIENT_ID, "other"]},
    "another authorized party": {"aud": [CLIENT_ID, "other"], "azp": "other"},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "another nonce": {"nonce": "replayed"},
    "no nonce": {"nonce": None},
    "expired": {"exp": FromNow(-CLOCK_SKEW_SECONDS - 60)},
    "no expiry": {"exp": None},
    "not valid yet": {"nbf": FromNow(CLOCK_SKEW_SECONDS + 600)},
    "issued in the future": {"iat": FromNow(CLOCK_SKEW_SECONDS + 600)},
    "no subject": {"sub": None},
    "a subject that is a number": {"sub": 7},
    "a long subject": {"sub": "x" * 256},
}


@pytest.mark.parametrize("claims", REFUSED_CLAIMS.values(), ids=REFUSED_CLAIMS)
def test_an_invalid_id_token_is_refused(client: OpenIdSignIn, provider: ScriptedProvider, claims: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed, match="did not confirm"):
        sign_in(client, provider, **at_now(claims))


@pytest.mark.parametrize(
    "claims",
    [{"exp": FromNow(-60)}, {"iat": FromNow(60)}, {"aud": [CLIENT_ID]}, {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID}],
)
def test_clocks_may_differ_and_audiences_may_be_lists(
    client: OpenIdSignIn, provider: ScriptedProvider, claims: dict[str, Any]
) -> None:
    assert sign_in(client, provider, **at_now(claims)).subject == "ida"


def test_a_published_shared_secret_signs_nothing(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    provider.configuration["id_token_signing_alg_values_supported"] = ["HS256"]
    provider.key, provider.algorithm = OctKey.import_key("published" * 4, {"kid": "first"}), "HS256"  # type: ignore[assignment]  # not RSA
    with pytest.raises(SignInFailed, match="did not confirm"):
        sign_in(client, provider)


def test_only_the_providers_key_can_sign(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    for key, algorithm in (
        (RSAKey.generate_key(2048, {"kid": "first"}), "RS256"),
        (OctKey.import_key(CLIENT_SECRET + " " * 12, {"kid": "first"}), "HS256"),
    ):
        provider.signing_key, provider.algorithm = key, algorithm
        provider.configuration["id_token_signing_alg_values_supported"] = ["RS256", "HS256", "none"]
        with pytest.raises(SignInFailed):
            sign_in(client, provider)


def test_a_new_key_is_fetched(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    sign_in(client, provider)
    provider.key = RSAKey.generate_key(2048, {"kid": "second"})

    assert sign_in(client, provider).subject == "ida"
    assert [path for path, _ in provider.requests].count("/keys") == 2


def test_claims_that_the_token_lacks_come_from_the_user_info(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    provider.info = {"sub": "ida", "email": "ida@example.com", "email_verified": "true", "aud": "other"}
    assert sign_in(client, provider) == Identity(provider.url, "ida", "ida@example.com", True)

    provider.info |= {"sub": "eve"}
    assert sign_in(client, provider).email == ""


@pytest.mark.parametrize(
    ("verified", "counts"),
    [(True, True), ("true", True), (False, False), ("false", False), (None, False), (1, False), ("1", False)],
)
def test_what_counts_as_verified(client: OpenIdSignIn, provider: ScriptedProvider, verified: Any, counts: bool) -> None:
    assert sign_in(client, provider, email="ida@example.com", email_verified=verified).email_verified is counts


def test_groups_are_read_for_staff_with_roles(provider: ScriptedProvider, make_settings: MakeSettings) -> None:
    settings = {"staff_oidc_issuer": provider.url, "staff_oidc_client_id": CLIENT_ID, "staff_oidc_groups_claim": "teams"}
    client = staff_sign_in(make_settings(**settings, staff_oidc_roles=("admins=owner",)))
    assert client is not None

    assert sign_in(client, provider, email="a@b.example", teams=["admins", "all"]).groups == ("admins", "all")
    assert sign_in(client, provider, email="a@b.example", teams="admins").groups == ("admins",)
    assert sign_in(client, provider, email="a@b.example").groups == ()
    assert "authorization" not in {name for name, value in dict(provider.requests)["/token"].items() if value}  # a public client


def test_the_secret_is_sent_as_the_provider_wants_it(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    provider.configuration["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    sign_in(client, provider)
    assert dict(provider.requests)["/token"]["client_secret"] == CLIENT_SECRET


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"error": "access_denied"}, "cancelled"),
        ({"iss": "https://evil.example"}, "expired"),
    ],
)
def test_an_answer_of_the_provider_is_checked(
    client: OpenIdSignIn, provider: ScriptedProvider, query: dict[str, str], message: str
) -> None:
    with pytest.raises(SignInFailed, match=message):
        sign_in(client, provider, query)


def test_a_refused_code_is_the_users_matter_and_a_failure_is_not(client: OpenIdSignIn, provider: ScriptedProvider) -> None:
    for path, status, error in (
        ("/token", 400, SignInFailed),
        ("/token", 401, SignInFailed),
        ("/token", 500, OpenIdUnavailable),
        ("/keys", 503, OpenIdUnavailable),
        ("/keys", 404, OpenIdUnavailable),
    ):
        provider.statuses[path] = status
        with pytest.raises(error):
            sign_in(client, provider)
        provider.statuses.clear()
    provider.claims = {}
    url, cookie = client.begin(BACK, None)
    query = {"state": parse_qs(urlsplit(url).query)["state"][0], "code": "c"}
    with pytest.raises(SignInFailed):
        client.finish(client.open(cookie, query), query, BACK)


def test_a_provider_that_is_down_is_left_alone_for_a_while(
    provider: ScriptedProvider, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = customer(provider, make_settings)
    provider.statuses["/.well-known/openid-configuration"] = 503
    for _ in range(3):
        with pytest.raises(OpenIdUnavailable):
            client.begin(BACK, None)
    assert len(provider.requests) == 1

    provider.statuses.clear()
    monkeypatch.setattr(provider_module, "PAUSE_SECONDS", 0.0)
    client.provider._paused_until = 0.0
    client.begin(BACK, None)
    monkeypatch.setattr(provider_module, "CACHE_SECONDS", 0.0)
    provider.statuses["/.well-known/openid-configuration"] = 503
    client.begin(BACK, None)  # with the configuration from before


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://evil.example"}, {"token_endpoint": None}, {"jwks_uri": 7}, {"issuer": None}],
)
def test_an_invalid_configuration_is_refused(
    provider: ScriptedProvider, make_settings: MakeSettings, change: dict[str, Any]
) -> None:
    provider.configuration |= change
    with pytest.raises(OpenIdUnavailable):
        customer(provider, make_settings).begin(BACK, None)


def test_an_issuer_may_end_with_a_slash(provider: ScriptedProvider, make_settings: MakeSettings) -> None:
    provider.configuration["issuer"] += "/"
    client = customer(provider, make_settings)
    assert sign_in(client, provider, iss=provider.url + "/").issuer == provider.url
    with pytest.raises(SignInFailed):
        sign_in(client, provider, iss=provider.url)

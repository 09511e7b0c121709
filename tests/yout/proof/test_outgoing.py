"""Canaries in every field of an account's calls: none is in the mails and webhooks about the account. A planted leak is found.

The edge and the worker are real, mails go to a real SMTP server, and webhooks to a server that records them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import peewee
import pytest

from shared.core.billing_periods import DAY_MS
from shared.core.clock import now_ms
from shared.identity.passwords import hash_password
from shared.models import Account, ApiKey, OutgoingMail, Person
from shared.operations.budgets import BudgetTerms, create_budget
from shared.operations.people import sync_owner
from shared.operations.proof_accounts import ProofAccount, create_proof_account
from tests.conftest import StartWeb
from tests.edge.web.conftest import PASSWORD, Browser
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY, environment_of, start_worker
from tests.servers.process import Process, eventually
from tests.servers.smtp import SmtpServer
from tests.upstream import Upstream
from tests.upstream_responses import json_response
from tests.yout.proof.faults import plant
from yout.proof.canary import Finder, Found, new_prefix
from yout.proof.canary_requests import CanaryClient, send_calls, send_failures, send_media
from yout.proof.privacy_check import CONTENT, CREDITS, OTHERS, models, scripted_answer
from yout.proof.scripted_upstream import ScriptedUpstream

pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
# A provider's error code is in the webhook of a failed job if it looks like one, as in the API.
KEPT = {"error_code"}
MAILS, WEBHOOKS = 4, 4
# The worker adds what it sent to a provider to each mail and webhook.
LEAK = """
client = import_module("workers.provider_client")
texts, documents = import_module("shared.mail.texts"), import_module("workers.webhook_delivery")
sent, make, build, document = [""], client.ProviderClient.open, texts._with_button, documents.signed_message

def remember(self, request, *arguments):
    sent[0] = repr(request)
    return make(self, request, *arguments)

def build_with_leak(subject, lead, label, link, note):
    return build(subject, lead + sent[0], label, link, note)

def document_with_leak(account, id, found, secret_key):
    return document(account, id, {**found, "debug": sent[0]}, secret_key)

client.ProviderClient.open, texts._with_button = remember, build_with_leak
documents.signed_message = document_with_leak
import_module("workers.budgets").signed_message = document_with_leak
"""


class Installation(NamedTuple):
    """A running installation with an account whose calls contain canaries, and what it sent."""

    account: ProofAccount
    client: CanaryClient
    browser: Browser
    finder: Finder
    smtp: SmtpServer
    hook: Upstream

    def mails(self) -> list[bytes]:
        """Each received mail, and its decoded texts."""
        mails = self.smtp.mails
        return [mail.message.as_bytes() + "".join(map(mail.part, ("plain", "html"))).encode() for mail in mails]

    def webhooks(self) -> list[bytes]:
        return [repr(call.headers).encode() + call.body for call in self.hook.calls]

    def hits(self, sent: list[bytes]) -> set[str]:
        found: set[Found] = set().union(*map(self.finder.find, sent))
        return {hit.canary for hit in found} - KEPT


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.close()


@pytest.fixture
def start_installation(
    bound_database: peewee.Database,
    any_database_url: str,
    redis_url: str,
    start_edge: StartWeb,
    processes: list[Process],
    tmp_path: Path,
    smtp: SmtpServer,
    upstream: Upstream,
) -> Iterator[Callable[..., Installation]]:
    """`start_installation(**environment)`: with these variables for the worker. Webhooks go to `upstream`."""
    prefix = new_prefix()
    canaries = {name: f"{prefix}{name.replace('_', '')}" for name in (*CONTENT, *OTHERS)}
    provider = ScriptedUpstream(lambda request: scripted_answer(request, canaries))
    upstream.default = lambda _: json_response({})

    def start(**environment: str) -> Installation:
        account = create_proof_account(provider.base_url, CREDITS, models(), SECRET_KEY, stores_content=True, origin=ORIGIN)
        provider.secret = account.channel_secret
        values = {"email": "owner@example.com", "email_verified_at": 1, "password_hash": hash_password(PASSWORD)}
        person = sync_owner(account.id).person
        Account.update(values).where(Account.id == account.id).execute()
        Person.update(values).where(Person.id == person.id).execute()
        soon = now_ms() + 5 * DAY_MS
        ApiKey.update(expires_at=soon, created_at=soon - 40 * DAY_MS).where(ApiKey.account == account.id).execute()
        settings: dict[str, Any] = {"database_url": any_database_url, "redis_url": redis_url, "smtp_url": smtp.url}
        settings |= {"mail_from": "no-reply@yout.example", "public_url": "http://127.0.0.1:{port}"}
        settings |= {"outbound_networks": ("127.0.0.1/32",), "trusted_proxies": ("127.0.0.1",)}
        edge = start_edge(**settings)
        settings["public_url"] = edge.url
        processes.append(start_worker(tmp_path, environment_of(settings) | environment))
        client = CanaryClient(edge.url, account.key, "", canaries.__getitem__)
        finder = Finder(prefix, canaries, {"API key": account.key})
        browser = Browser(edge.port, f"Mozilla/5.0 Firefox/140.0 {canaries['user_agent']}")
        return Installation(account, client, browser, finder, smtp, upstream)

    yield start
    provider.close()


def make_everything_send(one: Installation) -> None:
    """Make calls with canaries, then cause a mail or webhook of each kind that is about usage or a sign-in."""
    account, client, hook = one.account.id, one.client, one.hook.url
    send_calls(client, one.account.models)
    send_failures(client, one.account.models)
    send_media(client, one.account.models)
    for model in ("image", "image_error"):
        body = {"model": one.account.models[model], "prompt": client.canary("prompt"), "callback_url": f"{hook}/job"}
        assert client.request("POST", "/api/media/image/", body).status == 202
    signed_in = one.browser.sign_in("owner@example.com")
    assert signed_in.status == 303, signed_in.body.decode()
    create_budget(account, "account", "", "month", BudgetTerms(1, [1], True, f"{hook}/event"), origin=ORIGIN)
    create_budget(account, "balance", "", "month", BudgetTerms(CREDITS * 2, [1], True, f"{hook}/slack", "slack"), origin=ORIGIN)


def wait_until_sent(one: Installation) -> None:
    eventually(lambda: len(one.hook.calls) >= WEBHOOKS, "webhooks of jobs and budgets arrive", 60)
    unsent = OutgoingMail.select().where(OutgoingMail.status == "queued")
    eventually(lambda: len(one.smtp.mails) >= MAILS and not unsent.exists(), "mails arrive", 60)


def test_no_mail_and_no_webhook_contains_content(start_installation: Callable[..., Installation]) -> None:
    one = start_installation()
    make_everything_send(one)
    wait_until_sent(one)
    subjects = {str(mail.message["Subject"]).partition(" ")[0] for mail in one.smtp.mails}
    assert subjects == {"New", "1", "Low", "API"}, subjects
    assert {call.path.rpartition("/")[2] for call in one.hook.calls} == {"job", "event", "slack"}
    assert one.hits(one.mails()) == set()
    assert one.hits(one.webhooks()) == set()


@pytest.mark.proofs
def test_a_leak_into_mails_and_webhooks_is_found(start_installation: Callable[..., Installation], tmp_path: Path) -> None:
    one = start_installation(**plant(tmp_path / "fault", LEAK, "workers"))
    make_everything_send(one)
    wait_until_sent(one)
    assert "prompt" in one.hits(one.mails())
    assert "prompt" in one.hits(one.webhooks())

"""`yout privacy-check` on a running stack: clean on ours, and not on one that keeps content or passes on who called."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import psycopg
import pytest

from edge.app import ENDPOINTS, create_app
from shared.alerts import budget_webhooks
from shared.core import signing
from shared.core.settings import Settings
from shared.mail import texts
from shared.models import UsageLedger
from shared.operations.proof_reports import verify_report
from tests.yout.command import Installation
from tests.yout.proof.conftest import SECRET_KEY
from tests.yout.proof.faults import LEAKS, leaking_code, plant
from yout.proof.canary_requests import FORMS, PAGES

Rows = Callable[[], dict[str, int]]


def test_nothing_is_kept_but_what_users_asked_for(installation: Installation, rows: Rows) -> None:
    assert installation.yout("ledger", "seal").code == 0  # a worker would seal the account, which is then kept
    before = rows()
    (installation.folder / "proxy.log").write_text("GET /v1/models")
    done = installation.yout("privacy-check", "--log", "proxy.log", "--json")
    report = done.data
    assert (done.code, report["hits"]) == (0, []), done.err
    assert rows() == before
    assert {"prompt", "system", "tool_arguments", "image", "file", "header", "answer", "stored"} <= set(report["canaries"])
    sizes = {place["name"]: place["size"] for place in report["places"]}
    assert len(sizes) == 12
    assert all(sizes[name] for name in sizes if name not in (
        "temporary files of the edge and the worker", "media store, after the removal"
    )), sizes  # fmt: skip
    kept = {(hit["canary"], hit["place"]) for hit in report["kept"]}
    assert sizes["mails and webhooks about the account"] >= 10, sizes
    assert {("stored", "database: message.content"), ("stored", "database: share.messages"), ("output", "media store")} <= kept
    assert verify_report(report, signing.public_key(SECRET_KEY, signing.PROOF_REPORT)) == report
    assert json.loads((installation.folder / "var/media/reports/privacy-check.json").read_text()) == report


@pytest.mark.proofs
def test_every_planted_leak_is_named(installation: Installation) -> None:
    installation.environment |= plant(installation.folder / "fault", leaking_code(), "edge")
    done = installation.yout("privacy-check", "--json")
    assert done.code == 1
    hits = {(hit["canary"], hit["place"]) for hit in done.data["hits"]}
    wanted = {fault: found for fault, (found, _) in LEAKS.items()} | {
        "the key is passed to the provider": ("API key", "provider: header x-caller"),
        "the user is passed to the provider": ("user", "provider: body"),
    }
    missing = [
        fault
        for fault, (canary, place) in wanted.items()
        if not any(hit == canary and where.startswith(place) for hit, where in hits)
    ]
    assert missing == [], sorted(hits)


@pytest.mark.proofs
@pytest.mark.parametrize("leaking", ["mails", "webhooks"])
def test_content_in_mails_or_webhooks_is_named(installation: Installation, monkeypatch: pytest.MonkeyPatch, leaking: str) -> None:
    """The tags of the last calls, which the command finds in the rows from which it composes mails and webhooks."""
    with_button, describe = texts._with_button, budget_webhooks.describe

    def tags() -> str:
        return " ".join(row.tag or "" for row in UsageLedger.select(UsageLedger.tag))

    if leaking == "mails":
        monkeypatch.setattr(texts, "_with_button", lambda subject, lead, *rest: with_button(subject, lead + tags(), *rest))
    else:
        monkeypatch.setattr(budget_webhooks, "describe", lambda found: describe(found) + tags())
    done = installation.yout("privacy-check", "--json")
    assert done.code == 1
    assert {(hit["canary"], hit["place"]) for hit in done.data["hits"]} == {("tag", "mails and webhooks about the account")}


@pytest.mark.proofs
def test_the_bytes_of_postgresql_are_searched(installation: Installation, postgres_url: str) -> None:
    installation.environment["DATABASE_URL"] = postgres_url
    assert installation.yout("ledger", "seal").code == 0  # as above
    done = installation.yout("privacy-check", "--json")
    assert (done.code, done.data["hits"]) == (0, []), done.err
    [place] = [place for place in done.data["places"] if place["name"] == "database: bytes of its files"]
    assert place["size"] > 0, place
    assert ("stored", "plain") in {(hit["canary"], hit["form"]) for hit in done.data["kept"] if "bytes" in hit["place"]}
    with psycopg.connect(postgres_url) as connection:
        for table in ("account", "channel", "model", "ledger_entry", "usage_ledger", "media_job", "plan"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_every_page_and_form_is_included() -> None:
    """Routes that are in the OpenAPI document are included by it."""
    settings = Settings.load({"SECRET_KEY": SECRET_KEY}, dotenv=None)
    described = set(ENDPOINTS) | {"/openapi.json"}
    for rule in create_app(settings).url_map.iter_rules():
        path = re.sub(r"<[^>]*>", "{}", rule.rule)
        if not path.startswith(("/api/", "/v1/", "/.well-known/")) and path not in described:
            assert rule.methods is not None
            assert "POST" not in rule.methods or path in FORMS, path
            assert "GET" not in rule.methods or path in PAGES, path

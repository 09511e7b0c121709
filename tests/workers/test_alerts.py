"""Alerts: they open and close once, with several workers and without flapping, and are sent by email and webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.alerts import conditions
from shared.alerts.conditions import observe_calls, observe_expirations, observe_machine, observe_rows
from shared.alerts.state import CLOSE_AFTER_MS, OPEN_AFTER_MS, STALE_MS, Condition, Observation, open_alerts, record_observation
from shared.alerts.texts import KINDS, describe_alert
from shared.core.clock import new_id, now_ms
from shared.core.machine import GIB, DiskSpace, disk_spaces
from shared.core.settings import Settings
from shared.core.tls_certificates import TlsServer
from shared.doctor import CheckFailed
from shared.doctor.local import check_disk
from shared.models import (
    Alert,
    AlertCheck,
    AlertNotice,
    AuditEntry,
    ChannelCheck,
    Hold,
    OutgoingMail,
    PriceCheck,
    PurgeJob,
    UsageLedger,
)
from tests import factories
from tests.servers.small_disk import SmallDisk
from tests.servers.smtp import SmtpServer
from tests.threads import run_threads
from tests.upstream import Upstream
from tests.upstream_responses import error_response, json_response
from workers.alerts import AlertWork

pytestmark = pytest.mark.usefixtures("bound_database")
MakeSettings = Callable[..., Settings]
MINUTE = 60_000
NOW = now_ms() - 60 * MINUTE
SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


def observe(now: int, *active: str, kinds: tuple[str, ...] = ("mail_unsent",), targets: tuple[str, ...] = ("webhook",)) -> None:
    """Record that these kinds of conditions are met."""
    record_observation(Observation(kinds, [Condition(kind, "", {"count": 2}) for kind in active]), targets, now)


def events() -> list[str]:
    """The queued messages, oldest first."""
    return [row.event for row in AlertNotice.select().order_by(AlertNotice.created_at, AlertNotice.id)]


# Opening and closing


@SQLITE
def test_an_alert_opens_after_a_minute_and_closes_after_five() -> None:
    observe(NOW, "mail_unsent")
    observe(NOW + OPEN_AFTER_MS - 1, "mail_unsent")
    assert (open_alerts(), events()) == ([], [])
    observe(NOW + OPEN_AFTER_MS, "mail_unsent")
    observe(NOW + OPEN_AFTER_MS + MINUTE, "mail_unsent")
    assert events() == ["opened"]
    gone = NOW + 3 * MINUTE
    observe(gone)
    observe(gone + CLOSE_AFTER_MS - 1)
    assert len(open_alerts()) == 1
    observe(gone + CLOSE_AFTER_MS)
    observe(gone + CLOSE_AFTER_MS + MINUTE)
    assert (open_alerts(), events()) == ([], ["opened", "closed"])
    observe(gone + 20 * MINUTE, "mail_unsent")
    observe(gone + 22 * MINUTE, "mail_unsent")
    assert events() == ["opened", "closed", "opened"]  # it is a new one


@SQLITE
def test_a_condition_that_comes_and_goes_is_one_alert() -> None:
    for minute in range(60):
        observe(NOW + minute * MINUTE, *(["mail_unsent"] if minute % 4 != 3 else []))
    assert events() == ["opened"]


@SQLITE
def test_a_short_condition_opens_no_alert() -> None:
    for minute in range(0, 60, 2):
        observe(NOW + minute * MINUTE, "mail_unsent")
        observe(NOW + (minute + 1) * MINUTE - 1)
    assert Alert.select().count() == 0


@SQLITE
def test_an_undecided_alert_stays_open_for_an_hour() -> None:
    observe(NOW, "mail_unsent")
    observe(NOW + OPEN_AFTER_MS, "mail_unsent")
    undecided = Observation(("mail_unsent",), [], undecided={("mail_unsent", "")})
    seen = NOW + OPEN_AFTER_MS
    for at in (seen + 10 * MINUTE, seen + STALE_MS - 1):
        record_observation(undecided, ("webhook",), at)
    assert len(open_alerts()) == 1
    record_observation(undecided, ("webhook",), seen + STALE_MS)
    record_observation(undecided, ("webhook",), seen + STALE_MS + CLOSE_AFTER_MS)
    assert events() == ["opened", "closed"]


def test_many_workers_open_and_close_an_alert_once(bound_database: Any) -> None:
    def work(times: list[int], *active: str) -> None:
        for at in times:
            observe(at, *active)
        bound_database.close()

    opening = [NOW, NOW + OPEN_AFTER_MS, NOW + OPEN_AFTER_MS + 1]
    run_threads(lambda _: work(opening, "mail_unsent"), 4)
    closing = [NOW + 3 * MINUTE, NOW + 3 * MINUTE + CLOSE_AFTER_MS, NOW + 4 * MINUTE + CLOSE_AFTER_MS]
    run_threads(lambda _: work(closing), 4)
    assert events() == ["opened", "closed"]
    assert Alert.select().count() == 1


# Conditions


def found(settings: Settings, now: int) -> dict[str, dict[str, Any]]:
    """The details of all conditions in the database, by kind."""
    parts = (observe_calls(now), observe_rows(settings, now), observe_expirations(settings, now))
    return {condition.kind: condition.details for observed in parts for condition in observed.active}


@SQLITE
def test_a_fresh_installation_has_no_condition(make_settings: MakeSettings) -> None:
    settings = make_settings(visitor_pool_credits=1_000)
    assert found(settings, now_ms()) == {}


def usage(channel: Any, status: str, count: int, now: int) -> None:
    """Insert usage rows of calls in the last minutes."""
    owner = factories.account()
    for _ in range(count):
        UsageLedger.create(
            id=new_id(), account=owner.id, model="m-1", price=new_id(), channel=channel, status=status, streamed=False,
            estimated=False, created_at=now - MINUTE,
        )  # fmt: skip


@SQLITE
def test_failing_channels_recover_only_with_successful_calls() -> None:
    now = now_ms()
    bad, good = factories.channel("http://127.0.0.1:9/v1"), factories.channel("http://127.0.0.1:9/v1")
    usage(bad.id, "failed", 4, now)
    assert observe_calls(now).active == []  # too few calls
    usage(bad.id, "failed", 4, now)
    usage(good.id, "completed", 9, now)
    usage(None, "failed", 5, now)
    observed = observe_calls(now)
    assert [(one.kind, one.subject) for one in observed.active] == [("channel_failing", str(bad.id)), ("no_channel", "")]
    assert observed.recovered == {("channel_failing", str(good.id))}
    later = observe_calls(now + 30 * MINUTE)  # without calls
    row = Alert(kind="channel_failing", subject=str(bad.id))
    assert (later.active, later.is_gone(row)) == ([], False)
    bad.status = "disabled"
    bad.save()
    assert observe_calls(now).is_gone(row)


@SQLITE
def test_each_kind_of_condition(make_settings: MakeSettings) -> None:
    now, owner = now_ms(), factories.account()
    settings = make_settings(visitor_pool_credits=1_000)
    old = now - 3 * 3_600_000
    Hold.create(id=new_id(), account=owner.id, model="m", price=new_id(), amount=0, expires_at=old)
    OutgoingMail.create(account=owner.id, kind="x", recipient="a@b.example", created_at=old, due_at=now)
    PurgeJob.create(account=owner.id, boundary=0, due_at=old)
    PurgeJob.create(account=factories.account().id, boundary=0, due_at=now, problem="account 1, entry 2: changed")
    AuditEntry.create(actor="operator:root", action=conditions.BACKUP_ACTION, target="x", created_at=now - 9 * 86_400_000)
    PriceCheck.update(below=[{"model": "m-1"}, {"model": "m-2"}]).execute()
    flagged = factories.channel("http://127.0.0.1:9/v1", name="acme")
    ChannelCheck.create(channel=flagged.id, problems=["margin"], flagged_at=now)
    key, _ = factories.api_key(owner)
    key.created_at, key.expires_at = now - 60 * 86_400_000, now + 86_400_000
    key.save()
    short, _ = factories.api_key(owner)  # meant to expire
    short.expires_at = now + 60_000
    short.save()
    conditions.Account.create(id=conditions.POOL_ACCOUNT_ID, email="visitors", balance=5, plan_credits=5)
    assert found(settings, now) == {
        "holds_stale": {"count": 1},
        "mail_unsent": {"count": 1},
        "purges_stuck": {"count": 1},
        "purges_refused": {"count": 1, "problem": "account 1, entry 2: changed"},
        "backup_old": {"days": 9},
        "price_below_cost": {"count": 2, "models": ["m-1", "m-2"]},
        "channel_flagged": {"name": "acme"},
        "keys_expiring": {"count": 1},
        "visitor_pool_empty": {"credits": 1_000},
    }


@SQLITE
def test_a_disk_that_fills_up_and_is_enlarged(make_settings: MakeSettings, small_disk: SmallDisk, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "media").symlink_to(small_disk.path)  # a disk of its own for media
    settings = make_settings(data_dir=data)
    low_before = {space.path for space in disk_spaces(settings) if space.is_low()}  # of the machine that runs this test

    def observe_disk(now: int) -> list[str]:
        observed, _ = observe_machine(settings)
        media = [one for one in observed.active if one.details["path"] == str(data / "media")]
        record_observation(Observation(observed.kinds, media, set()), ("webhook",), now)
        return [describe_alert(alert).title for alert in open_alerts()]

    assert low_before <= {data}
    assert observe_disk(NOW) == []
    small_disk.resize("1m")
    small_disk.fill()
    with pytest.raises(OSError, match="No space left"):
        (data / "media" / "output").write_bytes(b"0")
    with pytest.raises(CheckFailed, match=r"0\.0 GiB \(0 %\) free at .*/data/media"):
        check_disk(settings)
    assert observe_disk(NOW + MINUTE) == []
    [title] = observe_disk(NOW + MINUTE + OPEN_AFTER_MS)
    assert title.endswith(f" is nearly full: 0.0 GiB free at {data / 'media'}.")
    small_disk.clear()
    assert observe_disk(NOW + 3 * MINUTE) == [title]  # a file less does not make it large enough
    small_disk.resize("2g")
    assert observe_disk(NOW + 4 * MINUTE) == [title]
    assert observe_disk(NOW + 4 * MINUTE + CLOSE_AFTER_MS) == []
    assert events() == ["opened", "closed"]


@SQLITE
def test_a_full_disk_and_an_expiring_certificate(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, free = make_settings(), GIB // 2
    monkeypatch.setattr(conditions, "disk_spaces", lambda _: [DiskSpace(Path("/data"), free, 10 * GIB)])
    (observed, host) = observe_machine(settings)
    assert [(one.subject, one.details["free"]) for one in observed.active] == [(host, "0.5")]
    free = int(1.1 * GIB)  # not low, but not enough to close an alert
    (observed, _) = observe_machine(settings)
    assert (observed.active, observed.undecided) == ([], {("disk_full", host)})
    servers = [TlsServer("REDIS_URL", name, 1) for name in ("expiring", "valid", "silent")]
    monkeypatch.setattr(conditions, "tls_servers", lambda _: servers)
    monkeypatch.setattr(conditions, "days_left", lambda server: {"expiring": 13, "valid": 14, "silent": None}[server.host])
    seen = observe_expirations(settings, now_ms())
    assert [one.subject for one in seen.active] == ["REDIS_URL expiring"]
    assert seen.undecided == {("certificate_expiring", "REDIS_URL silent")}


@SQLITE
def test_every_kind_has_a_text() -> None:
    kinds = {*conditions.LOCAL_KINDS, *conditions.EXPIRY_KINDS, *conditions.CALL_KINDS, *conditions.OTHER_KINDS}
    assert kinds == KINDS
    details = {"name": "c", "failed": 1, "calls": 2, "count": 1, "models": ["m"], "credits": 5, "host": "h", "path": "/",
               "free": "0.5", "variable": "REDIS_URL", "days": 1, "problem": "p"}  # fmt: skip
    for kind in kinds:
        text = describe_alert(Alert(kind=kind, details=details))
        assert "{" not in text.title + text.advice
    assert describe_alert(Alert(kind="jobs_stuck", details={"count": 2})).title == "2 media jobs are stuck."


# Messages


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.close()


@SQLITE
def test_both_messages_are_sent_once_by_email_and_webhook(
    make_settings: MakeSettings, smtp: SmtpServer, upstream: Upstream
) -> None:
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    settings = make_settings(
        smtp_url=smtp.url, mail_from="yout@example.com", public_url="http://127.0.0.1", alert_email="ops@example.com",
        alert_webhook_url=upstream.url + "/hook?token=1", alert_webhook_secret=secret,
    )  # fmt: skip
    upstream.default = lambda _: json_response({})
    workers = [AlertWork(settings), AlertWork(settings)]
    targets = ("email", "webhook")
    observe(NOW, "mail_unsent", targets=targets)
    observe(NOW + OPEN_AFTER_MS, "mail_unsent", targets=targets)
    for worker in workers:
        worker.send_due()
    [mail] = smtp.mails
    assert mail.message["Subject"] == "Alert: 2 emails have not been sent for an hour."
    assert "yout doctor" in mail.part("plain")
    [call] = upstream.calls
    event = json.loads(call.body)
    assert (event["type"], event["data"]["kind"], event["data"]["closed_at"]) == ("alert.opened", "mail_unsent", None)
    assert event["text"].startswith("2 emails have not been sent for an hour. Check")
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    digest = hmac.new(base64.b64decode(secret[6:]), signed, hashlib.sha256).digest()
    assert call.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    observe(NOW + 2 * MINUTE, targets=targets)
    observe(NOW + 2 * MINUTE + CLOSE_AFTER_MS, targets=targets)
    for worker in workers:
        worker.send_due()
    assert [mail.message["Subject"].split(":")[0] for mail in smtp.mails] == ["Alert", "Closed"]
    assert json.loads(upstream.calls[1].body)["text"] == "Closed: 2 emails have not been sent for an hour."
    assert [row.status for row in AlertNotice.select()] == ["sent"] * 4


@SQLITE
def test_a_message_that_fails_is_sent_again_later(make_settings: MakeSettings, upstream: Upstream) -> None:
    work = AlertWork(make_settings(alert_webhook_url=upstream.url))
    upstream.script(error_response(500), json_response({}))
    observe(NOW, "mail_unsent")
    observe(NOW + OPEN_AFTER_MS, "mail_unsent")
    work.send_due()
    row = AlertNotice.get()
    assert (row.status, row.attempts, row.last_error) == ("queued", 1, "The server answered with status 500.")
    work.send_due()
    assert len(upstream.calls) == 1  # it waits
    AlertNotice.update(due_at=0).execute()
    work.send_due()
    assert (AlertNotice.get().status, len(upstream.calls)) == ("sent", 2)
    assert "webhook-signature" not in upstream.calls[0].headers


@SQLITE
def test_only_one_worker_evaluates_at_a_time(make_settings: MakeSettings) -> None:
    works = [AlertWork(make_settings()), AlertWork(make_settings())]
    AlertCheck.update(checked_at=0).execute()
    now = now_ms()
    owner = factories.account()
    OutgoingMail.create(account=owner.id, kind="x", recipient="a@b.example", created_at=now - 7_200_000, due_at=now)
    for work in works:
        work.evaluate(now)
    assert AlertCheck.get().checked_at == now
    for work in works:
        work.evaluate(now + MINUTE)
    assert [row.kind for row in open_alerts()] == ["mail_unsent"]

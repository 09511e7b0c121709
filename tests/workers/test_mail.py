"""The mail outbox and its sender, against a real SMTP server that accepts, rejects, delays, hangs or is not trusted."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from email import message_from_string
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any

import peewee
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from shared.core.clock import new_id, now_ms
from shared.core.errors import InvalidInput
from shared.core.settings import Settings
from shared.core.smtp_url import read_sender
from shared.identity.emails import normalize_email
from shared.mail import outbox
from shared.mail.address import recipient
from shared.mail.smtp import MailLimits, build_message
from shared.mail.texts import verify_email
from shared.models import Account, OutgoingMail
from shared.operations.accounts import change_email
from shared.operations.verification import confirm_email, request_verification
from shared.operations.web_accounts import sign_up
from tests import factories
from tests.factories import ORIGIN
from tests.servers.authority import Authority
from tests.servers.process import Process, eventually
from tests.servers.smtp import SmtpServer
from tests.threads import join, run_threads
from tests.upstream_responses import Gate
from workers.mail import MailWork, clean

TEXT = verify_email("ada@example.com", "https://yout.example/verify-email/x", 5_000, 24)
QUICK = MailLimits(answer_seconds=0.3, total_seconds=0.6)
# A mail server behaves the same on each kind of database.
ON_SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
StartSmtp = Callable[..., SmtpServer]


@pytest.fixture
def start_smtp() -> Iterator[StartSmtp]:
    """`start_smtp(tls=…, starttls=…, login=…)`: a scripted mail server."""
    running: list[SmtpServer] = []

    def start(**options: Any) -> SmtpServer:
        running.append(SmtpServer(**options))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server-side TLS context for `localhost`, signed by an authority that this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    return authority.server_context(x509.DNSName("localhost"))


@pytest.fixture
def work(make_settings: Callable[..., Settings]) -> Callable[..., MailWork]:
    """`work(url)`: the mail sender of a worker, using the server at `url`. `limits` shortens its timeouts."""

    def make(url: str, limits: MailLimits | None = None) -> MailWork:
        settings = make_settings(smtp_url=url, mail_from="Yout <no-reply@yout.example>", public_url="https://yout.example")
        return MailWork(settings, limits)

    return make


def queued(email: str = "ada@example.com", credits: int = 500) -> OutgoingMail:
    """The queued verification email of a new account."""
    return OutgoingMail.get(OutgoingMail.account == sign_up(email, "hash", credits, verify=True))


def again(mail: OutgoingMail) -> OutgoingMail:
    found: OutgoingMail = OutgoingMail.get_by_id(mail.id)
    return found


def make_due(mail: OutgoingMail) -> None:
    OutgoingMail.update(due_at=0).where(OutgoingMail.id == mail.id).execute()


def test_a_mail_is_sent_once(bound_database: peewee.Database, work: Any, start_smtp: StartSmtp) -> None:
    server, mail = start_smtp(), queued()
    sender = work(server.url)
    sender.send_due()
    sender.send_due()
    [received] = server.mails
    assert (received.sender, received.recipient) == ("no-reply@yout.example", "ada@example.com")
    headers = received.message
    assert (headers["From"], headers["To"]) == ("Yout <no-reply@yout.example>", "ada@example.com")
    assert (headers["Subject"], headers["Auto-Submitted"]) == ("Verify your email", "auto-generated")
    assert headers["Content-Language"] == "en"
    assert headers["Message-ID"] == f"<{mail.id.hex}@yout.example>"
    assert "to receive 500 credits" in received.part("plain")
    assert received.link().startswith("/verify-email/")
    done = again(mail)
    assert (done.status, done.attempts, done.last_error) == ("sent", 1, "")


@ON_SQLITE
def test_addresses_in_other_scripts_receive_mail(bound_database: peewee.Database, work: Any, start_smtp: StartSmtp) -> None:
    server = start_smtp()
    queued("jürgen@bücher.example")
    work(server.url).send_due()
    assert server.mails[0].recipient == "jürgen@xn--bcher-kva.example"
    old, mail = start_smtp(utf8=False), queued("zoë@example.com")
    work(old.url).send_due()
    assert (again(mail).status, "not ASCII" in again(mail).last_error) == ("failed", True)


@ON_SQLITE
def test_an_obsolete_mail_is_not_sent(bound_database: peewee.Database, work: Any, start_smtp: StartSmtp) -> None:
    server, first, second = start_smtp(), queued(), queued("ben@example.com")
    confirm_email(first.account.id, "ada@example.com", origin=ORIGIN)
    change_email(second.account.id, "benjamin@example.com", origin=ORIGIN)
    closed = queued("eve@example.com")
    Account.update(status="closed").where(Account.id == closed.account).execute()
    work(server.url).send_due()
    assert server.recipients == []
    assert {again(mail).status for mail in (first, second, closed)} == {"cancelled"}


@ON_SQLITE
def test_a_newer_mail_replaces_a_queued_one(bound_database: peewee.Database, work: Any, start_smtp: StartSmtp) -> None:
    server, first = start_smtp(), queued()
    assert request_verification(first.account.id, origin=ORIGIN)
    work(server.url).send_due()
    assert (len(server.mails), again(first).status) == (1, "cancelled")


@ON_SQLITE
@pytest.mark.parametrize("command", ["recipient", "data"])
def test_a_rejected_mail_fails_with_the_reason(
    bound_database: peewee.Database, work: Any, start_smtp: StartSmtp, command: str
) -> None:
    server, mail, other = start_smtp(), queued(), queued("ben@example.com")
    script = server.script_recipient if command == "recipient" else server.script_data
    script("550 5.1.1 No such user here")
    work(server.url).send_due()
    refused = again(mail)
    assert (refused.status, refused.last_error) == ("failed", "550 5.1.1 No such user here")
    assert again(other).status == "sent"


@ON_SQLITE
@pytest.mark.parametrize("command", ["recipient", "data"])
def test_a_delayed_mail_is_sent_later(bound_database: peewee.Database, work: Any, start_smtp: StartSmtp, command: str) -> None:
    server, mail = start_smtp(), queued()
    script = server.script_recipient if command == "recipient" else server.script_data
    script("451 4.7.1 Greylisted", "451 4.7.1 Greylisted")
    sender = work(server.url)
    for attempt in (1, 2):
        before = now_ms()
        sender.send_due()
        sender.send_due()  # not due yet
        delayed = again(mail)
        assert (delayed.status, delayed.attempts, delayed.last_error) == ("queued", attempt, "451 4.7.1 Greylisted")
        assert delayed.due_at >= before + outbox.RETRY_DELAYS_MS[attempt - 1]
        make_due(mail)
    sender.send_due()
    assert (again(mail).status, again(mail).attempts, len(server.mails)) == ("sent", 3, 1)


@ON_SQLITE
def test_implicit_tls_and_starttls(
    bound_database: peewee.Database, work: Any, start_smtp: StartSmtp, trusted: ssl.SSLContext
) -> None:
    login = ("ada@example.com", "p/w:d")
    for number, (scheme, options) in enumerate([("smtps", {"tls": trusted}), ("smtp", {"starttls": trusted})]):
        server = start_smtp(login=login, **options)
        queued(f"person-{number}@example.com")
        work(f"{scheme}://ada%40example.com:p%2Fw%3Ad@localhost:{server.port}").send_due()
        assert [mail.encrypted for mail in server.mails] == [True]


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("smtp://localhost:{port}?starttls=required", {}, "STARTTLS"),
        ("smtp://127.0.0.1:{port}?starttls=required", {"starttls": "trusted"}, "certificate is not valid"),
        ("smtps://127.0.0.1:{port}", {"tls": "trusted"}, "certificate is not valid"),
        ("smtps://localhost:{port}", {"tls": "stranger"}, "certificate is not valid"),
        ("smtps://localhost:{port}", {}, "TLS failed"),
        ("smtp://ada:wrong@localhost:{port}?starttls=off", {"login": ("ada", "right")}, "535"),
    ],
)
def test_an_untrusted_or_unusable_server_gets_no_mail(
    bound_database: peewee.Database,
    work: Any,
    start_smtp: StartSmtp,
    trusted: ssl.SSLContext,
    tmp_path: Path,
    url: str,
    options: dict[str, Any],
    reason: str,
) -> None:
    contexts = {"trusted": trusted, "stranger": Authority(tmp_path).server_context(x509.DNSName("localhost"))}
    server = start_smtp(**{name: contexts.get(value, value) if name != "login" else value for name, value in options.items()})
    mail = queued()
    sender = work(url.format(port=server.port))
    sender.send_due()
    delayed = again(mail)
    assert (delayed.status, server.recipients) == ("queued", [])
    assert reason in delayed.last_error
    make_due(mail)
    sender.send_due()
    assert again(mail).attempts == 1, "the server is paused after a failure"


@ON_SQLITE
def test_a_hanging_server_times_out(bound_database: peewee.Database, work: Any, start_smtp: StartSmtp) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # accepted by the kernel, but never answered
        mail = queued()
        work(f"smtp://127.0.0.1:{silent.getsockname()[1]}", QUICK).send_due()
        assert (again(mail).status, again(mail).last_error) == ("queued", "The server does not answer.")
    server, gate, other = start_smtp(), Gate(), queued("ben@example.com")
    server.script_data(gate)
    work(server.url, QUICK).send_due()
    assert (again(other).status, again(other).last_error) == ("queued", "The server does not answer.")


@ON_SQLITE
def test_a_trickling_server_is_disconnected(bound_database: peewee.Database, work: Any) -> None:
    """Each byte arrives within the read timeout, but the response never ends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        left = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    while not left.wait(0.05):
                        connection.sendall(b"2")
                except OSError:
                    left.set()

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        mail = queued()
        work(f"smtp://127.0.0.1:{listener.getsockname()[1]}", QUICK).send_due()
        join(thread)
        assert left.is_set()
        assert again(mail).status == "queued"


def test_unsent_mails_fail_after_a_day_and_old_rows_are_deleted(bound_database: peewee.Database) -> None:
    mail = queued()
    OutgoingMail.update(created_at=now_ms() - outbox.MAX_AGE_MS - 1, last_error="451 Greylisted").execute()
    assert outbox.count_overdue() == 1
    clean()
    assert (again(mail).status, again(mail).last_error, outbox.count_overdue()) == ("failed", "451 Greylisted", 0)
    clean()
    assert OutgoingMail.select().count() == 1
    OutgoingMail.update(finished_at=now_ms() - outbox.KEPT_MS - 1).execute()
    clean()
    assert OutgoingMail.select().count() == 0


def test_workers_never_claim_the_same_mail(bound_postgres: peewee.Database) -> None:
    for number in range(12):
        queued(f"person-{number}@example.com")

    def claim_all(_: int) -> list[Any]:
        with bound_postgres.connection_context():
            found = []
            while (mail := outbox.claim_mail()) is not None:
                found.append(mail.id)
            return found

    claimed = [id for ids in run_threads(claim_all, 4) for id in ids]
    assert len(claimed) == len(set(claimed)) == 12


def test_a_worker_that_lost_its_claim_does_not_finish_the_mail(bound_database: peewee.Database) -> None:
    mail = queued()
    lost = outbox.claim_mail()
    assert lost is not None
    make_due(mail)
    taken = outbox.claim_mail()
    assert taken is not None
    assert not outbox.delay_mail(lost, "late")
    assert not outbox.finish_mail(lost, "failed", "late")
    assert outbox.finish_mail(taken, "sent")
    assert not outbox.finish_mail(taken, "failed")


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_the_mail_of_a_killed_worker_is_sent_by_the_next(
    bound_database: peewee.Database,
    any_database_url: str,
    redis_url: str,
    start_worker: Callable[..., Process],
    start_smtp: StartSmtp,
) -> None:
    server, gate, mail = start_smtp(), Gate(), queued()
    server.script_recipient(gate)
    settings = {"database_url": any_database_url, "redis_url": redis_url, "public_url": "https://yout.example"}
    settings |= {"smtp_url": server.url, "mail_from": "no-reply@yout.example"}
    worker = start_worker(**settings)
    gate.wait_reached()
    worker.kill()
    left = again(mail)
    assert (left.status, left.attempts, left.last_error) == ("queued", 1, ""), "the email has certainly not arrived"
    assert left.due_at > now_ms(), "the dead worker keeps its claim until the lease ends"
    make_due(mail)
    start_worker(**settings)
    assert server.wait_mail().recipient == "ada@example.com"
    eventually(lambda: again(mail).status == "sent", "the second worker says so")
    assert (len(server.mails), again(mail).attempts) == (1, 2)


@pytest.fixture
def mail_worker(
    any_database_url: str, redis_url: str, start_worker: Callable[..., Process], start_smtp: StartSmtp
) -> tuple[SmtpServer, Callable[[], Process]]:
    """A mail server, and a function that starts a worker which uses it."""
    server = start_smtp()
    settings = {"database_url": any_database_url, "redis_url": redis_url, "public_url": "https://yout.example"}
    settings |= {"smtp_url": server.url, "mail_from": "no-reply@yout.example"}
    return server, lambda: start_worker(**settings)


def end_leases() -> None:
    """Five minutes after every worker was killed."""
    OutgoingMail.update(due_at=0).where(OutgoingMail.status == "queued").execute()


ON_POSTGRESQL = pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)


@ON_POSTGRESQL
def test_a_mail_accepted_just_before_the_kill_is_sent_again_with_the_same_message_id(
    bound_database: peewee.Database, mail_worker: tuple[SmtpServer, Callable[[], Process]]
) -> None:
    (server, start), gate, mail = mail_worker, Gate(), queued()
    server.script_data(gate)
    worker = start()
    gate.wait_reached()  # the server has accepted the email, and the worker waits for its answer
    worker.kill()
    gate.open()
    assert again(mail).last_error == outbox.IN_DOUBT
    end_leases()
    start()
    eventually(lambda: again(mail).status == "sent", "the next worker sends it")
    assert again(mail).last_error == ""
    assert [received.message["Message-ID"] for received in server.mails] == [f"<{mail.id.hex}@yout.example>"] * 2


@ON_POSTGRESQL
def test_a_mail_is_sent_once_if_the_worker_is_killed_directly_after_the_answer(
    bound_database: peewee.Database, mail_worker: tuple[SmtpServer, Callable[[], Process]]
) -> None:
    (server, start), gate, mail = mail_worker, Gate(), queued()
    server.script_quit(gate)
    worker = start()
    gate.wait_reached()  # the worker has read the answer to the text
    worker.kill()
    gate.open()
    assert again(mail).status == "sent"
    other = queued("ben@example.com")
    end_leases()
    start()
    eventually(lambda: again(other).status == "sent", "the next worker sends the other one")
    assert [received.recipient for received in server.mails] == ["ada@example.com", "ben@example.com"]


@pytest.mark.parametrize("change", ["taken over", "cancelled"])
def test_a_worker_that_was_stopped_does_not_send_what_it_lost(
    bound_database: peewee.Database, work: Any, start_smtp: StartSmtp, change: str
) -> None:
    server, gate, mail = start_smtp(), Gate(), queued()
    server.script_recipient(gate)

    def send(_: int) -> None:
        work(server.url).send_due()

    stopped = threading.Thread(target=send, args=(0,), daemon=True)
    stopped.start()
    gate.wait_reached()
    if change == "cancelled":
        outbox.cancel_mails(mail.account_id)
    else:
        make_due(mail)  # the lease has ended
        run_threads(send, 1)
    gate.open()
    join(stopped)
    assert (again(mail).status, len(server.mails)) == (("cancelled", 0) if change == "cancelled" else ("sent", 1))


@ON_SQLITE
def test_a_mail_that_was_accepted_while_the_database_failed_is_sent_once(
    bound_database: peewee.Database, work: Any, start_smtp: StartSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, mail = start_smtp(), queued()
    sender = work(server.url)

    def fail(*_: Any) -> None:
        raise peewee.OperationalError("the database is down")

    with monkeypatch.context() as outage:
        outage.setattr(outbox, "finish_mail", fail)
        for _ in range(2):
            with pytest.raises(peewee.OperationalError):
                sender.send_due()
    assert again(mail).status == "queued"
    sender.send_due()
    assert (again(mail).status, len(server.mails)) == ("sent", 1)


@ON_POSTGRESQL
def test_workers_killed_at_random_lose_no_mail_and_double_only_what_they_were_sending(
    bound_database: peewee.Database, mail_worker: tuple[SmtpServer, Callable[[], Process]]
) -> None:
    (server, start), chance, kills = mail_worker, random.Random(20261130), 0
    expected = {f"<{queued(f'person-{number}@example.com').id.hex}@yout.example>" for number in range(150)}
    waiting = OutgoingMail.select().where(OutgoingMail.status == "queued")
    for _ in range(3):
        workers, enough = [start(), start()], len(server.mails) + chance.randrange(1, 30)
        eventually(lambda: len(server.mails) >= enough or not waiting.exists(), "some mails are sent", 60, 0.001)  # noqa: B023  (called at once)
        for worker in workers:
            worker.kill()
        kills += len(workers)
        end_leases()
    start()
    eventually(lambda: not waiting.exists(), "the rest is sent", 60)
    ids = [received.message["Message-ID"] for received in server.mails]
    assert set(ids) == expected
    assert len(ids) - len(expected) <= kills, "a worker sends one email at a time"
    assert {row.status for row in OutgoingMail.select(OutgoingMail.status)} == {"sent"}


def test_deleting_an_account_deletes_its_mails(bound_database: peewee.Database) -> None:
    owner = factories.account(credits=0)
    assert request_verification(owner.id, origin=ORIGIN)
    assert OutgoingMail.select().count() == 1
    Account.delete().where(Account.id == owner.id).execute()
    assert OutgoingMail.select().count() == 0


@given(st.text(min_size=1, max_size=70), st.sampled_from(["example.com", "bücher.example", "xn--bcher-kva.example"]))
def test_an_address_cannot_add_recipients_or_headers(local: str, domain: str) -> None:
    try:
        target = recipient(f"{local}@{domain}")
    except InvalidInput:
        return
    message = build_message(new_id(), read_sender("Yout <no-reply@example.com>"), target, TEXT, 0)
    sent = message_from_string(message.as_bytes(policy=SMTPUTF8).decode(), policy=SMTPUTF8)
    [address] = sent["To"].addresses
    assert normalize_email(address.addr_spec) == normalize_email(f"{local}@{domain}")
    assert not set(' \t\r\n<>,"') & set(target.addr_spec)
    assert sent.keys() == message.keys()

"""Sends the emails in the outbox, a table of the database. Redis is not involved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from shared.core.clock import now_ms
from shared.core.database import database, transaction
from shared.core.errors import InvalidInput
from shared.core.settings import Settings
from shared.core.smtp_url import read_sender, read_smtp_url
from shared.mail import outbox
from shared.mail.address import recipient
from shared.mail.outbox import ClaimedMail
from shared.mail.smtp import MailDelayed, MailLimits, MailRefused, MailWithdrawn, build_message, send
from shared.mail.texts import MailText
from shared.mail_composing import compose
from shared.operations import account_mails, email_changes
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.mail")

SEND_SECONDS = 1.0
CLEAN_SECONDS = 600.0
KEYS_SECONDS = 600.0
PAUSE_SECONDS = 15.0  # after the server failed
_ROUND_SECONDS = 20.0  # maximum duration of one run


def periodic(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic tasks. Without `YOUT_SMTP_URL` nothing is sent, but old emails still fail."""
    cleaning = PeriodicTask("email retention", CLEAN_SECONDS, clean)
    if not settings.sends_mail:
        return (cleaning,)
    expiring = PeriodicTask("expiring keys", KEYS_SECONDS, notify_expiring_keys)
    return (PeriodicTask("email delivery", SEND_SECONDS, MailWork(settings).send_due), cleaning, expiring)


def notify_expiring_keys() -> None:
    """Queue emails about API keys that expire soon."""
    with task_connection():
        account_mails.queue_expiring_keys(now_ms())


def clean() -> None:
    """Fail emails that could not be sent within a day, and delete rows finished a week ago and unconfirmed addresses."""
    with task_connection(), transaction():
        failed = outbox.give_up_old_mails()
        email_changes.forget_expired_changes()
    if failed:
        log.error("gave up %d emails, which could not be sent within a day", failed)


class MailWork:
    """Sends email for one worker process. The settings must have `YOUT_SMTP_URL`; if that is `console`, nothing is sent."""

    def __init__(self, settings: Settings, limits: MailLimits | None = None) -> None:
        self._settings = settings
        self._limits = limits or MailLimits()
        self._route = None
        if not settings.mails_in_console:
            self._route = (read_smtp_url(settings.smtp_url), read_sender(settings.mail_from))
        self._resume_at = 0.0
        self._unrecorded: list[ClaimedMail] = []  # accepted by the server while the database failed

    def send_due(self) -> None:
        """Send the emails that are due, one at a time. Raises database errors."""
        until = time.monotonic() + _ROUND_SECONDS
        with task_connection():
            self._record_accepted()
            while self._resume_at <= time.monotonic() < until and (mail := outbox.claim_mail()) is not None:
                self._attempt(mail)

    def _attempt(self, mail: ClaimedMail) -> None:
        """Send a claimed email and record the result. No database connection is held while waiting for the server."""
        text = compose(mail.account, mail, self._settings)
        if text is None:
            outbox.finish_mail(mail, "cancelled")
            return
        if mail.is_in_doubt:
            log.warning("email %s may arrive twice: a worker ended in an earlier attempt", mail.id)
        database.close()
        try:
            self._send(mail, text)
        except MailWithdrawn:
            log.info("email %s was cancelled or taken over during attempt %d", mail.id, mail.attempt)
        except (MailRefused, InvalidInput) as refused:
            outbox.finish_mail(mail, "failed", str(refused))
            log.warning("mail %s was refused", mail.id)
        except MailDelayed as delayed:
            outbox.delay_mail(mail, str(delayed))
            log.warning("email %s was not sent in attempt %d and will be retried", mail.id, mail.attempt)
            if delayed.server_down:
                self._resume_at = time.monotonic() + PAUSE_SECONDS

    def _record_accepted(self) -> None:
        """Record emails as sent. Keeps those that the database did not accept for the next run."""
        while self._unrecorded:
            outbox.finish_mail(self._unrecorded[0], "sent")
            self._unrecorded.pop(0)

    def _send(self, mail: ClaimedMail, text: MailText) -> None:
        target = recipient(mail.recipient)
        if self._route is not None:
            server, sender = self._route
            message = build_message(mail.id, sender, target, text, now_ms())
            send(server, message, sender.addr_spec, target.addr_spec, self._limits, _Recorder(mail, self._accepted))
        else:
            self._accepted(mail)

    def _accepted(self, mail: ClaimedMail) -> None:
        self._unrecorded.append(mail)
        self._record_accepted()


class _Recorder:
    """Records the steps of sending an email, without holding a database connection in between."""

    def __init__(self, mail: ClaimedMail, accepted: Callable[[ClaimedMail], None]) -> None:
        self._mail, self._accepted = mail, accepted

    def begin(self) -> bool:
        found = outbox.begin_mail(self._mail)
        database.close()
        return found

    def accepted(self) -> None:
        self._accepted(self._mail)

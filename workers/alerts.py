"""Evaluates alerts, and sends the messages about them by email and webhook. Redis is not involved."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from shared.alerts import conditions
from shared.alerts.notices import claim_notice, delay_notice, finish_notice
from shared.alerts.state import claim_evaluation, close_stale, record_observation
from shared.alerts.texts import AlertText, describe_alert
from shared.core.clock import now_ms
from shared.core.database import database
from shared.core.errors import OutboundFailed, OutboundRefused
from shared.core.settings import Settings
from shared.core.smtp_url import read_sender, read_smtp_url
from shared.mail.address import recipient
from shared.mail.smtp import MailDelayed, MailLimits, MailRefused, build_message, send
from shared.mail.texts import alert_mail
from shared.media.webhooks import sign
from shared.models import Alert, AlertNotice
from shared.safe_http import SafeHttpClient, Timeouts, policy_from_settings
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.alerts")

EVALUATE_SECONDS = 60.0
SEND_SECONDS = 5.0
EXPIRY_SECONDS = 1_800.0  # between checks of certificates and keys; below the hour after which an unevaluated alert closes
MAX_ANSWER_BYTES = 100_000
_LIMITS = Timeouts(total_seconds=10, idle_seconds=5)
_ROUND_SECONDS = 20.0  # maximum duration of one `send_due`


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic tasks."""
    work = AlertWork(settings)
    return (
        PeriodicTask("alert evaluation", EVALUATE_SECONDS, task_connection()(work.evaluate)),
        PeriodicTask("alert delivery", SEND_SECONDS, task_connection()(work.send_due)),
    )


class AlertWork:
    """Evaluates alerts and sends their messages, for one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._targets = [
            target for target, address in (("email", settings.alert_email), ("webhook", settings.alert_webhook_url)) if address
        ]
        self._expirations_due = 0.0
        url = settings.alert_webhook_url
        self._http = SafeHttpClient(policy_from_settings(settings), trusted=(url,) if url else ())

    def evaluate(self, now: int | None = None) -> None:
        """Open and close alerts: those of this machine, and all others unless another process evaluates them now."""
        now = now_ms() if now is None else now
        machine, host = conditions.observe_machine(self._settings)
        record_observation(machine, self._targets, now, subject=host)
        if not claim_evaluation(now):
            return
        record_observation(conditions.observe_calls(now), self._targets, now)
        record_observation(conditions.observe_rows(self._settings, now), self._targets, now)
        if time.monotonic() >= self._expirations_due:
            self._evaluate_expirations(now)
        close_stale(self._targets, now)

    def _evaluate_expirations(self, now: int) -> None:
        """Check what expires soon. While such an alert is about to open or close, the next evaluation checks it again."""
        record_observation(conditions.observe_expirations(self._settings, now), self._targets, now)
        changing = Alert.opened_at.is_null() | Alert.clear_since.is_null(False)
        of_expirations = Alert.kind.in_(conditions.EXPIRY_KINDS) & Alert.closed_at.is_null()
        is_settled = not Alert.select().where(of_expirations & changing).exists()
        self._expirations_due = time.monotonic() + (EXPIRY_SECONDS if is_settled else 0)

    def send_due(self) -> None:
        """Send the messages that are due, one at a time. Raises database errors."""
        until = time.monotonic() + _ROUND_SECONDS
        while time.monotonic() < until and (notice := claim_notice(now_ms())) is not None:
            text = describe_alert(notice.alert)
            database.close()
            try:
                (self._send_mail if notice.target == "email" else self._post)(notice, text)
            except (MailRefused, MailDelayed, OutboundFailed, OutboundRefused) as failed:
                delay_notice(notice, str(failed) or type(failed).__name__, now_ms())
                log.warning("alert message %s to %s was not sent in attempt %d", notice.id, notice.target, notice.attempts)
            else:
                finish_notice(notice)

    def _send_mail(self, notice: AlertNotice, text: AlertText) -> None:
        settings = self._settings
        sender, target = read_sender(settings.mail_from), recipient(settings.alert_email)
        mail = alert_mail(text.title, text.advice, closed=notice.event == "closed")
        message = build_message(notice.id, sender, target, mail, now_ms())
        send(read_smtp_url(settings.smtp_url), message, sender.addr_spec, target.addr_spec, MailLimits())

    def _post(self, notice: AlertNotice, text: AlertText) -> None:
        body = json.dumps(event_document(notice, text), ensure_ascii=False).encode()
        headers = {"content-type": "application/json"}
        if self._settings.alert_webhook_secret:
            headers |= sign(self._settings.alert_webhook_secret, f"evt_{notice.id.hex}", now_ms() // 1000, body)
        url = self._settings.alert_webhook_url
        with self._http.post(url, body, max_bytes=MAX_ANSWER_BYTES, headers=headers, limits=_LIMITS) as reply:
            if not 200 <= reply.status < 300:
                raise OutboundFailed(f"The server answered with status {reply.status}.")


def event_document(notice: AlertNotice, text: AlertText) -> dict[str, Any]:
    """Return the event to post. Slack and compatible services display its `text`."""
    alert = notice.alert
    closed = notice.event == "closed"
    return {
        "id": f"evt_{notice.id.hex}",
        "object": "event",
        "type": f"alert.{notice.event}",
        "created_at": notice.created_at // 1000,
        "text": f"Closed: {text.title}" if closed else f"{text.title} {text.advice}",
        "data": {
            "id": str(alert.id),
            "kind": alert.kind,
            "subject": alert.subject,
            "title": text.title,
            "advice": text.advice,
            "opened_at": (alert.opened_at or 0) // 1000,
            "closed_at": None if alert.closed_at is None else alert.closed_at // 1000,
        },
    }

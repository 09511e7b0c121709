"""Compares budgets with the sums of usage, and delivers the webhooks of their alerts. Emails are sent by `workers/mail.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from uuid import UUID

import peewee

from shared.alerts import budget_webhooks
from shared.alerts.budgets import claim_budgets, compare_budgets, delete_old_alerts, find_alert
from shared.core.clock import now_ms
from shared.core.database_errors import describe_error
from shared.core.settings import Settings
from shared.media.webhooks import DueCallback
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection
from workers.webhook_delivery import INTERVAL_SECONDS, LIMITS, Message, Result, WebhookDeliverer, signed_message

log = logging.getLogger("yout.worker.budgets")

COMPARE_SECONDS = 10.0
CLEAN_SECONDS = 3_600.0
_ROUND_SECONDS = 5.0  # maximum duration of one `compare`


class BudgetWork:
    """Compares budgets and sends their webhooks, for one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deliverer = WebhookDeliverer(settings, BudgetWebhooks(settings))
        self.periodic = (
            PeriodicTask("budget comparison", COMPARE_SECONDS, task_connection()(self.compare)),
            PeriodicTask("budget retention", CLEAN_SECONDS, task_connection()(lambda: delete_old_alerts(now_ms()))),
        )
        self.webhooks = PeriodicTask("budget webhooks", INTERVAL_SECONDS, task_connection()(self._deliverer.deliver_due))

    def compare(self) -> None:
        """Compare the budgets that are due. Raises database errors."""
        until = time.monotonic() + _ROUND_SECONDS
        while time.monotonic() < until and (claimed := claim_budgets(now_ms())):
            compare_budgets(claimed, now_ms(), sends_mail=self._settings.sends_mail)

    def close(self) -> None:
        """Wait briefly for running deliveries. Call after the schedulers have stopped."""
        try:
            with task_connection():
                self._deliverer.finish(LIMITS.idle_seconds)
        except peewee.PeeweeException as error:
            log.warning("delivered webhooks may be delivered again: %s", describe_error(error))


class BudgetWebhooks:
    """The webhooks of budgets."""

    what = "budget alert"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def due(self, limit: int, excluded_accounts: Collection[UUID]) -> list[DueCallback]:
        return budget_webhooks.due_webhooks(limit, excluded_accounts=excluded_accounts)

    def claim(self, ids: Sequence[UUID]) -> set[UUID]:
        return budget_webhooks.claim_webhooks(ids)

    def postpone(self, ids: Sequence[UUID], milliseconds: int) -> None:
        budget_webhooks.postpone_webhooks(ids, milliseconds)

    def finish(self, id: UUID, result: Result) -> None:
        budget_webhooks.finish_webhook(id, result)

    def message(self, id: UUID) -> Message | None:
        found = find_alert(id)
        if found is None:
            return None
        account, document = found.budget.__data__["account"], budget_webhooks.webhook_document(found)
        return signed_message(account, f"evt_{found.alert.id.hex}", document, self._settings.secret_key)

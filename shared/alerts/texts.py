"""Texts of alerts: what is wrong, and what to do. Pages show them in the language of the request, messages in English."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shared.models import Alert
from shared.text.translation import gettext, ngettext


class AlertText(NamedTuple):
    """What is wrong, and what to do about it."""

    title: str
    advice: str


def describe_alert(alert: Alert) -> AlertText:
    """Return the text of an alert. Raises `KeyError` for an unknown kind."""
    values = dict(alert.details)
    title, advice = _TEXTS[alert.kind]
    return AlertText(title(values), advice())


Values = dict[str, Any]
_TEXTS: Mapping[str, tuple[Callable[[Values], str], Callable[[], str]]] = {
    "channel_failing": (
        lambda values: gettext("Channel {name} is failing: {failed} of {calls} calls in 10 minutes.", **values),
        lambda: gettext("Check the errors under Usage, test the channel on its page, and pause it if the provider is down."),
    ),
    "no_channel": (
        lambda values: gettext("No channel was available for {failed} calls in the last 10 minutes.", **values),
        lambda: gettext("Check that each model has a route to a channel that is neither paused nor failing."),
    ),
    "channel_flagged": (
        lambda values: gettext("Channel {name} is flagged: its margin or token counts violate its rule.", **values),
        lambda: gettext("See the reason on the channel's page, then change prices, the rule, or the provider."),
    ),
    "price_below_cost": (
        lambda values: ngettext(
            "{count} model is priced below the provider's list price: {models}",
            "{count} models are priced below the provider's list price: {models}",
            values["count"],
            models=", ".join(values["models"]),
        ),
        lambda: gettext("Publish new prices under List prices, or run yout prices sync."),
    ),
    "jobs_stuck": (
        lambda values: ngettext("{count} media job is stuck.", "{count} media jobs are stuck.", values["count"]),
        lambda: gettext("Check workers and the broker (Redis or RabbitMQ) with yout doctor. Jobs are requeued automatically."),
    ),
    "purges_stuck": (
        lambda values: ngettext("{count} purge is overdue.", "{count} purges are overdue.", values["count"]),
        lambda: gettext("Check workers and the media store with yout doctor, and read the worker's log."),
    ),
    "purges_refused": (
        lambda values: ngettext(
            "{count} purge is refused, because ledger entries were changed: {problem}",
            "{count} purges are refused, because ledger entries were changed: {problem}",
            values["count"],
            problem=values["problem"],
        ),
        lambda: gettext("Run yout ledger verify, and follow the runbook: someone may have changed the database."),
    ),
    "mail_unsent": (
        lambda values: ngettext(
            "{count} email has not been sent for an hour.", "{count} emails have not been sent for an hour.", values["count"]
        ),
        lambda: gettext("Check the mail server with yout doctor."),
    ),
    "holds_stale": (
        lambda values: ngettext(
            "{count} expired hold has not released its credits.",
            "{count} expired holds have not released their credits.",
            values["count"],
        ),
        lambda: gettext("Start a worker, or run yout ledger sweep and then yout ledger verify."),
    ),
    "visitor_pool_empty": (
        lambda values: gettext("The visitors' pool of {credits} credits is used up for today.", **values),
        lambda: gettext("Look for abuse under Usage, or raise YOUT_VISITOR_POOL_CREDITS. The pool is refilled at midnight UTC."),
    ),
    "disk_full": (
        lambda values: gettext("The disk of {host} is nearly full: {free} GiB free at {path}.", **values),
        lambda: gettext("Free up space or enlarge the disk before writes fail."),
    ),
    "certificate_expiring": (
        lambda values: ngettext(
            "The TLS certificate of {host} ({variable}) expires in {count} day.",
            "The TLS certificate of {host} ({variable}) expires in {count} days.",
            values["days"],
            host=values["host"],
            variable=values["variable"],
        ),
        lambda: gettext("Renew the certificate, and restart the server that uses it."),
    ),
    "keys_expiring": (
        lambda values: ngettext(
            "{count} long-lived API key expires within 7 days.",
            "{count} long-lived API keys expire within 7 days.",
            values["count"],
        ),
        lambda: gettext("Ask the owners to rotate their keys."),
    ),
    "backup_old": (
        lambda values: ngettext(
            "The latest backup is {count} day old.", "The latest backup is {count} days old.", values["days"]
        ),
        lambda: gettext("Run yout backup, and check the job that should have run it."),
    ),
}
KINDS = frozenset(_TEXTS)

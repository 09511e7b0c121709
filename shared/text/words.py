"""Names of states, kinds and roles, which the tables store in English, for pages. Pure."""

from __future__ import annotations

from shared.text.translation import LazyText, gettext, lazy_gettext

WORDS: dict[str, LazyText] = {
    text: text
    for text in (
        # states of accounts, keys, models, channels and plans
        lazy_gettext("active"),
        lazy_gettext("suspended"),
        lazy_gettext("closed"),
        lazy_gettext("disabled"),
        lazy_gettext("deprecated"),
        lazy_gettext("shut down"),
        lazy_gettext("revoked"),
        lazy_gettext("verified"),
        lazy_gettext("unverified"),
        # of calls, holds and jobs
        lazy_gettext("completed"),
        lazy_gettext("cancelled"),
        lazy_gettext("failed"),
        lazy_gettext("expired"),
        lazy_gettext("held"),
        lazy_gettext("settled"),
        lazy_gettext("released"),
        lazy_gettext("queued"),
        lazy_gettext("running"),
        lazy_gettext("succeeded"),
        lazy_gettext("done"),
        lazy_gettext("sent"),
        lazy_gettext("stuck"),
        lazy_gettext("past deadline"),
        # of payments
        lazy_gettext("pending"),
        lazy_gettext("paid"),
        lazy_gettext("review"),
        lazy_gettext("disputed"),
        lazy_gettext("refunded"),
        lazy_gettext("partly refunded"),
        lazy_gettext("past due"),
        lazy_gettext("waived"),
        lazy_gettext("unrecovered"),
        lazy_gettext("missing"),
        lazy_gettext("process not responding"),
        # of channels, by their error rate
        lazy_gettext("degraded"),
        lazy_gettext("failing"),
        lazy_gettext("low traffic"),
        # of comparisons with a reference channel
        lazy_gettext("same"),
        lazy_gettext("different"),
        # of sessions
        lazy_gettext("ended"),
        lazy_gettext("this browser"),
        # kinds of ledger entries
        lazy_gettext("grant"),
        lazy_gettext("purchase"),
        lazy_gettext("charge"),
        lazy_gettext("refund"),
        lazy_gettext("adjustment"),
        lazy_gettext("expiry"),
        # kinds of models and jobs
        lazy_gettext("chat"),
        lazy_gettext("embedding"),
        lazy_gettext("image"),
        lazy_gettext("video"),
        lazy_gettext("speech"),
        lazy_gettext("moderation"),
        lazy_gettext("transcription"),
        lazy_gettext("rerank"),
        # modalities of models
        lazy_gettext("text"),
        lazy_gettext("audio"),
        lazy_gettext("file"),
        # roles of staff; "owner" and "billing" are also roles of members
        lazy_gettext("owner"),
        lazy_gettext("billing"),
        lazy_gettext("support"),
        lazy_gettext("readonly"),
        # roles of members
        lazy_gettext("admin"),
        lazy_gettext("developer"),
        lazy_gettext("viewer"),
        # kinds of emails
        lazy_gettext("verify email"),
        lazy_gettext("invitation"),
        lazy_gettext("budget"),
        lazy_gettext("low balance"),
        lazy_gettext("key expiring"),
        lazy_gettext("receipt"),
        lazy_gettext("password reset"),
        lazy_gettext("new sign in"),
        lazy_gettext("email changed"),
        lazy_gettext("email change requested"),
        lazy_gettext("confirm new email"),
        lazy_gettext("access removed"),
        lazy_gettext("account invitation"),
        lazy_gettext("top up failed"),
        # scopes and periods of budgets
        lazy_gettext("account"),
        lazy_gettext("member"),
        lazy_gettext("key"),
        lazy_gettext("tag"),
        lazy_gettext("balance"),
        lazy_gettext("month"),
        lazy_gettext("day"),
        # answers
        lazy_gettext("yes"),
        lazy_gettext("no"),
        lazy_gettext("on"),
        lazy_gettext("off"),
        lazy_gettext("all"),
        lazy_gettext("none"),
    )
}


def word(text: str) -> str:
    """Return a state, kind or role in the language of the request; other texts unchanged."""
    return gettext(text) if text in WORDS else text


def agent_name(label: str) -> str:
    """Return the stored name of a browser (`shared.identity.web_sessions.agent_label`) in the language of the request."""
    browser, on, system = label.partition(" on ")
    names = {"A browser": gettext("A browser"), "An unknown browser": gettext("An unknown browser")}
    shown = names.get(browser, browser)
    return gettext("{browser} on {system}", browser=shown, system=system) if on else shown

"""Texts of emails, as plain text and HTML, in the language of `shared.text.translation`. Pure."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from shared.core.formats import format_credits
from shared.text.translation import SOURCE_LANGUAGE, current_language, gettext, ngettext


class MailText(NamedTuple):
    """Subject and body of an email, and its language."""

    subject: str
    text: str
    html: str
    language: str


def verify_email(email: str, link: str, credits: int, link_hours: int) -> MailText:
    """Return the email that asks a new member to verify their address. `credits` are granted for it, or 0."""
    if credits:
        shown = format_credits(credits)
        lead = gettext("Verify that {email} is your email address to receive {credits} credits.", email=email, credits=shown)
    else:
        lead = gettext("Verify that {email} is your email address.", email=email)
    expiry = ngettext(
        "This link expires in {count} hour and can be used once.",
        "This link expires in {count} hours and can be used once.",
        link_hours,
    )
    ignore = gettext("If you did not sign up for Yout, ignore this email.")
    return _with_button(gettext("Verify your email"), lead, gettext("Verify email"), link, f"{expiry} {ignore}")


def invitation_mail(account_name: str, link: str, link_days: int) -> MailText:
    """Return the email that invites someone to an account."""
    lead = gettext("You are invited to share the credits and API access of {account}.", account=account_name)
    expiry = ngettext(
        "This link expires in {count} day and can be used once.",
        "This link expires in {count} days and can be used once.",
        link_days,
    )
    ignore = gettext("If you did not expect this invitation, ignore this email.")
    subject = gettext("Invitation to {account}", account=account_name)
    return _with_button(subject, lead, gettext("View invitation"), link, f"{expiry} {ignore}")


def budget_mail(account: str, of: tuple[str, str, str], percent: int, spent: int, credits: int, edge_url: str) -> MailText:
    """Return the email about a budget of which `percent` is spent. `of` is its scope, the name of its target, and its period."""
    scope, name, period = of
    whose = {
        "member": gettext("member {name}", name=name),
        "key": gettext("API key {name}", name=name),
        "tag": gettext("tag {name}", name=name),
    }.get(scope, gettext("the account"))
    values = {"whose": whose, "account": account, "spent": format_credits(spent), "credits": format_credits(credits)}
    if period == "day":
        lead = gettext(
            "Today (UTC) {spent} credits of the daily budget of {credits} for {whose} in {account} were spent.", **values
        )
    else:
        lead = gettext(
            "This month {spent} credits of the monthly budget of {credits} for {whose} in {account} were spent.", **values
        )
    subject = gettext("{percent} % of a budget is spent: {whose}", percent=percent, whose=whose)
    note = gettext("A budget does not stop calls. To stop them at an amount, set a limit for the member or the API key.")
    return _with_button(
        subject, lead, gettext("View budgets"), f"{edge_url}/account/budgets", f"{note} {_settings_note(edge_url)}"
    )


def low_balance_mail(account: str, balance: int, credits: int, edge_url: str) -> MailText:
    """Return the email about a balance below the amount that the account set."""
    values = {"account": account, "balance": format_credits(balance), "credits": format_credits(credits)}
    lead = gettext("The balance of {account} is {balance} credits, below your alert at {credits}.", **values)
    note = gettext("Calls are refused when no credits are left.")
    subject = gettext("Low balance: {balance} credits", balance=format_credits(balance))
    return _with_button(subject, lead, gettext("View account"), f"{edge_url}/account", f"{note} {_settings_note(edge_url)}")


def _settings_note(edge_url: str) -> str:
    return gettext("Choose which emails you get: {link}", link=f"{edge_url}/account/emails")


def alert_mail(title: str, advice: str, *, closed: bool) -> MailText:
    """Return the email about an alert that opened or closed. It is in English: operators have no account with a language."""
    state, note = ("Closed", "This alert is closed. There is nothing to do.") if closed else ("Alert", advice)
    html = f"""<!doctype html>
<html lang="{SOURCE_LANGUAGE}">
<head><meta charset="utf-8"><title>{escape(title)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif;color:#1a1a1a">
<h1 style="font-size:20px;margin:0 0 16px">{state}</h1>
<p>{escape(title)}</p>
<p>{escape(note)}</p>
</body>
</html>
"""
    return MailText(f"{state}: {title}", f"{title}\n\n{note}\n", html, SOURCE_LANGUAGE)


def _with_button(subject: str, lead: str, label: str, link: str, note: str) -> MailText:
    text = f"{subject}\n\n{lead}\n\n{label}:\n{link}\n\n{note}\n"
    paste = gettext("Or paste this link into your browser:")
    html = f"""<!doctype html>
<html lang="{current_language()}">
<head><meta charset="utf-8"><title>{escape(subject)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif;color:#1a1a1a">
<h1 style="font-size:20px;margin:0 0 16px">{escape(subject)}</h1>
<p>{escape(lead)}</p>
<p><a href="{escape(link)}" style="display:inline-block;padding:10px 16px;border-radius:6px;background:#1a1a1a;color:#fff;\
text-decoration:none">{escape(label)}</a></p>
<p>{escape(paste)}<br>{escape(link)}</p>
<p style="color:#5c5c5c;font-size:14px">{escape(note)}</p>
</body>
</html>
"""
    return MailText(subject, text, html, current_language())

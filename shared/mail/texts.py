"""Texts of emails, as plain text and HTML, in the language of `shared.text.translation`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
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


def account_invitation_mail(email: str, link: str, credits: int, link_days: int) -> MailText:
    """Return the email that invites someone to an account of their own. `credits` are granted when they accept, or 0."""
    if credits:
        values = {"email": email, "credits": format_credits(credits)}
        lead = gettext("You are invited to Yout. Set a password for {email} to receive {credits} credits.", **values)
    else:
        lead = gettext("You are invited to Yout. Set a password for {email}.", email=email)
    expiry = ngettext(
        "This link expires in {count} day and can be used once.",
        "This link expires in {count} days and can be used once.",
        link_days,
    )
    ignore = gettext("If you did not expect this invitation, ignore this email.")
    return _with_button(gettext("Invitation to Yout"), lead, gettext("Set password"), link, f"{expiry} {ignore}")


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


def password_mail(email: str, link: str, link_hours: int) -> MailText:
    """Return the email with a link to set a new password."""
    lead = gettext("Set a new password for {email}.", email=email)
    expiry = ngettext(
        "This link expires in {count} hour and can be used once.",
        "This link expires in {count} hours and can be used once.",
        link_hours,
    )
    ignore = gettext("If you did not request this, ignore this email: your password stays the same.")
    return _with_button(gettext("Set a new password"), lead, gettext("Set password"), link, f"{expiry} {ignore}")


def new_sign_in_mail(email: str, agent: str, time: str, link: str) -> MailText:
    """Return the email about a sign-in from a browser that the person had not used before. `agent` is its label or ""."""
    if agent:
        lead = gettext("{email} was used to sign in with {browser} on {time}.", email=email, browser=agent, time=time)
    else:
        lead = gettext("{email} was used to sign in on {time}.", email=email, time=time)
    note = gettext("If this was you, you can ignore this email. If not, change your password there: it ends all other sessions.")
    return _with_button(gettext("New sign-in"), lead, gettext("View sessions"), link, note)


def email_changed_mail(former: str, new: str, edge_url: str) -> MailText:
    """Return the email to the former address of a person whose address was changed."""
    lead = gettext("The email address {former} of your account was changed to {new}.", former=former, new=new)
    note = gettext("If you did not do this, contact the operator of this service at once. Your API keys still work.")
    return _with_button(gettext("Email address changed"), lead, gettext("View account"), f"{edge_url}/account", note)


def confirm_new_email_mail(former: str, new: str, link: str, link_hours: int) -> MailText:
    """Return the email that asks a person to confirm their new address."""
    lead = gettext("Confirm {new} as your email address instead of {former}.", new=new, former=former)
    expiry = ngettext(
        "This link expires in {count} hour and can be used once.",
        "This link expires in {count} hours and can be used once.",
        link_hours,
    )
    ignore = gettext("If you did not request this, ignore this email: nothing changes.")
    subject = gettext("Confirm your new email address")
    return _with_button(subject, lead, gettext("Confirm email address"), link, f"{expiry} {ignore}")


def email_change_requested_mail(former: str, new: str, link: str) -> MailText:
    """Return the email to a person's present address about a change that waits for confirmation."""
    lead = gettext(
        "The email address of your account is about to change from {former} to {new}, once {new} is confirmed.",
        former=former,
        new=new,
    )
    note = gettext(
        "If you did not do this, cancel the change and set a new password: someone else may have access to your account."
    )
    return _with_button(gettext("Change of your email address"), lead, gettext("Cancel email change"), link, note)


def access_removed_mail(email: str, counts: Sequence[int], edge_url: str) -> MailText:
    """Return the email about access that a password link removed: the numbers of API keys, passkeys, identities, members and
    invitations."""
    lead = gettext(
        "A password was set by a link for {email}, which was not verified. What was set up before was removed, because someone"
        " else could have done it.",
        email=email,
    )
    keys, passkeys, identities, members, invitations = counts
    parts = (
        (keys, ngettext("{count} API key was revoked.", "{count} API keys were revoked.", keys)),
        (passkeys, ngettext("{count} passkey was removed.", "{count} passkeys were removed.", passkeys)),
        (identities, ngettext("{count} identity was disconnected.", "{count} identities were disconnected.", identities)),
        (members, ngettext("{count} member was suspended.", "{count} members were suspended.", members)),
        (invitations, ngettext("{count} invitation was revoked.", "{count} invitations were revoked.", invitations)),
    )
    note = " ".join(text for count, text in parts if count)
    return _with_button(gettext("Earlier access removed"), lead, gettext("View account"), f"{edge_url}/account", note)


def key_expiring_mail(name: str, prefix: str, time: str, edge_url: str) -> MailText:
    """Return the email about an API key that is about to expire."""
    lead = gettext(
        "The API key {name} ({prefix}…) expires on {time}. Calls with it fail from then on.", name=name, prefix=prefix, time=time
    )
    note = gettext("Create a new key or change its expiration.")
    subject = gettext("API key {name} is about to expire", name=name)
    return _with_button(subject, lead, gettext("View API keys"), f"{edge_url}/account/keys", f"{note} {_settings_note(edge_url)}")


def receipt_mail(account: str, credits: int, reference: str, time: str, edge_url: str, *, amount: str = "") -> MailText:
    """Return the receipt of a payment. `amount` is what was paid, with its currency, if it is known."""
    values = {"credits": format_credits(credits), "account": account, "time": time, "reference": reference, "amount": amount}
    if amount:
        lead = gettext("Paid {amount} on {time}. {credits} credits were added to {account}. Reference: {reference}", **values)
    else:
        lead = gettext("{credits} credits were added to {account} on {time}. Reference: {reference}", **values)
    return _with_button(
        gettext("Receipt for {credits} credits", credits=format_credits(credits)),
        *(lead, gettext("View account"), f"{edge_url}/account"),
        _settings_note(edge_url),
    )


def overage_receipt_mail(account: str, credits: int, reference: str, time: str, amount: str, edge_url: str) -> MailText:
    """Return the receipt of an overage bill."""
    lead = gettext(
        "Paid {amount} on {time} for {credits} credits of overage of {account}. Reference: {reference}",
        amount=amount,
        time=time,
        credits=format_credits(credits),
        account=account,
        reference=reference,
    )
    return _with_button(
        gettext("Receipt for overage"), lead, gettext("View account"), f"{edge_url}/account/plan", _settings_note(edge_url)
    )


def top_up_failed_mail(account: str, credits: int, edge_url: str) -> MailText:
    """Return the email about an automatic top-up that failed."""
    lead = gettext(
        "The automatic top-up of {credits} credits for {account} failed: the payment was not accepted.",
        credits=format_credits(credits),
        account=account,
    )
    note = gettext("Check the payment method. Calls are refused when no credits are left.")
    return _with_button(gettext("Automatic top-up failed"), lead, gettext("View account"), f"{edge_url}/account", note)


def payment_failed_mail(account: str, purpose: str, amount: str, edge_url: str) -> MailText:
    """Return the email about a payment of a plan or an overage bill (`purpose`) that failed."""
    values = {"amount": amount, "account": account}
    if purpose == "plan":
        lead = gettext("The card for the plan of {account} could not be charged {amount}.", **values)
        note = gettext("The payment will be retried. If it is not made within seven days after the period's end, the plan ends.")
    else:
        lead = gettext("The overage bill of {account} over {amount} could not be charged.", **values)
        note = gettext("There is no further overage until it is paid.")
    return _with_button(gettext("Payment failed"), lead, gettext("View plan"), f"{edge_url}/account/plan", note)


def payment_review_mail(account: str, purpose: str, edge_url: str) -> MailText:
    """Return the email about a payment that differs from its order. `purpose` is that of the order."""
    lead = gettext("A payment of {account} differs from its order, so no credits were added.", account=account)
    note = gettext("We will refund the payment or add its credits.")
    page = "account"
    if purpose == "plan":
        page = "account/plan"
        stopped = gettext("You will not be charged again for this plan.")
        note = f"{stopped} {note}"
    return _with_button(gettext("Payment under review"), lead, gettext("View account"), f"{edge_url}/{page}", note)


def _settings_note(edge_url: str) -> str:
    link = f"{edge_url}/account/emails"
    return gettext("Choose which emails you get: {link}", link=link)


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
<p style="overflow-wrap:anywhere;word-break:break-word">{escape(paste)}<br>{escape(link)}</p>
<p style="color:#5c5c5c;font-size:14px">{escape(note)}</p>
</body>
</html>
"""
    return MailText(subject, text, html, current_language())

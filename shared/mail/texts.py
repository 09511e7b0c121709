"""Texts of emails, as plain text and HTML. Pure."""

from __future__ import annotations

from html import escape
from typing import NamedTuple


class MailText(NamedTuple):
    """Subject and body of an email."""

    subject: str
    text: str
    html: str


def verify_email(email: str, link: str, credits: int, link_hours: int) -> MailText:
    """Return the email that asks a new member to verify their address. `credits` are granted for it, or 0."""
    reward = f" to receive {credits:,} credits" if credits else ""
    return _with_button(
        "Verify your email",
        f"Verify that {email} is your email address{reward}.",
        "Verify email",
        link,
        f"This link expires in {link_hours} hours and can be used once. If you didn't sign up for Yout, ignore this email.",
    )


def alert_mail(title: str, advice: str, *, closed: bool) -> MailText:
    """Return the email about an alert that opened or closed."""
    state, note = ("Closed", "This alert is closed. There is nothing to do.") if closed else ("Alert", advice)
    html = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(title)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif;color:#1a1a1a">
<h1 style="font-size:20px;margin:0 0 16px">{state}</h1>
<p>{escape(title)}</p>
<p>{escape(note)}</p>
</body>
</html>
"""
    return MailText(f"{state}: {title}", f"{title}\n\n{note}\n", html)


def _with_button(subject: str, lead: str, label: str, link: str, note: str) -> MailText:
    text = f"{subject}\n\n{lead}\n\n{label}:\n{link}\n\n{note}\n"
    html = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(subject)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif;color:#1a1a1a">
<h1 style="font-size:20px;margin:0 0 16px">{escape(subject)}</h1>
<p>{escape(lead)}</p>
<p><a href="{escape(link)}" style="display:inline-block;padding:10px 16px;border-radius:6px;background:#1a1a1a;color:#fff;\
text-decoration:none">{escape(label)}</a></p>
<p>Or paste this link into your browser:<br>{escape(link)}</p>
<p style="color:#5c5c5c;font-size:14px">{escape(note)}</p>
</body>
</html>
"""
    return MailText(subject, text, html)

"""Sends one email by SMTP: with a limit on every wait, a verified certificate, and a classification of each failure."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from shared.core.smtp_url import SmtpServer
from shared.mail.texts import MailText


class MailLimits(NamedTuple):
    """Timeouts in seconds: for one reply of the server, and for the whole session after connecting."""

    answer_seconds: float = 15
    total_seconds: float = 60


class MailRefused(Exception):
    """The server rejected this email permanently. The message is the reason."""


class MailDelayed(Exception):
    """The email was not accepted this time. The message is the reason; `server_down`: the server would currently refuse any
    email."""

    def __init__(self, reason: str, *, server_down: bool) -> None:
        super().__init__(reason)
        self.server_down = server_down


def build_message(id: UUID, sender: Address, recipient: Address, text: MailText, now: int) -> EmailMessage:
    """Return the message to send. Its Message-ID is derived from `id`, so duplicates can be recognized. `now` is in ms."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = text.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(now / 1000, UTC))
    message["Message-ID"] = f"<{id.hex}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic replies
    message.set_content(text.text, cte="quoted-printable")
    message.add_alternative(text.html, subtype="html", cte="quoted-printable")
    message["Content-Language"] = text.language  # after the content, which removes headers of this kind
    return message


class MailWithdrawn(Exception):
    """The email was not sent, because it must not be sent any more."""


class SendSteps(Protocol):
    """What the sender of an email records while it is sent."""

    def begin(self) -> bool:
        """Called directly before the text is sent. Returns whether to send it: from now on, the server may accept it."""
        ...

    def accepted(self) -> None:
        """Called directly after the server accepted the email."""
        ...


def send(
    server: SmtpServer, message: EmailMessage, sender: str, recipient: str, limits: MailLimits, steps: SendSteps | None = None
) -> None:
    """Send `message` in its own session, and return once the server accepted it.

    Raises `MailRefused`, `MailDelayed`, `MailWithdrawn`, and the errors of `steps`. A failure before the commands of the email
    itself (connection, TLS, login) is always retried.
    """
    client = _client(server, sender.rpartition("@")[2], limits)
    client.begin = steps.begin if steps is not None else None
    with _deadline(client, limits.total_seconds):
        try:
            _open(client, server)
        except OSError as error:  # `SMTPException` is one
            client.close()
            raise MailDelayed(_reason(error), server_down=True) from None
        try:
            client.send_message(message, sender, [recipient])
        except OSError as error:
            client.close()
            raise _verdict(error) from None
        except BaseException:  # of `steps.begin`: the server must get no text, and no later command
            client.close()
            raise
        try:
            if steps is not None:
                steps.accepted()
            with suppress(OSError):
                client.quit()
        finally:
            client.close()


def check_login(server: SmtpServer, own_name: str, limits: MailLimits) -> None:
    """Connect and log in, without sending anything. Raises `MailDelayed`, whose message is the reason."""
    client = _client(server, own_name, limits)
    with _deadline(client, limits.total_seconds):
        try:
            _open(client, server)
            if not server.user:
                client.ehlo_or_helo_if_needed()
            client.quit()
        except OSError as error:
            raise MailDelayed(_reason(error), server_down=True) from None
        finally:
            client.close()


class _Announcing:
    """A client that asks before it sends the text of an email."""

    begin: Callable[[], bool] | None = None

    def data(self, msg: Any) -> Any:
        """Send the text (`smtplib.SMTP.data`). Raises `MailWithdrawn` if `begin` says so."""
        if self.begin is not None and not self.begin():
            raise MailWithdrawn
        return super().data(msg)  # type: ignore[misc]  # `smtplib.SMTP.data`, which the mixin does not know


class _Smtp(_Announcing, smtplib.SMTP):
    pass


class _SmtpOverTls(_Announcing, smtplib.SMTP_SSL):
    pass


def _client(server: SmtpServer, own_name: str, limits: MailLimits) -> _Smtp | _SmtpOverTls:
    """Return an unconnected client. `own_name` is sent in EHLO; the default would be a DNS query without a timeout."""
    client = (
        _SmtpOverTls(local_hostname=own_name, timeout=limits.answer_seconds, context=ssl.create_default_context())
        if server.tls
        else _Smtp(local_hostname=own_name, timeout=limits.answer_seconds)
    )
    client._host = server.host  # type: ignore[union-attr]  # the name in the certificate; only the constructor sets it, which would connect at once
    return client


def _open(client: smtplib.SMTP, server: SmtpServer) -> None:
    code, answer = client.connect(server.host, server.port)
    if code != 220:
        raise smtplib.SMTPConnectError(code, answer)
    if server.starttls:
        client.starttls(context=ssl.create_default_context())
    if server.user:
        client.login(server.user, server.password)


@contextmanager
def _deadline(client: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Close the connection after `seconds`: a server that sends a byte now and then never exceeds the timeout of one wait."""

    def cut() -> None:
        connected = client.sock
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _verdict(error: OSError) -> MailRefused | MailDelayed:
    """Classify a failure of the commands of the email itself."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(code, answer)] = error.recipients.values()
        error = smtplib.SMTPResponseException(code, answer)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return MailRefused("The mail server does not accept addresses with characters that are not ASCII.")
    if isinstance(error, smtplib.SMTPResponseException):
        if 500 <= error.smtp_code < 600:
            return MailRefused(_reason(error))
        return MailDelayed(_reason(error), server_down=error.smtp_code == 421)
    return MailDelayed(_reason(error), server_down=True)


def _reason(error: OSError) -> str:
    """Return the failure in one line, for staff."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        if isinstance(error.__context__, TimeoutError):
            return _reason(error.__context__)
        return "The server closed the connection."
    if isinstance(error, smtplib.SMTPException):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The server's certificate is not valid: {error.verify_message}."
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the connection was cut'}."
    if isinstance(error, TimeoutError):
        return "The server does not answer."
    if isinstance(error, socket.gaierror):
        return "The host name of the server cannot be resolved."
    return f"The server cannot be reached: {error.strerror or type(error).__name__}."

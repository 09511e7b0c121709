"""A scripted, real SMTP server (aiosmtpd) on a free port of 127.0.0.1, in its own thread."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections import deque
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from typing import Any, NamedTuple, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers.process import eventually
from tests.threads import join
from tests.upstream_responses import WAIT_SECONDS, Gate

_OK = "250 OK"


class ReceivedMail(NamedTuple):
    """An email that the server accepted: envelope and message; `encrypted` if it arrived over TLS."""

    sender: str
    recipient: str
    message: EmailMessage
    encrypted: bool

    def part(self, kind: str) -> str:
        """The text of the `plain` or the `html` part."""
        body = self.message.get_body((kind,))
        assert body is not None
        return cast(EmailMessage, body).get_content()

    def link(self) -> str:
        """The path of the link in the text, which is also in the HTML."""
        [link] = re.findall(r"https?://\S+", self.part("plain"))
        assert link in self.part("html")
        return "/" + link.split("/", 3)[3]


class SmtpServer:
    """The running server.

    `script_recipient`, `script_data` and `script_quit` queue answers to the next RCPT, DATA and QUIT: a line such as
    `550 No such user`, or a `Gate` that holds the answer back. Without a script it accepts everything.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        utf8: bool = True,
    ) -> None:
        self.mails: list[ReceivedMail] = []
        self.recipients: list[str] = []  # of every RCPT command, including rejected ones
        self._login = login
        self._tls = tls
        self._scripts: dict[str, deque[str | Gate]] = {"recipient": deque(), "data": deque(), "quit": deque()}
        self._options: dict[str, Any] = {"enable_SMTPUTF8": utf8, "tls_context": starttls, "hostname": "mx.test"}
        if login is not None:
            self._options |= {"authenticator": self._authenticate, "auth_require_tls": False}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp", daemon=True)
        self._thread.start()
        self._server = self._call(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The YOUT_SMTP_URL for this server without TLS and login."""
        return f"smtp://127.0.0.1:{self.port}"

    def script_recipient(self, *answers: str | Gate) -> None:
        self._scripts["recipient"].extend(answers)

    def script_data(self, *answers: str | Gate) -> None:
        self._scripts["data"].extend(answers)

    def script_quit(self, *answers: str | Gate) -> None:
        self._scripts["quit"].extend(answers)

    def wait_mail(self, number: int = 1) -> ReceivedMail:
        """Wait until `number` emails were accepted; returns the newest."""
        eventually(lambda: len(self.mails) >= number, f"{number} emails arrive", WAIT_SECONDS)
        return self.mails[-1]

    def close(self) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        join(self._thread, WAIT_SECONDS)
        self._loop.close()

    # Called by aiosmtpd

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, mail_options: list[str]) -> str:
        if self._login is not None and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return _OK

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]) -> str:
        self.recipients.append(address)
        answer = await self._answer("recipient")
        if answer == _OK:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        script = self._scripts["data"]
        if not script or isinstance(script[0], Gate):  # accepted, even if the client leaves before it gets the answer
            assert isinstance(envelope.content, bytes)
            message = cast(EmailMessage, message_from_bytes(envelope.content, policy=SMTPUTF8))
            encrypted = session.ssl is not None or self._tls is not None
            [recipient] = envelope.rcpt_tos
            self.mails.append(ReceivedMail(envelope.mail_from or "", recipient, message, encrypted))
        return await self._answer("data")

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await self._answer("quit")
        return "221 Bye"

    async def _answer(self, command: str) -> str:
        script = self._scripts[command]
        answer = script.popleft() if script else _OK
        if isinstance(answer, Gate):
            await answer.pass_through()
            return _OK
        return answer

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login.decode(), data.password.decode()) == self._login, handled=False)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: SMTP(self, loop=self._loop, **self._options), "127.0.0.1", 0, ssl=self._tls)

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=WAIT_SECONDS) if tasks else None

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS)

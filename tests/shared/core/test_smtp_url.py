"""The mail settings: servers and senders."""

from __future__ import annotations

import re

import pytest

from shared.core.smtp_url import SmtpServer, read_sender, read_smtp_url


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mx.example.com", SmtpServer("mx.example.com", 587, starttls=True)),
        ("smtp://mx.example.com:2525?starttls=off", SmtpServer("mx.example.com", 2525)),
        ("smtp://127.0.0.1:25", SmtpServer("127.0.0.1", 25)),
        ("smtp://[::1]:25", SmtpServer("::1", 25)),
        ("smtp://localhost:25?starttls=required", SmtpServer("localhost", 25, starttls=True)),
        ("smtp://ada:secret@localhost:25", SmtpServer("localhost", 25, "ada", "secret", starttls=True)),
        ("smtps://mx.example.com", SmtpServer("mx.example.com", 465, tls=True)),
        ("smtps://ada%40example.com:p%2Fw%3Ad@mx:4650/", SmtpServer("mx", 4650, "ada@example.com", "p/w:d", tls=True)),
    ],
)
def test_servers(url: str, server: SmtpServer) -> None:
    assert read_smtp_url(url) == server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://mx.example.com", "smtp:// or smtps://"),
        ("mx.example.com:25", "smtp:// or smtps://"),
        ("smtp://", "no host"),
        ("smtp://:25", "no host"),
        ("smtp://mx.example.com:0", "valid port"),
        ("smtp://mx.example.com:65536", "valid port"),
        ("smtp://mx.example.com:smtp", "valid port"),
        ("smtp://mx..example.com", "valid host"),
        ("smtp://mx.example.com/inbox", "without a path"),
        ("smtp://ada@mx.example.com", "both or neither"),
        ("smtp://:secret@mx.example.com", "both or neither"),
        ("smtp://ada:s%C3%A9cret@mx.example.com", "not ASCII"),
        ("smtp://mx.example.com?starttls=maybe", "'required' or 'off'"),
        ("smtp://mx.example.com?tls=1", "unknown option 'tls'"),
        ("smtps://mx.example.com?starttls=off", "requires smtp://"),
        ("smtp://ada:se#cret@mx.example.com", "percent-encode"),
        ("smtp://ada:se?cret@mx.example.com", "percent-encode"),
    ],
)
def test_wrong_servers(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        read_smtp_url(url)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("no-reply@example.com", "no-reply@example.com"),
        ("Yout <no-reply@example.com>", "Yout <no-reply@example.com>"),
        ('"Yout, Inc." <no-reply@bücher.example>', '"Yout, Inc." <no-reply@xn--bcher-kva.example>'),
    ],
)
def test_senders(text: str, written: str) -> None:
    assert str(read_sender(text)) == written


@pytest.mark.parametrize("text", ["Yout", "a@b@c", "a@example.com, b@example.com", "Yout <>", "Yo\u202eut <a@example.com>"])
def test_wrong_senders(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as"):
        read_sender(text)

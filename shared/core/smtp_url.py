"""Parses `YOUT_SMTP_URL` and `YOUT_MAIL_FROM`. Pure."""

from __future__ import annotations

import re
from email.utils import getaddresses
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote

from shared.core.lazy_import import lazy_import
from shared.core.setting_values import is_host_name, split_url

if TYPE_CHECKING:
    from email import headerregistry
else:
    headerregistry = lazy_import("email.headerregistry")  # 0.5 MB; needed only if an address is set

CONSOLE = "console"  # instead of a URL: the console shows emails, and none is sent
DEFAULT_PORTS = {"smtp": 587, "smtps": 465}
_UNREADABLE = "cannot be parsed; percent-encode special characters in its user and password (%XX)"
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_MAX_ADDRESS = 254  # RFC 5321, 4.5.3.1.3


class SmtpServer(NamedTuple):
    """A mail server and its credentials; without a user there is no login. Without TLS the connection is plain text."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    tls: bool = False  # from the first byte (smtps://)
    starttls: bool = False  # required: nothing is sent without it

    @property
    def sends_password_in_plain_text(self) -> bool:
        return bool(self.user) and not (self.tls or self.starttls)


def read_smtp_url(url: str) -> SmtpServer:
    """Read `smtp://user:password@host:port` or `smtps://…`. Raises `ValueError`; the message never quotes a password."""
    parts = split_url(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("must start with smtp:// or smtps://")
    if parts.fragment:
        raise ValueError(_UNREADABLE)
    if parts.path not in ("", "/"):
        raise ValueError("must end after the port, without a path")
    host, port = _host_and_port(parts)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("has only one of user and password; set both or neither")
    if not (user + password).isascii():
        raise ValueError("has a user or a password with characters that are not ASCII, which SMTP cannot send")
    tls = parts.scheme == "smtps"
    return SmtpServer(host, port, user, password, tls, _starttls(parts, default=bool(user) or not _is_loopback(host)))


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"has no valid port between 1 and 65535, or {_UNREADABLE}") from None
    if not host:
        raise ValueError("has no host")
    if not is_host_name(host) or " " in host or not host.isprintable():
        raise ValueError("has no valid host")
    if port == 0:
        raise ValueError("has no valid port between 1 and 65535")
    return host, DEFAULT_PORTS[parts.scheme] if port is None else port


def _starttls(parts: SplitResult, *, default: bool) -> bool:
    options = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in options:
        if not name.isidentifier():  # the rest of a password with a question mark in it
            raise ValueError(_UNREADABLE)
        if name != "starttls":
            raise ValueError(f"has an unknown option {name!r}; remove it")
        if parts.scheme == "smtps":
            raise ValueError("has the option 'starttls', which requires smtp://")
        if value not in ("required", "off"):
            raise ValueError("must have 'required' or 'off' as starttls")
    if parts.query and not options:
        raise ValueError(_UNREADABLE)
    return parts.scheme == "smtp" and (options[-1][1] == "required" if options else default)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_sender(text: str) -> headerregistry.Address:
    """Read `name@example.com` or `Name <name@example.com>`, with the domain in ASCII (`xn--…`). Raises `ValueError`."""
    found = getaddresses([text])
    name, email = found[0] if len(found) == 1 else ("", "")
    local, _, domain = email.rpartition("@")
    usable = _LOCAL_PART.fullmatch(local) and "." in domain and is_host_name(domain) and len(email) <= _MAX_ADDRESS
    if not usable or not name.isprintable():
        raise ValueError(f"must be an address such as Yout <no-reply@example.com>, not {text!r}")
    return headerregistry.Address(name, local, domain.encode("idna").decode())

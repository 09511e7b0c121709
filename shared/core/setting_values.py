"""Parsers of setting values. Pure. They raise `ValueError`; its message follows the setting's name in a sentence."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_NOT_IN_ADDRESSES = re.compile(r"[\s<>\"\\^`{|}]")  # RFC 3986, appendix A: must be percent-encoded (%XX)
_QUOTES = "\"'`“”‘’"
UNREADABLE_URL = "cannot be parsed; percent-encode special characters in its password (%XX)"
LOG_LEVELS = ("debug", "info", "warning", "error")


def clean_value(text: str, *, exact: bool) -> str:
    """Return a value without surrounding whitespace. With `exact`, for secrets, such whitespace is an error.

    Quotes around the value and control characters are errors: they result from copying, or from a file format in which quotes are
    not part of the value.
    """
    value = text.strip()
    if exact and value != text:
        raise ValueError("begins or ends with whitespace or a line break; remove it")
    if value[0] in _QUOTES or value[-1] in _QUOTES:
        raise ValueError("begins or ends with a quotation mark; remove it")
    if not value.isprintable():
        raise ValueError("contains a line break or another control character; remove it")
    return value


def split_url(text: str) -> SplitResult:
    """Call `urlsplit`, without its error messages, which quote the whole URL including the password."""
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError(UNREADABLE_URL) from None


def server_of_url(parts: SplitResult, default_port: int) -> tuple[str, int]:
    """Return the host and the port of a URL."""
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(UNREADABLE_URL) from None
    if not host:
        raise ValueError("has no host")
    if port == 0 or not is_host_name(unquote(host)):
        raise ValueError("has no valid host and port")
    return unquote(host), default_port if port is None else port


# A query's options: the field that each sets, and how its value is parsed.
OptionReaders = Mapping[str, tuple[str, Callable[[str], Any]]]


def url_options(parts: SplitResult, readers: OptionReaders, ignored: Collection[str]) -> Iterator[tuple[str, str, Any]]:
    """Yield name, field and value of each option in a URL's query. Unknown options are an error, `ignored` ones are left out."""
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ignored:
            continue
        if not name.isidentifier():  # an unescaped question mark in the password
            raise ValueError(UNREADABLE_URL)
        if name not in readers:
            raise ValueError(f"has an unknown option {name!r}; remove it")
        field, read = readers[name]
        yield name, field, read(value)


def ignored_url_options(url: str, ignored: Collection[str]) -> list[str]:
    """Return the names of options in `url` that are ignored."""
    return [name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True) if name in ignored]


def tls_context(*, verify: bool, check_hostname: bool, ca_file: str) -> ssl.SSLContext:
    """Return a context for a client. `ca_file` is trusted in addition to system CAs."""
    context = ssl.create_default_context()
    context.check_hostname = check_hostname and verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def is_host_name(text: str) -> bool:
    """Return whether a host name can be resolved: no empty labels, and none over 63 characters."""
    try:
        text.encode("idna")  # `socket` would raise the same `UnicodeError`, but much later
    except UnicodeError:
        return False
    return True


def ca_file(value: str) -> str:
    """Parse the path of a file with certificates of authorities, in PEM format."""
    if not Path(value).is_file():
        raise ValueError(f"has a certificate file that does not exist: {value}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError:  # including ssl.SSLError
        raise ValueError(f"has a certificate file that is not valid PEM: {value}") from None
    return value


def bind_host(text: str) -> str:
    """Parse an IP address, with or without brackets, or a host name."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip_address(host)
    except ValueError:
        if not _HOST_NAME.fullmatch(host) or not is_host_name(host):
            raise ValueError("must be an address to listen on, such as 0.0.0.0 or ::, without a scheme or port") from None
    return host


def log_format(text: str) -> str:
    """Return `json` or `text`. Raises `ValueError`."""
    if text.lower() not in ("json", "text"):
        raise ValueError("must be json or text")
    return text.lower()


def log_level(text: str) -> str:
    """Parse one of `LOG_LEVELS`, in upper or lower case."""
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"must be {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}")
    return text.lower()


def http_url(example: str) -> Callable[[str], str]:
    """Return a parser for `http://` and `https://` URLs. It removes trailing slashes."""

    def parse(text: str) -> str:
        wrong = _NOT_IN_ADDRESSES.search(text)
        if wrong is not None:
            raise ValueError(f"contains {wrong[0]!r}, which no URL may have; remove it, or write it as %{ord(wrong[0]):02X}")
        parts = split_url(text)
        try:
            invalid_port = parts.port == 0
        except ValueError:
            invalid_port = True
        unwanted = parts.username is not None or parts.query or parts.fragment
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or unwanted
            or invalid_port
            or not is_host_name(parts.hostname)
        ):
            raise ValueError(f"must be a URL such as {example}, with its scheme and without user or query")
        return text.rstrip("/")

    return parse


def webhook_url(text: str) -> str:
    """Parse an `http://` or `https://` URL without a user or fragment. It may be secret, so the error does not quote it."""
    parts = split_url(text)
    try:
        invalid_port = parts.port == 0
    except ValueError:
        invalid_port = True
    wrong = _NOT_IN_ADDRESSES.search(text) or parts.username is not None or parts.fragment or invalid_port
    if parts.scheme not in ("http", "https") or not parts.hostname or wrong or not is_host_name(parts.hostname):
        raise ValueError("must be a URL such as https://hooks.slack.com/services/…, with its scheme and without a user")
    return text


def webhook_secret(text: str) -> str:
    """Parse the secret of a signed webhook: `whsec_` and base64."""
    prefix, key = text[:6], text[6:]
    try:
        valid = prefix == "whsec_" and len(base64.b64decode(key, validate=True)) >= 24
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be whsec_ and at least 24 bytes in base64, such as the output of `openssl rand -base64 32`")
    return text


def header_value(text: str) -> str:
    """Parse a value that is sent in an HTTP header or compared with one: ASCII only."""
    if not text.isascii():
        raise ValueError("must be ASCII, because it is sent in an HTTP header; check that it was copied correctly")
    return text


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

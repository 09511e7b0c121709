"""Reads a request head, and refuses every one on which two servers could disagree.

The grammar is the strict one of RFC 9112: where the RFC lets a recipient be generous (bare LF, folded lines, several
equal Content-Length fields, unknown transfer codings) this reader is not, because generosity is what request smuggling
lives on. A head comes in whole, so that it is checked as bytes before anything is made of it.
"""

import re

from .error_responses import Refusal, bad_request
from .grammar import are_lines, lower_name

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/([0-9])\.([0-9])")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?].*)?", re.IGNORECASE)
_HOST_BYTES = bytes(set(b"!$%&'()*+,-.:;=[]_~") | set(range(0x30, 0x3A)) | set(range(0x41, 0x5B)) | set(range(0x61, 0x7B)))
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})


class Head:
    """A request line and its header fields, checked. ``target`` is the origin form or ``*``, ``version`` "1.0" or "1.1".

    ``length`` is the number of body bytes announced, 0 without a body; it means nothing when ``chunked``.
    """

    __slots__ = ("chunked", "expects_continue", "headers", "host", "keep_alive", "length", "method", "target", "version")

    def __init__(self, method: str, target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.host: bytes | None = None
        self.length = 0
        self.chunked = False
        self.keep_alive = version == "1.1"
        self.expects_continue = False


def parse_head(block: bytes, max_fields: int) -> Head:
    """Read ``block``: a request line and header lines, each with its CRLF, without the empty line that ends them.

    Raises `Refusal`: 400 for anything malformed or ambiguous, 417, 431 for too many fields, 505.
    """
    if block.startswith(b"\r\n"):  # RFC 9112, section 2.2: one empty line before the request line is let through
        block = block[2:]
    lines = block.split(b"\r\n")
    count = len(lines) - 1
    if not are_lines(block, count):
        raise bad_request("The request head holds control characters, or lines that do not end in CRLF.")
    if count - 1 > max_fields:
        raise too_large(f"The request has more than {max_fields} header fields; send fewer.")
    method, target, version = _read_request_line(lines[0])
    headers: list[tuple[bytes, bytes]] = []
    framing: list[tuple[bytes, bytes]] = []
    for line in lines[1:count]:
        name, colon, value = line.partition(b":")
        lowered = lower_name(name)
        if lowered is None or not colon:
            raise bad_request("A header line is not 'name: value' with a plain name and no folding.")
        field = (lowered, value.strip(b" \t"))
        headers.append(field)
        if lowered in _FRAMING:
            framing.append(field)
    head = Head(method, target, version, headers)
    _read_framing(head, framing)
    if not target.startswith(b"/"):
        _read_other_target(head)
    return head


def too_large(message: str) -> Refusal:
    return Refusal(431, "request_headers_too_large", message)


def _read_request_line(line: bytes) -> tuple[str, bytes, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise bad_request("The request line is not 'METHOD /path HTTP/1.1'.")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise Refusal(505, "http_version_not_supported", "This listener speaks HTTP/1.1 and HTTP/1.0 only.")
    if b"#" in target:
        raise bad_request("A request target has no fragment; remove the part from '#' on.")
    return method.decode(), target, "1.1" if minor == b"1" else "1.0"


def _read_framing(head: Head, fields: list[tuple[bytes, bytes]]) -> None:
    length: bytes | None = None
    for name, value in fields:
        if name == b"host":
            if head.host is not None or value.translate(None, _HOST_BYTES):
                raise bad_request("Send exactly one Host header, a host name with an optional port.")
            head.host = value
        elif name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise bad_request("Send one Content-Length header, a plain decimal number.")
            length = value
        elif name == b"transfer-encoding":
            if head.chunked or value.lower() != b"chunked" or head.version == "1.0":
                raise bad_request("The only Transfer-Encoding read here is one 'chunked', and only in HTTP/1.1.")
            head.chunked = True
        elif name == b"connection":
            if b"close" in [option.strip(b" \t") for option in value.lower().split(b",")]:
                head.keep_alive = False
        elif head.version == "1.1":
            _read_expectation(head, value)
    if head.chunked and length is not None:
        raise bad_request("Send either Content-Length or Transfer-Encoding, not both.")
    if head.host is None and head.version == "1.1":
        raise bad_request("An HTTP/1.1 request needs a Host header.")
    if length is not None:
        head.length = int(length)


def _read_expectation(head: Head, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise Refusal(417, "expectation_failed", "The only expectation met here is 'Expect: 100-continue'.")
    head.expects_continue = True


def _read_other_target(head: Head) -> None:
    """``*`` for OPTIONS, or the absolute form, which every server has to accept (RFC 9112, section 3.2.2)."""
    if head.target == b"*" and head.method == "OPTIONS":
        return
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None:
        raise bad_request("The request target has to be a path that starts with '/'.")
    authority, rest = match.groups()
    if authority.lower() != (head.host or b"").lower():
        raise bad_request("The host in the request target and the Host header differ.")
    head.target = rest if rest and rest.startswith(b"/") else b"/" + (rest or b"")

"""A strict parser for request heads, which rejects every head that two servers could interpret differently.

RFC 9112 lets recipients tolerate bare LF, folded lines, repeated equal Content-Length fields and unknown transfer codings.
This parser does not, because request smuggling exploits that tolerance. It validates the bytes of a complete head before it
parses them.
"""

import re

from .error_responses import ProtocolError, bad_request
from .grammar import LOWER_NAMES, is_valid_block

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/([0-9])\.([0-9])")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?].*)?", re.IGNORECASE)
_HOST_BYTES = bytes(set(b"!$%&'()*+,-.:;=[]_~") | set(range(0x30, 0x3A)) | set(range(0x41, 0x5B)) | set(range(0x61, 0x7B)))
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})


class RequestHead:
    """A validated request head. ``target`` is in origin form or ``*``, ``version`` is "1.0" or "1.1".

    ``length`` is the Content-Length, or 0 without a body; it has no meaning if ``chunked``.
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


def parse_head(block: bytes, max_fields: int) -> RequestHead:
    """Parse ``block``: a request line and header lines, each with CRLF, without the final empty line.

    Raises `ProtocolError`: 400 for malformed or ambiguous heads, 417, 431 for too many fields, 505.
    """
    if block.startswith(b"\r\n"):  # one leading empty line is allowed (RFC 9112, section 2.2)
        block = block[2:]
    lines = block.split(b"\r\n")
    count = len(lines) - 1
    if not is_valid_block(block, count):
        raise bad_request("The request head contains control characters, or lines that do not end in CRLF.")
    if count - 1 > max_fields:
        raise too_large(f"The request has more than {max_fields} header fields.")
    method, target, version = _read_request_line(lines[0])
    headers: list[tuple[bytes, bytes]] = []
    framing: list[tuple[bytes, bytes]] = []
    for line in lines[1:count]:
        name, colon, value = line.partition(b":")
        lowered = LOWER_NAMES[name]
        if lowered is None or not colon:
            raise bad_request("Invalid header line; expected 'name: value' without line folding.")
        field = (lowered, value.strip(b" \t"))
        headers.append(field)
        if lowered in _FRAMING:
            framing.append(field)
    head = RequestHead(method, target, version, headers)
    _read_framing(head, framing)
    if not target.startswith(b"/"):
        _read_other_target(head)
    return head


def too_large(message: str) -> ProtocolError:
    return ProtocolError(431, "request_headers_too_large", message)


def _read_request_line(line: bytes) -> tuple[str, bytes, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise bad_request("Invalid request line; expected 'METHOD /path HTTP/1.1'.")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise ProtocolError(505, "http_version_not_supported", "This server supports only HTTP/1.1 and HTTP/1.0.")
    if b"#" in target:
        raise bad_request("The request target must not contain a fragment ('#').")
    return method.decode(), target, "1.1" if minor == b"1" else "1.0"


def _read_framing(head: RequestHead, fields: list[tuple[bytes, bytes]]) -> None:
    length: bytes | None = None
    for name, value in fields:
        if name == b"host":
            if head.host is not None or value.translate(None, _HOST_BYTES):
                raise bad_request("Send exactly one Host header: a host name with an optional port.")
            head.host = value
        elif name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise bad_request("Send one Content-Length header with a decimal number.")
            length = value
        elif name == b"transfer-encoding":
            if head.chunked or value.lower() != b"chunked" or head.version == "1.0":
                raise bad_request("Unsupported Transfer-Encoding. Use a single 'chunked', and only with HTTP/1.1.")
            head.chunked = True
        elif name == b"connection":
            if b"close" in [option.strip(b" \t") for option in value.lower().split(b",")]:
                head.keep_alive = False
        elif head.version == "1.1":
            _read_expectation(head, value)
    if head.chunked and length is not None:
        raise bad_request("Send either Content-Length or Transfer-Encoding, but not both.")
    if head.host is None and head.version == "1.1":
        raise bad_request("HTTP/1.1 requests require a Host header.")
    if length is not None:
        head.length = int(length)


def _read_expectation(head: RequestHead, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise ProtocolError(417, "expectation_failed", "Unsupported expectation. Only 'Expect: 100-continue' is supported.")
    head.expects_continue = True


def _read_other_target(head: RequestHead) -> None:
    """Parse ``*`` for OPTIONS, or the absolute form, which servers must accept (RFC 9112, section 3.2.2)."""
    if head.target == b"*" and head.method == "OPTIONS":
        return
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None:
        raise bad_request("The request target must be a path that starts with '/'.")
    authority, rest = match.groups()
    if authority.lower() != (head.host or b"").lower():
        raise bad_request("The host in the request target does not match the Host header.")
    head.target = rest if rest and rest.startswith(b"/") else b"/" + (rest or b"")

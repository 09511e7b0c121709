"""Parses and checks URLs: before the host name is resolved, and for each address that it resolves to."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import quote, urlsplit

from shared.core.errors import OutboundRefused
from shared.core.settings import Settings
from shared.safe_http.addresses import Address, Network, is_public

MAX_URL_LENGTH = 8_192
DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = frozenset(map(chr, (*range(0x21), 0x5C, 0x7F)))  # control characters, space, backslash: parsers disagree on them
_PATH_SAFE = "/%:@!$&'()*+,;=-._~?[]|"


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """Allowed destinations: public addresses on default ports, and networks that the operator configured.

    `networks` may be private; all of their ports are allowed, also over http. `http` allows plain http to public addresses.
    """

    http: bool = False
    networks: tuple[Network, ...] = ()

    def allows(self, address: Address, target: ParsedUrl) -> bool:
        """Return whether requests to `target` may go to this address of its host."""
        if any(address in network for network in self.networks):
            return True
        return is_public(address) and target.has_default_port and (self.http or target.scheme == "https")


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A parsed URL, used both for checks and for the request. `host` is ASCII, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def has_default_port(self) -> bool:
        return self.port == DEFAULT_PORTS[self.scheme]

    @property
    def ip_literal(self) -> Address | None:
        """The host as an IP address, if it is written as one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.has_default_port else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def policy_from_settings(settings: Settings) -> OutboundPolicy:
    """Return the policy in the settings: plain http only outside production or if enabled."""
    networks = tuple(ip_network(text, strict=False) for text in settings.outbound_networks)
    return OutboundPolicy(http=settings.outbound_http or not settings.production, networks=networks)


def check_url(url: str, policy: OutboundPolicy) -> None:
    """Check a URL without resolving its host name, for immediate feedback to customers. Raises `OutboundRefused`."""
    target = parse_url(url)
    literal = target.ip_literal
    if literal is not None:
        if not policy.allows(literal, target):
            raise OutboundRefused("Requests to this URL's address or port are not allowed.")
    elif not policy.networks:  # otherwise it depends on the resolved address
        check_scheme_and_port(target, policy)


def check_scheme_and_port(target: ParsedUrl, policy: OutboundPolicy) -> None:
    """Raise `OutboundRefused` for a scheme or port that is not allowed for public addresses."""
    if target.scheme == "http" and not policy.http:
        raise OutboundRefused("The URL must begin with https://.")
    if not target.has_default_port:
        raise OutboundRefused("The URL must use the default port of its scheme.")


def parse_url(url: str) -> ParsedUrl:
    """Parse `url` and drop its fragment. Raises `OutboundRefused` if it is invalid or unusual."""
    if len(url) > MAX_URL_LENGTH:
        raise OutboundRefused(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if not _FORBIDDEN.isdisjoint(url):
        raise OutboundRefused("The URL must not contain spaces, control characters or backslashes.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OutboundRefused("The URL is invalid.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise OutboundRefused("The URL must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise OutboundRefused("The URL must not contain a user name or password.")
    if port == 0:
        raise OutboundRefused("The URL is invalid.")
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_PATH_SAFE)
    if "[" in parts.netloc and ":" not in (parts.hostname or ""):
        raise OutboundRefused("The URL's host is invalid.")  # IPvFuture, RFC 3986
    return ParsedUrl(parts.scheme, _host(parts.hostname or ""), port or DEFAULT_PORTS[parts.scheme], path)


def _host(name: str) -> str:
    """Return the host in ASCII. IDNA also normalizes look-alike dots and digits, so the host that is checked is the one that is
    resolved."""
    if "%" in name:
        raise OutboundRefused("The URL's host is invalid.")
    if ":" in name:  # an IPv6 literal, without the brackets, which urlsplit removes
        try:
            return str(ip_address(name))
        except ValueError:
            raise OutboundRefused("The URL's host is invalid.") from None
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        host = ""
    if not host or not all(letter.isalnum() or letter in "-._" for letter in host) or _is_odd_address(host):
        raise OutboundRefused("The URL's host is invalid.")
    return host


def _is_odd_address(host: str) -> bool:
    """Return whether resolvers treat `host` as IPv4 in a legacy notation: 127.1, 0x7f.1, 2130706433, 0177.0.0.1."""
    last = host.rpartition(".")[2]
    if not (last.isdigit() or last.startswith("0x")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False

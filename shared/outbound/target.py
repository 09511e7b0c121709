"""Reading a URL and judging it: before its name is resolved, and each address that the name turns out to have."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import quote, urlsplit

from shared.errors import OutboundRefused
from shared.outbound.addresses import Address, Network, is_public
from shared.settings import Settings

LONGEST_URL = 8_192
DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = frozenset(map(chr, (*range(0x21), 0x5C, 0x7F)))  # controls, space, backslash: parsers disagree about them
_PATH_SAFE = "/%:@!$&'()*+,;=-._~?[]|"


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom we may speak to: the public internet on default ports, and what the operator named.

    `networks` may be private ones and are reached on any port, over http too; `http` allows plain http to public addresses.
    """

    http: bool = False
    networks: tuple[Network, ...] = ()

    def allows(self, address: Address, target: Target) -> bool:
        """Whether `target` may be sought at this address of its host."""
        if any(address in network for network in self.networks):
            return True
        return is_public(address) and target.has_default_port and (self.http or target.scheme == "https")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read once, by which it is judged and fetched alike. `host` is ASCII, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def has_default_port(self) -> bool:
        return self.port == DEFAULT_PORTS[self.scheme]

    @property
    def literal(self) -> Address | None:
        """The host as an address, where it is written as one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.has_default_port else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def policy_of(settings: Settings) -> Policy:
    """What the settings allow: plain http outside of production or where it is switched on."""
    networks = tuple(ip_network(text, strict=False) for text in settings.outbound_networks)
    return Policy(http=settings.outbound_http or not settings.production, networks=networks)


def check_url(url: str, policy: Policy) -> None:
    """Refuse what can be refused without resolving a name, so that a customer hears of it at once. Raises `OutboundRefused`."""
    target = read_url(url)
    literal = target.literal
    if literal is not None:
        if not policy.allows(literal, target):
            raise OutboundRefused("The URL's address or port is not one that may be used.")
    elif not policy.networks:  # else it depends on the address that the name has
        check_public_form(target, policy)


def check_public_form(target: Target, policy: Policy) -> None:
    """Raises `OutboundRefused` for a scheme or port that no public address may be reached by."""
    if target.scheme == "http" and not policy.http:
        raise OutboundRefused("The URL must begin with https://.")
    if not target.has_default_port:
        raise OutboundRefused("The URL must use the default port of its scheme.")


def read_url(url: str) -> Target:
    """`url` in parts, its fragment dropped. Raises `OutboundRefused` for anything unusual."""
    if len(url) > LONGEST_URL:
        raise OutboundRefused(f"The URL is longer than {LONGEST_URL} characters.")
    if not _FORBIDDEN.isdisjoint(url):
        raise OutboundRefused("The URL must not hold spaces, control characters or backslashes.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OutboundRefused("The URL cannot be read.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise OutboundRefused("The URL must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise OutboundRefused("The URL must not hold a user name or password.")
    if port == 0:
        raise OutboundRefused("The URL cannot be read.")
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_PATH_SAFE)
    if "[" in parts.netloc and ":" not in (parts.hostname or ""):
        raise OutboundRefused("The URL's host cannot be used.")  # the brackets of "address forms to come", RFC 3986
    return Target(parts.scheme, _host(parts.hostname or ""), port or DEFAULT_PORTS[parts.scheme], path)


def _host(name: str) -> str:
    """The host's ASCII form. IDNA also folds look-alikes of dots and digits, so that what is judged is what is resolved."""
    if "%" in name:
        raise OutboundRefused("The URL's host cannot be used.")
    if ":" in name:  # an IPv6 literal, which urlsplit has taken out of its brackets
        try:
            return str(ip_address(name))
        except ValueError:
            raise OutboundRefused("The URL's host cannot be used.") from None
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        host = ""
    if not host or not all(letter.isalnum() or letter in "-._" for letter in host) or _is_odd_address(host):
        raise OutboundRefused("The URL's host cannot be used.")
    return host


def _is_odd_address(host: str) -> bool:
    """Whether the resolver would take `host` for an IPv4 address in an old spelling: 127.1, 0x7f.1, 2130706433, 0177.0.0.1."""
    last = host.rpartition(".")[2]
    if not (last.isdigit() or last.startswith("0x")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False

"""HTTP client for untrusted URLs: a provider's output, a customer's callback.

    outbound = Outbound(policy_of(settings))
    with outbound.get(url, max_bytes=50_000_000) as reply:
        if reply.status == 200:
            storage.put(key, reply)

`addresses.py` defines public addresses, `url_check.py` parses and checks URLs, `bounded_socket.py` limits a socket, `client.py`
sends requests. All of it is synchronous, for workers. Only `check_url`, which resolves no names, is suitable for an event loop.
"""

from shared.safe_http.client import ADDED_HEADERS, Response, SafeHttpClient, Timeouts
from shared.safe_http.url_check import OutboundPolicy, check_url, policy_from_settings

__all__ = ["ADDED_HEADERS", "OutboundPolicy", "Response", "SafeHttpClient", "Timeouts", "check_url", "policy_from_settings"]

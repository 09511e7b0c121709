"""HTTP client for untrusted URLs: a provider's output, a customer's callback.

    outbound = Outbound(policy_of(settings))
    with outbound.get(url, max_bytes=50_000_000) as reply:
        if reply.status == 200:
            storage.put(key, reply)

`addresses.py` defines public addresses, `target.py` parses and checks URLs, `wire.py` limits a socket, `client.py` sends
requests. All of it is synchronous, for workers. Only `check_url`, which resolves no names, is suitable for an event loop.
"""

from shared.outbound.client import Limits, Outbound, Reply
from shared.outbound.target import Policy, check_url, policy_of

__all__ = ["Limits", "Outbound", "Policy", "Reply", "check_url", "policy_of"]

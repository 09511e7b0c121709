"""HTTP to addresses that somebody else chose: a provider's output, a customer's callback.

    outbound = Outbound(policy_of(settings))
    with outbound.get(url, max_bytes=50_000_000) as reply:
        if reply.status == 200:
            storage.put(key, reply)

`addresses.py` says which addresses are public, `target.py` reads and judges a URL, `wire.py` keeps a socket to its limits,
`client.py` sends. All of it is synchronous, for workers; of use on an event loop is `check_url` alone, which resolves nothing.
"""

from shared.outbound.client import Limits, Outbound, Reply
from shared.outbound.target import Policy, check_url, policy_of

__all__ = ["Limits", "Outbound", "Policy", "Reply", "check_url", "policy_of"]

"""Sign-in through an OpenID provider: OpenID Connect's authorization code flow with PKCE.

`provider.py` talks to the provider, `sign_in.py` is the flow, `identity.py` its result. The first two are
synchronous, for a thread, and import Authlib, so they are imported only if a provider is configured.
"""

"""Sign-in through an OpenID provider or GitHub: the authorization code flow with PKCE.

`provider.py` and `github.py` talk to the provider, `sign_in.py` is the flow, `identity.py` its result. All but the last are
synchronous, for a thread, and import Authlib, so they are imported only if a provider is configured.
"""

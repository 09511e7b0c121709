"""Key derivation follows RFC 5869 with a separate key per purpose; encrypted secrets can be read only with their key."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from shared.core.errors import SettingsError
from shared.core.secrets import derive_key, seal, unseal

KEY = "0123456789abcdef0123456789abcdef"


def test_a_derived_key_is_hkdf_sha256() -> None:
    extracted = hmac.digest(bytes(32), KEY.encode(), hashlib.sha256)
    first = hmac.digest(extracted, b"yout/sessions\x01", hashlib.sha256)
    second = hmac.digest(extracted, first + b"yout/sessions\x02", hashlib.sha256)
    assert derive_key(KEY, "sessions") == first
    assert derive_key(KEY, "sessions", 48) == (first + second)[:48]
    assert derive_key(KEY, "other") != first


def test_a_secret_is_decrypted_only_with_its_key_and_if_undamaged() -> None:
    sealed = seal("sk-ünïcode", KEY)
    assert unseal(sealed, KEY) == "sk-ünïcode"
    assert seal("sk-ünïcode", KEY) != sealed
    for damaged, key in ((sealed, KEY[::-1]), (sealed[:-8], KEY), ("no token", KEY)):
        with pytest.raises(SettingsError, match="another SECRET_KEY"):
            unseal(damaged, key)


def test_an_empty_secret_is_not_encrypted() -> None:
    assert seal("", KEY) == unseal("", KEY) == ""

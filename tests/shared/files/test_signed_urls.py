"""Signed links: valid only unmodified, until they expire, and for their own path."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.core.secrets import derive_key
from shared.files.signed_urls import sign_url, verify_url

SECRET = "s" * 32
PATH = "/api/media/outputs/0190/0"
NOW = 1_800_000_000_000
LATER = NOW + 60_000


def parts_of(link: str) -> tuple[str, str, str]:
    split = urlsplit(link)
    query = parse_qs(split.query, strict_parsing=True)
    assert set(query) == {"expires", "signature"}
    return split.path, query["expires"][0], query["signature"][0]


def test_a_link_is_valid_until_it_expires() -> None:
    path, expires, signature = parts_of(sign_url(PATH, LATER, SECRET))
    assert path == PATH
    assert verify_url(path, expires, signature, SECRET, NOW)
    assert verify_url(path, expires, signature, SECRET, LATER - 1)
    assert not verify_url(path, expires, signature, SECRET, LATER)
    assert not verify_url(path, expires, signature, SECRET, LATER + 10**9)


def test_a_link_is_valid_for_its_own_path_time_and_installation() -> None:
    path, expires, signature = parts_of(sign_url(PATH, LATER, SECRET))
    assert not verify_url(path + "0", expires, signature, SECRET, NOW)
    assert not verify_url(path, str(LATER + 1), signature, SECRET, NOW)
    assert not verify_url(path, expires, signature, "t" * 32, NOW)
    assert not verify_url(path, expires, sign_url(PATH, LATER, SECRET).replace("A", "B"), SECRET, NOW)


@pytest.mark.parametrize(
    "expires", ["", "-1", "1e99", "9" * 16, " 1800000060000", "01800000060000", "１８００", "1800000060000\n", "\0"]
)
def test_the_expiry_must_be_plain_digits(expires: str) -> None:
    signature = parts_of(sign_url(PATH, LATER, SECRET))[2]
    assert not verify_url(PATH, expires, signature, SECRET, NOW)


@pytest.mark.parametrize("signature", ["", "é", "a" * 43, "a" * 10_000, "\0"])
def test_malformed_signatures_are_invalid(signature: str) -> None:
    assert not verify_url(PATH, str(LATER), signature, SECRET, NOW)


def test_the_signing_key_is_derived_from_the_secret() -> None:
    for key in (SECRET.encode(), derive_key(SECRET, "channel-secret")):
        forged = urlsafe_b64encode(hmac.digest(key, f"{LATER}\n{PATH}".encode(), "sha256")).rstrip(b"=").decode()
        assert not verify_url(PATH, str(LATER), forged, SECRET, NOW)

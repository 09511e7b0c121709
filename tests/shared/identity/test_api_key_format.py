"""API key format: typing errors are detected without a database query."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity.api_key_format import ALPHABET, LENGTH, PREFIX, RANDOM_LENGTH, checksum, digest, is_well_formed, new_key

bodies = st.text(ALPHABET, min_size=RANDOM_LENGTH, max_size=RANDOM_LENGTH)


def test_the_format_of_a_new_key() -> None:
    key = new_key()
    assert key.secret.startswith("yout-")
    assert len(key.secret) == LENGTH == 5 + 32 + 6
    assert set(key.secret[5:]) <= set(ALPHABET)
    assert key.digest == hashlib.sha256(key.secret.encode()).hexdigest() == digest(key.secret)
    assert key.prefix == key.secret[:9] + "…"
    assert is_well_formed(key.secret)
    assert len({new_key().secret for _ in range(100)}) == 100


# Fixed values: existing keys, and programs that detect them, depend on the checksum.
@pytest.mark.parametrize(("body", "expected"), [("0" * 32, "2wjyrI"), ("A" * 32, "3Ae0o2")])
def test_the_checksum_does_not_change(body: str, expected: str) -> None:
    assert checksum(body) == expected


@given(bodies)
def test_every_body_has_one_key(body: str) -> None:
    assert len(checksum(body)) == 6
    assert is_well_formed(PREFIX + body + checksum(body))


@given(bodies, st.integers(0, LENGTH - len(PREFIX) - 1), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_detected(body: str, place: int, wrong: str) -> None:
    right = body + checksum(body)
    mistyped = right[:place] + wrong + right[place + 1 :]
    assert is_well_formed(PREFIX + mistyped) is (mistyped == right)


@given(bodies, st.integers(0, RANDOM_LENGTH - 2))
def test_two_swapped_characters_are_detected(body: str, place: int) -> None:
    swapped = body[:place] + body[place + 1] + body[place] + body[place + 2 :]
    assert is_well_formed(PREFIX + swapped + checksum(body)) is (swapped == body)


@given(st.text(max_size=60))
def test_other_text_is_not_a_key(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize("change", [str.upper, lambda key: key + " ", lambda key: key[:-1], lambda key: "sk-" + key[5:]])
def test_text_that_resembles_a_key(change: object) -> None:
    body = "abcdefghijklmnopqrstuvwxyz012345"
    assert callable(change)
    assert not is_well_formed(change(PREFIX + body + checksum(body)))

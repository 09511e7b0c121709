"""Emails are normalized, whatever form they are typed in."""

from __future__ import annotations

import unicodedata

import pytest

from shared.core.errors import InvalidInput
from shared.identity.emails import normalize_email, normalize_for_lookup
from shared.models import Account
from shared.operations.accounts import create_account, find_account
from shared.operations.staff import create_staff, verify_password
from tests.factories import ORIGIN

IDA = ["ida@bücher.example", "ida@xn--bcher-kva.example", "IDA@BÜCHER.example", " ida@XN--BCHER-KVA.EXAMPLE. "]


@pytest.mark.parametrize("text", [*IDA, *(unicodedata.normalize("NFD", text) for text in IDA)])
def test_all_forms_of_a_domain_are_normalized(text: str) -> None:
    assert normalize_email(text) == "ida@bücher.example"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Jürgen@Example.com", "jürgen@example.com"),
        (unicodedata.normalize("NFD", "jürgen@example.com"), "jürgen@example.com"),
        ("用户@例子.广告", "用户@例子.广告"),
        ("a+b@mail_1.example", "a+b@mail_1.example"),
        ("root@localhost", "root@localhost"),
        ("o'brien@straße.example", "o'brien@straße.example"),
    ],
)
def test_emails_in_all_scripts_are_accepted(text: str, found: str) -> None:
    assert normalize_email(text) == found == normalize_email(found)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a\0@b.c",
            "a\u202e@b.c",
            "a@b..c",
            "a@-b.c",
            "a@b c",
            "a@xn--a",
            "a@\u202eb",
            "a@b\0",
        ),
        *("x" * 65 + "@example.com", "x@" + "y" * 64 + ".com", "x@" + "abc." * 70 + "com", "x" * 10_000),
    ],
)
def test_an_invalid_email_is_rejected_and_finds_nobody(text: str) -> None:
    with pytest.raises(InvalidInput):
        normalize_email(text)
    assert len(normalize_for_lookup(text)) <= 254
    assert "\0" not in normalize_for_lookup(text)


@pytest.mark.usefixtures("bound_database")
def test_one_mailbox_is_one_account_and_one_staff_member() -> None:
    create_account(IDA[1], origin=ORIGIN)
    assert {find_account(text).email for text in IDA} == {"ida@bücher.example"}
    for text in IDA:
        with pytest.raises(InvalidInput, match="already exists"):
            create_account(text, origin=ORIGIN)
    assert Account.select().where(Account.email.contains("ida")).count() == 1
    person, password = create_staff(IDA[0], origin=ORIGIN)
    assert verify_password(IDA[1], password) == person

"""Recipients in the form that SMTP sends."""

from __future__ import annotations

import pytest

from shared.core.errors import InvalidInput
from shared.mail.address import recipient


def test_a_domain_is_sent_in_ascii() -> None:
    assert recipient("Jürgen@Bücher.example").addr_spec == "jürgen@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "email", ["a,b@example.com", "<a@example.com", 'a"b@example.com', "a..b@example.com", "a(b)@example.com"]
)
def test_addresses_that_need_quotes_get_no_mail(email: str) -> None:
    with pytest.raises(InvalidInput):
        recipient(email)

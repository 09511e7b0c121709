"""Every text of an email is translated, in plain text and in HTML."""

from __future__ import annotations

import gettext
import re
from collections.abc import Callable
from functools import partial
from html import unescape

import pytest

from shared.mail.texts import MailText, verify_email
from shared.text import translation
from shared.text.translation import LANGUAGES, in_language

EMAIL, LINK = "ada@example.com", "https://yout.example/verify-email/x?a=1&b=2"
MAILS = {
    "verify": partial(verify_email, EMAIL, LINK, 0, 1),
    "verify with credits": partial(verify_email, EMAIL, LINK, 1_500, 24),
}


class Marked(gettext.NullTranslations):
    """Translations that put every text in brackets."""

    def gettext(self, message: str) -> str:
        return f"[{message}]"

    def ngettext(self, one: str, many: str, count: int) -> str:
        return f"[{one if count == 1 else many}]"


@pytest.mark.parametrize("compose", MAILS.values(), ids=MAILS)
def test_no_text_is_outside_the_catalogs(compose: Callable[[], MailText], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "_translations", lambda _: Marked())
    mail = compose()
    shown = unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<style.*?</style>", "", mail.html)))
    for text in (mail.subject, mail.text, shown):
        assert "[" in text
        assert re.sub(r"\[.*?\]", "", text).replace(LINK, "").strip(" :\n") == ""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("compose", MAILS.values(), ids=MAILS)
def test_the_language_of_an_email(compose: Callable[[], MailText], language: str) -> None:
    with in_language(language):
        mail = compose()
    assert mail.language == language
    assert f'<html lang="{language}">' in mail.html
    assert EMAIL in mail.text
    assert EMAIL in mail.html
    assert LINK in mail.text
    assert LINK in unescape(mail.html)
    assert ("E-Mail-Adresse bestätigen" in mail.subject) == (language == "de")

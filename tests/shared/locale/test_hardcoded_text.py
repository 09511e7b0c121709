"""The search for texts outside the catalogs finds them, and nothing else."""

from __future__ import annotations

import pytest

from tests.shared.locale.hardcoded_text import error_literals, in_python, in_script, in_template


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Balance</p>", ["Balance"]),
        ('<p>{{ _("Balance") }}</p>', []),
        ("<p>{% trans %}Balance{% endtrans %}</p>", []),
        ("<p>Balance: {{ amount }}</p>", ["Balance: …"]),
        ("{% if a %}<b>Held</b>{% else %}<b>{{ amount }}</b>{% endif %}", ["Held"]),
        ('<input placeholder="Your message">', ["Your message"]),
        ('<input placeholder="{{ _("Your message") }}">', []),
        ('<input class="wide" name="amount">', []),
        ("<code>yout up</code><pre>a b</pre>", []),
        ('<b translate="no">German <i>words</i></b> rest', ["rest"]),
        ('{{ "Sign out" if session else _("Sign in") }}', ["Sign out"]),
        ('{{ field("name", "Your name", help=_("Required.")) }}', ["Your name"]),
        ('{{ _("{what}", what="The key") }}', ["The key"]),
        ('{% if kind == "Image" %}{% endif %}{% include "page.html" %}', []),
        ("{% block look %}narrow{% endblock %}", []),
    ],
)
def test_templates(source: str, found: list[str]) -> None:
    assert in_template(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('button.textContent = "Copy";', ["Copy"]),
        ('button.textContent = t("Copy");', []),
        ('tn("{count} key", "{count} keys", count);', []),
        ("const text = `Balance: ${amount} credits`;", ["Balance: … credits"]),
        ('throw new Error("no such message");', []),
        ('if (event.key === "Enter") send();', []),
        ('button.className = "small soft-line";', []),
        ('fetch("/v1/models", { method: "POST" });', []),
        ("// A comment\n/* and Another */", []),
    ],
)
def test_scripts(source: str, found: list[str]) -> None:
    assert in_script(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise InvalidInput("Enter a name.")', ["Enter a name."]),
        ('raise InvalidInput(gettext("Enter a name."))', []),
        ('flash(f"Key {name} revoked.")', ["Key … revoked."]),
        ('"""A docstring."""\ndef f() -> None:\n    """Another one."""', []),
        ('log.error("unhandled error in %s")', []),
        ('SETTINGS = {"key": "value", "kind": "text/html"}', []),
        ('label = "low traffic"', []),
    ],
)
def test_python(source: str, found: list[str]) -> None:
    assert in_python(source, frozenset({"error"})) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise InvalidInput("No.")', ["'No.'"]),
        ('raise errors.InvalidInput(f"No {x}.")', ["f'No {x}.'"]),
        ('raise InvalidInput(lazy_gettext("No."))', []),
        ('raise OSError("No.")', []),
    ],
)
def test_errors(source: str, found: list[str]) -> None:
    assert error_literals(source, {"InvalidInput"}) == found

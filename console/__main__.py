"""`python -m console`: serve the staff console with gunicorn."""

from __future__ import annotations

import logging
import sys

from console.serve import serve
from shared.errors import YoutError
from shared.settings import Settings


def main() -> int:
    """Run until SIGTERM or SIGINT. Gives the exit code; a wrong setting or schema is one line on standard error."""
    try:
        settings = Settings.load()
        logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        return serve(settings)
    except YoutError as error:
        print(f"console: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

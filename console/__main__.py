"""`python -m console`: serve the staff console with gunicorn until SIGTERM or SIGINT."""

import sys

from console.serve import serve
from shared.core.process_main import run_process

if __name__ == "__main__":
    sys.exit(run_process("console", serve))

"""`python -m edge`: serve the edge with Hypercorn, one process or several, until SIGTERM or SIGINT."""

import sys

from edge.serve import serve
from shared.core.process_main import run_process

if __name__ == "__main__":
    sys.exit(run_process("edge", serve))

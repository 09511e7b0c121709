"""`python -m edge`: serve the edge with Hypercorn, one process or several, until SIGTERM or SIGINT."""

import sys

from edge.serve import serve
from shared.core.process_main import run

if __name__ == "__main__":
    sys.exit(run("edge", serve))

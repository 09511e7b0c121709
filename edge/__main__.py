"""`python -m edge`: serve the edge with Hypercorn, one process or several, until SIGTERM or SIGINT."""

import gc

gc.disable()  # until `serve` configures it: imports leave little garbage, and looking for it takes a fifth of the time to start

import sys  # noqa: E402  (after the line above, which must be the first)

from transport.late_protocols import postpone_protocols  # noqa: E402  (as above)

postpone_protocols()  # before the next line imports Hypercorn

from edge.serve import serve  # noqa: E402  (as above)
from shared.core.process_main import run_process  # noqa: E402  (as above)

if __name__ == "__main__":
    sys.exit(run_process("edge", serve))

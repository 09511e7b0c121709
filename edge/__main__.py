"""`python -m edge`: serve the edge with Hypercorn, one process or several, until SIGTERM or SIGINT."""

import gc

gc.disable()  # until `serve` configures it: imports leave little garbage, and looking for it takes a fifth of the time to start

import sys  # noqa: E402  (after the line above, which must be the first)

from shared.core.sqlite_only import leave_out_psycopg  # noqa: E402  (as above)
from transport.late_protocols import postpone_protocols  # noqa: E402  (as above)

leave_out_psycopg()  # before the next lines import Peewee and Hypercorn
postpone_protocols()

from edge.serve import serve  # noqa: E402  (after the two calls, which decide what it loads)
from shared.core.process_main import run_process  # noqa: E402  (as above)

if __name__ == "__main__":
    sys.exit(run_process("edge", serve))

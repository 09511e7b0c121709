"""The process of `token_counter`: reads texts from stdin, each after its length, and writes their token counts to stdout.

    python -m edge.store.token_counter_process IDLE_SECONDS

Ends at the end of stdin, or if there is no text for that long.
"""

from __future__ import annotations

import signal
import sys

from edge.store.token_counter import LENGTH_BYTES
from shared import tokenizer


def main(idle_seconds: int) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):  # service managers send them to all processes; the edge ends this one last
        signal.signal(number, signal.SIG_IGN)
    requests, counts = sys.stdin.buffer, sys.stdout.buffer
    while True:
        signal.alarm(idle_seconds)  # SIGALRM ends the process
        length = requests.read(LENGTH_BYTES)
        signal.alarm(0)
        if len(length) < LENGTH_BYTES:
            return 0
        text = requests.read(int.from_bytes(length)).decode(errors="surrogatepass")
        counts.write(tokenizer.count_tokens(text).to_bytes(LENGTH_BYTES))
        counts.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

"""The process of `share_renderer`: reads messages as JSON from stdin, and writes their HTML as JSON to stdout.

    python -m edge.web.share_renderer_process CPU_SECONDS MAX_CHARACTERS

Exits with an error, or is killed by the system, if it exceeds its limits of CPU time, memory or HTML size.
"""

from __future__ import annotations

import os
import resource
import sys

import orjson

from edge.web.markdown import render
from edge.web.plain_html import plain

MAX_MEMORY_BYTES = 1_000_000_000
NICENESS = 10  # lower priority than API calls


def main(cpu_seconds: int, max_characters: int) -> int:
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if sys.platform == "linux":  # not supported by macOS
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    turns: list[tuple[str, str]] = orjson.loads(sys.stdin.buffer.read())
    html = [render(text, number) if role == "assistant" else plain(text) for number, (role, text) in enumerate(turns)]
    if sum(map(len, html)) > max_characters:
        return 1
    sys.stdout.buffer.write(orjson.dumps(html))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

"""A stand-in for one of the stack's processes: `python standin.py NAME [stubborn|family|dies CODE]`.

web and console answer every GET with 200 on their port; others only run. Each writes its pid to the file `pids` (family: two,
with a child's) and, when it gets SIGTERM, its name to `ends`. With `stubborn` it ignores SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from shared.core.settings import Settings

FOLDER = Path(os.environ["YOUT_DATA_DIR"])
PORTS = {"web": "edge_port", "console": "console_port"}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def note(file: str, text: object) -> None:
    with (FOLDER / file).open("a") as notes:
        notes.write(f"{text}\n")


def main(name: str, manner: str = "", code: str = "0") -> None:
    reader, writer = os.pipe()
    told = signal.SIG_IGN if manner == "stubborn" else lambda *_: os.write(writer, b"x")
    signal.signal(signal.SIGTERM, told)
    note("pids", os.getpid())
    if manner == "family":
        note("pids", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
    if name in PORTS:
        server = ThreadingHTTPServer(("127.0.0.1", getattr(Settings.load(), PORTS[name])), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"{name} speaks", flush=True)
    if manner == "dies":
        sys.exit(int(code))
    os.read(reader, 1)
    note("ends", name)


if __name__ == "__main__":
    main(*sys.argv[1:])

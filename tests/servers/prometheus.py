"""Debian's Prometheus, with the configuration and the alert rules of `deploy/prometheus`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers.process import ROOT, Process, dies_with_parent, start_on_free_port

FOLDER = ROOT / "deploy" / "prometheus"
ANSWER_SECONDS = 30


def prometheus_path() -> str | None:
    """Path of the installed Prometheus, which comes with promtool; `bin/setup dev` installs Debian's."""
    return shutil.which("prometheus") if shutil.which("promtool") else None


def promtool(*arguments: str) -> str:
    """Run promtool and return its output. Raises `AssertionError` if it reports a problem."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """Scrapes `ports`, which are given by job, every second."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self._folder = folder / "prometheus"
        self._folder.mkdir()
        shutil.copy(FOLDER / "alerts.yml", self._folder)
        config = (FOLDER / "prometheus.yml").read_text().replace("15s", "1s")
        for job, port in ports.items():
            config, count = re.subn(rf"(job_name: {job}\n.*\n.*\n.*127\.0\.0\.1:)\d+", rf"\g<1>{port}", config)
            assert count == 1, job
        (self._folder / "prometheus.yml").write_text(config)
        promtool("check", "config", str(self._folder / "prometheus.yml"))
        self._process, self._port = start_on_free_port(self._start, lambda process, _: "ready to receive" in process.output())

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and current values of a PromQL `expression`. Raises `HTTPError` if it is invalid."""
        return [(sample["metric"], float(sample["value"][1])) for sample in self._get("query", query=expression)["result"]]

    def up(self) -> dict[str, bool]:
        """Whether the last scrape of each job succeeded."""
        return {labels["job"]: value == 1 for labels, value in self.query("up")}

    def stop(self) -> None:
        self._process.kill()

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)["data"]

    def _start(self, port: int) -> Process:
        argv = [
            *(str(prometheus_path()), f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/data"),
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        log = self._folder / f"{port}.log"
        return Process("prometheus", dies_with_parent(argv), env=os.environ, cwd=self._folder, log=log)

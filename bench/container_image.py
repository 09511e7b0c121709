"""Builds the image of the `Dockerfile` and runs it, without a registry: the size of each part, and whether a call is answered.

    python -m bench.container_image [--base IMAGE] [--folder DIR]

By default `debootstrap` creates the base: a minimal Debian with Python. `--base` selects another, such as the `Dockerfile`'s
default, if a registry can be reached. `buildah` builds the image in a temporary folder. Then the release step, the edge, the
console and the worker run in it, against PostgreSQL, Valkey and a scripted provider on this machine. The command runs the
image's own health check, makes a streamed call that is charged, and ends all three processes with SIGTERM. Requires root and
Linux. Exit codes: 0, 1 if a step failed, and 77 with the reason if this machine cannot build images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.clean_install import CANNOT, CannotRun, StepFailed, create_debian, pass_on_network
from tests.openai_payloads import chunk, finish, role, usage
from tests.servers.postgres import Postgres
from tests.servers.process import ROOT, Process, free_port
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import stream

IMAGE, BASE = "localhost/yout", "localhost/debian-python"
PACKAGES = "python3,python3-venv,ca-certificates"
BUILD_SECONDS = 900
STEP_SECONDS = 60
MAX_IMAGE_MB = 260  # in addition to the base


def main() -> int:
    """Build, run and call. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.container_image", description=__doc__.partition("\n")[0])
    parser.add_argument("--base", help="image to build on (default: a Debian made by debootstrap)")
    parser.add_argument("--folder", type=Path, help="where to keep the base system for the next run")
    options = parser.parse_args()
    try:
        _require_tools(options.base is None)
        with tempfile.TemporaryDirectory(prefix="yout-image-") as folder, Buildah(Path(folder)) as buildah:
            base = options.base or _debian(buildah, options.folder or Path(folder, "debian"))
            _build(buildah, base)
            _report_sizes(buildah, base)
            _run(buildah, Path(folder))
    except CannotRun as reason:
        print(f"container image: cannot run here: {reason}", flush=True)
        return CANNOT
    except (StepFailed, AssertionError, subprocess.SubprocessError) as failure:
        print(f"container image: {failure}", flush=True)
        return 1
    return 0


def _require_tools(needs_debootstrap: bool) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise CannotRun("requires Linux and root")
    for tool in ("buildah", *(["debootstrap"] if needs_debootstrap else [])):
        if shutil.which(tool) is None:
            raise CannotRun(f"{tool} is not installed")


class Buildah:
    """`buildah` with its images and containers in a separate folder; they are removed at the end."""

    def __init__(self, folder: Path) -> None:
        self._options = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def __enter__(self) -> Buildah:
        return self

    def __exit__(self, *_: object) -> None:
        for command in (["rm", "--all"], ["rmi", "--all", "--force"]):
            subprocess.run(self.command(*command), capture_output=True, timeout=STEP_SECONDS, check=False)
        storage = Path(self._options[1])
        subprocess.run(["umount", str(storage / "overlay")], capture_output=True, timeout=STEP_SECONDS, check=False)

    def command(self, *arguments: str) -> list[str]:
        return ["buildah", *self._options, *arguments]

    def __call__(self, *arguments: str, seconds: float = STEP_SECONDS) -> str:
        """Run a command and return its output. Raises `StepFailed`."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise StepFailed(f"buildah {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()


@contextmanager
def _step(name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"container image: {name}: {time.monotonic() - begun:.1f} s", flush=True)


def _debian(buildah: Buildah, folder: Path) -> str:
    """Create the base image and return its name."""
    if not (folder / "bin").exists():
        with _step("debootstrap"):
            create_debian(folder, "bookworm", PACKAGES)
    pass_on_network(folder)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(folder), "/", seconds=BUILD_SECONDS)
    buildah("commit", "--quiet", "--rm", container, BASE, seconds=BUILD_SECONDS)
    return BASE


def _build(buildah: Buildah, base: str) -> None:
    pip = Path("/etc/pip.conf")
    volumes = ["--volume", f"{pip}:{pip}:ro"] if pip.exists() else []
    with _step("build"):
        options = ["--isolation", "chroot", "--network", "host", *volumes, "--build-arg", f"BASE={base}"]
        buildah("bud", "--quiet", *options, "--tag", IMAGE, str(ROOT), seconds=BUILD_SECONDS)


def _report_sizes(buildah: Buildah, base: str) -> None:
    whole, below = (_size_mb(buildah, name) for name in (IMAGE, base))
    print(f"container image: {whole:.0f} MB, of which the base is {below:.0f} MB", flush=True)
    if whole - below > MAX_IMAGE_MB:
        raise StepFailed(f"the image adds {whole - below:.0f} MB to its base, more than {MAX_IMAGE_MB} MB")


def _size_mb(buildah: Buildah, image: str) -> float:
    """The size of an image's files."""
    container = buildah("from", image)
    root = buildah("mount", container)
    size = subprocess.run(["du", "-sm", root], capture_output=True, text=True, timeout=STEP_SECONDS, check=True).stdout
    buildah("rm", container)
    return float(size.split()[0])


def _run(buildah: Buildah, folder: Path) -> None:
    with ExitStack() as stack:
        postgres = Postgres()
        stack.callback(postgres.stop)
        redis = RedisServer("valkey", folder)
        stack.callback(redis.kill)
        upstream = Upstream()
        stack.callback(upstream.close)
        settings = {
            "DATABASE_URL": postgres.create_empty(),
            "REDIS_URL": redis.url,
            "SECRET_KEY": os.urandom(32).hex(),
            "YOUT_PUBLIC_URL": "https://api.example.com",
            "YOUT_METRICS_PORT": str(free_port()),
        }
        _check(Stack(buildah, folder, settings, stack), upstream)


class Stack:
    """Containers of the image, with the same settings. They share the network of this machine."""

    def __init__(self, buildah: Buildah, folder: Path, settings: dict[str, str], stack: ExitStack) -> None:
        self._buildah, self._folder, self._stack = buildah, folder, stack
        self.metrics_port = int(settings["YOUT_METRICS_PORT"])
        self._settings = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]

    def command(self, *words: str, port: int | None = None) -> list[str]:
        """A command in a new container, as the image's user."""
        container = self._buildah("from", IMAGE)
        own = ["--env", f"PORT={port}"] if port else []
        options = ["--isolation", "chroot", *self._settings, *own]
        return self._buildah.command("run", *options, container, "--", *words)

    def run(self, *words: str, port: int | None = None) -> str:
        done = subprocess.run(self.command(*words, port=port), capture_output=True, text=True, timeout=STEP_SECONDS, check=False)
        if done.returncode:
            raise StepFailed(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def yout(self, *words: str) -> Any:
        return json.loads(self.run("yout", *words, "--json").splitlines()[-1])

    def start(self, module: str, port: int | None = None) -> Process:
        argv = self.command("python", "-m", module, port=port)
        process = Process(module, argv, env=os.environ, cwd=self._folder, log=self._folder / f"{module}.log")
        self._stack.callback(process.kill)
        return process


def _check(stack: Stack, upstream: Upstream) -> None:
    if stack.run("id", "-u") == "0":
        raise StepFailed("the image's user is root")
    if stack.run("sh", "-c", "find /srv -writable ! -type l | head -1"):
        raise StepFailed("the image's user can change the program")
    with _step("release step"):
        stack.run("python", "-m", "yout", "migrate")
    account = "ada@example.com"
    stack.yout("account", "create", account, "--credits", "1000000")
    key = stack.yout("key", "create", account, "--name", "laptop")["secret"]
    stack.yout("channel", "create", "provider", "--dialect", "openai", "--base-url", upstream.url, "--secret", "sk-x")
    stack.yout("model", "create", "m-1", "--channel", "provider", "--input", "100", "--output", "300")
    ports = {"edge": free_port(), "console": free_port(), "workers": stack.metrics_port}
    processes = [stack.start(module, port) for module, port in ports.items()]
    with _step("edge, console and worker"):
        for process in processes:
            process.wait_ready(partial(_is_healthy, stack, ports[process.name]))
    upstream.script(stream(role(), chunk("Hello"), finish(), usage()))
    print(f"container image: {_call(ports['edge'], key)}", flush=True)
    with _step("SIGTERM"):
        for process in processes:
            os.kill(_program_in(process.pid), signal.SIGTERM)
        codes = [process.wait() for process in processes]
    if any(codes):
        raise StepFailed(f"edge, console and worker ended with {codes} after SIGTERM")
    stack.yout("ledger", "verify")


def _program_in(pid: int) -> int:
    """The process that buildah runs: its first descendant that is not buildah, which does not forward signals."""
    while True:
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
        pid = int(children[0])
        if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
            return pid


def _is_healthy(stack: Stack, port: int) -> bool:
    """Run the image's own health check."""
    check = _health_check()
    return (
        subprocess.run(stack.command(*check, port=port), capture_output=True, timeout=STEP_SECONDS, check=False).returncode == 0
    )


def _health_check() -> list[str]:
    """The command after HEALTHCHECK … CMD in the Dockerfile; images in the OCI format do not contain it."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    [line] = [line for line in text.splitlines() if line.startswith("HEALTHCHECK ")]
    command: list[str] = json.loads(line.partition(" CMD ")[2])
    return command


def _call(port: int, key: str) -> str:
    """Stream a chat and return the receipt at its end."""
    connection = HTTPConnection("127.0.0.1", port, timeout=STEP_SECONDS)
    body = {"model": "m-1", "stream": True, "messages": [{"role": "user", "content": "Hello?"}]}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    text = connection.getresponse().read().decode()
    connection.close()
    if '"content":"Hello"' not in text or '"credits_charged":' not in text:
        raise StepFailed(f"the call was not answered and charged:\n{text}")
    receipts = [line for line in text.splitlines() if '"credits_charged":' in line]
    return receipts[-1].partition('"yout":')[2].rstrip("}") + "}"


if __name__ == "__main__":
    sys.exit(main())

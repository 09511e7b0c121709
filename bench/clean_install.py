"""Runs README's commands on a minimal new Debian with only git, python3 and ca-certificates.

    python3 -m bench.clean_install [--suite bookworm] [--tests] [--folder DIR]

`debootstrap` creates the system, and the commit that is checked out here is cloned into it. There `./bin/up` is started, the
snippet that it prints is pasted into a shell, and `./bin/up` is stopped; with `--tests`, `./bin/test` follows. The duration of
each step is printed. Requires root and Linux, and only Python's standard library. Exit codes: 0, 1 if a step failed, and 77
with the reason if this machine cannot create such a system.

Everything runs in its own mount and process namespaces, so its mounts and processes never outlive the command; the folder is
removed unless the command is killed. The settings for package registries (proxy, mirror, certificates) are read at run time
and passed on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = "/srv/yout"
PACKAGES = "git,python3,ca-certificates"
LOCAL_MODEL = "smollm2-135m-instruct"
CANNOT = 77  # the exit code that test harnesses read as "skipped"
DEBOOTSTRAP_SECONDS = 900
UP_SECONDS = 900
SNIPPET_SECONDS = 120
STOP_SECONDS = 60
TESTS_SECONDS = 90 * 60
ALL_SECONDS = DEBOOTSTRAP_SECONDS + UP_SECONDS + TESTS_SECONDS
_NAMESPACES = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--propagation",
    "private",
]
# Package manager settings and trusted certificates, except pip settings that name files of this machine.
_PASSED_ON = re.compile(
    r"(?i:https?|ftp|all|no)_proxy|(PIP|UV|NPM_CONFIG)_\w+|SSL_CERT_\w+|\w+_CA_(BUNDLE|CERTS|CERTIFICATES)|CI"
)
_NOT_PASSED_ON = re.compile(
    r"PIP_(FIND_LINKS|CONSTRAINT|CONFIG_FILE|CACHE_DIR|TARGET|PREFIX)|UV_(CACHE_DIR|PYTHON\w*|PROJECT\w*)"
)


class StepFailed(Exception):
    """A step failed; the message says why."""


class CannotRun(Exception):
    """This machine cannot create the system; the message says why."""


def main() -> int:
    """Run inside new namespaces. The folder is removed outside them, where nothing is mounted in it."""
    options = _options()
    if options.inside:
        return _leave_no_zombies(lambda: _inside(options))
    try:
        _require_tools()
    except CannotRun as reason:
        return _cannot(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="yout-clean-install-"))
    command = [*_NAMESPACES, sys.executable, "-m", "bench.clean_install", *sys.argv[1:], "--folder", str(folder), "--inside"]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=ALL_SECONDS, check=False).returncode
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if options.folder is None:
            subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], timeout=STOP_SECONDS, check=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m bench.clean_install", description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", default="bookworm", help="Debian release, as debootstrap names it (default: %(default)s)")
    parser.add_argument("--tests", action="store_true", help="run ./bin/test there too")
    parser.add_argument("--folder", type=Path, help="where to create and keep the system; an existing one is reused")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _require_tools() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise CannotRun("requires Linux and root")
    for tool in ("debootstrap", "setpriv", "unshare", "chroot", "git"):
        if shutil.which(tool) is None:
            raise CannotRun(f"{tool} is not installed")
    refused = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, timeout=30, check=False)
    if refused.returncode:
        raise CannotRun(f"cannot create namespaces: {refused.stderr.strip()}")


def _cannot(reason: CannotRun) -> int:
    print(f"clean install: cannot run here: {reason}", flush=True)
    return CANNOT


def _leave_no_zombies(work: Callable[[], int]) -> int:
    """Run `work` in a child and reap orphaned processes, as the first process of a namespace must."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(KeyboardInterrupt):
            code = work()
        os._exit(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _inside(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    try:
        machine = Machine(options.folder, options.suite)
        _try_up(machine)
        if options.tests:
            with _step("./bin/test"):
                machine.run(["./bin/test"], TESTS_SECONDS)
    except CannotRun as reason:
        return _cannot(reason)
    except (StepFailed, subprocess.SubprocessError) as failure:
        print(f"clean install: {failure}", flush=True)
        return 1
    print(f"clean install: {options.suite} is done, {time.monotonic() - begun:.0f} s in all", flush=True)
    return 0


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    begun = time.monotonic()
    print(f"clean install: {name} …", flush=True)
    yield
    print(f"clean install: {name}: {time.monotonic() - begun:.1f} s", flush=True)


class Machine:
    """The new system in `folder`, with the project cloned into it."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.folder = folder
        self._environment = _environment()
        if not (folder / "bin").exists():
            with _step(f"debootstrap {suite}"):
                create_debian(folder, suite, PACKAGES)
        with _step("clone"):
            pass_on_network(folder)
            _mount(folder)
            _clone(folder)

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        """Start a command in the checkout, in its own process group."""
        program = 'cd "$0" && exec "$@"'
        argv = ["chroot", str(self.folder), "/bin/sh", "-c", program, CHECKOUT, *command]
        # mypy cannot match `options`, which are passed through, to one of the overloads.
        return subprocess.Popen(argv, env=self._environment, text=True, start_new_session=True, **options)  # type: ignore[call-overload,no-any-return]

    def run(self, command: list[str], seconds: float) -> None:
        """Run a command in the checkout until it exits. Raises `StepFailed`."""
        with self.start(command, stdin=subprocess.DEVNULL) as process:
            try:
                code = process.wait(seconds)
            except BaseException as problem:
                os.killpg(process.pid, signal.SIGKILL)
                if isinstance(problem, subprocess.TimeoutExpired):
                    raise StepFailed(f"{' '.join(command)} did not finish within {seconds:.0f} s") from None
                raise
        if code:
            raise StepFailed(f"{' '.join(command)} exited with code {code}")


def create_debian(folder: Path, suite: str, packages: str) -> None:
    """Create a minimal system with `packages`, separated by commas. Raises `CannotRun`."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # becomes "/", where accounts other than root must be able to run programs
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(folder), *_mirror()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEBOOTSTRAP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotRun(f"debootstrap took longer than {DEBOOTSTRAP_SECONDS} s") from None
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise CannotRun(f"debootstrap failed: {' / '.join(last)}")


def _mirror() -> list[str]:
    """Return the mirror of this machine's own packages, if apt names one."""
    done = _output("apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    addresses = [line.split()[-1] for line in done.splitlines() if "security" not in line]
    return addresses[:1]


def _output(*command: str) -> str:
    """Return a command's output, or "" if it does not exist or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _environment() -> dict[str, str]:
    """Return a minimal environment with this machine's registry settings."""
    passed = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name) and not _NOT_PASSED_ON.match(name)}
    for name in ("index-url", "trusted-host", "proxy"):
        value = _pip_setting(name)
        if value:
            passed.setdefault("PIP_" + name.upper().replace("-", "_"), value)
    registry = _output("npm", "config", "get", "registry")
    if registry.startswith("http"):
        passed.setdefault("NPM_CONFIG_REGISTRY", registry)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "TERM": "dumb", **passed}


def _pip_setting(name: str) -> str:
    return _output(sys.executable, "-m", "pip", "config", "get", f"global.{name}")


def pass_on_network(folder: Path) -> None:
    """Copy name servers, certificates and apt's proxy settings."""
    for file in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        source, target = Path("/", file), folder / file
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
    own = Path("/usr/local/share/ca-certificates")  # survives a later update-ca-certificates
    if own.is_dir():
        shutil.copytree(own, folder / own.relative_to("/"), dirs_exist_ok=True)
    lines = [line for line in _output("apt-config", "dump").splitlines() if re.match(r"Acquire::https?::", line)]
    (folder / "etc/apt/apt.conf.d/99network").write_text("\n".join([*lines, ""]))


def _mount(folder: Path) -> None:
    """Mount the file systems that programs expect (`/proc`, `/dev`, …), for the lifetime of our namespace."""
    shared_memory = folder / "dev/shm"
    for arguments in (
        ["-t", "proc", "proc", folder / "proc"],
        ["-t", "sysfs", "sysfs", folder / "sys"],
        ["--rbind", "/dev", folder / "dev"],
        ["-t", "tmpfs", "tmpfs", shared_memory],
    ):
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise CannotRun(f"mount failed: {done.stderr.strip()}")


def _clone(folder: Path) -> None:
    target = folder / CHECKOUT.lstrip("/")
    subprocess.run(["rm", "-rf", str(target)], timeout=120, check=True)
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(target)]
    subprocess.run(command, timeout=120, check=True)
    commit = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    subprocess.run(["git", "-C", str(target), "checkout", "--quiet", "--detach", commit], timeout=60, check=True)
    if _output("git", "-C", str(ROOT), "status", "--porcelain"):
        print("clean install: uncommitted changes are not included", flush=True)


def _try_up(machine: Machine) -> None:
    """Run `./bin/up`, the snippet that it prints, and Ctrl-C."""
    log = machine.folder / "root/up.log"
    with log.open("w") as output:
        up = machine.start(["./bin/up"], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        with _step("./bin/up"):
            printed = _wait_for(up, log, "Ctrl-C stops it.")
        with _step("the snippet"):
            _paste(machine, printed)
        with _step("the end of ./bin/up"):
            os.kill(up.pid, signal.SIGINT)
            if code := up.wait(STOP_SECONDS):
                raise StepFailed(f"./bin/up ended with exit code {code} after Ctrl-C")
    except BaseException:
        print(log.read_text(), flush=True)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(up.pid, signal.SIGKILL)


def _wait_for(up: subprocess.Popen[str], log: Path, text: str) -> str:
    """Return the output of `./bin/up` as soon as it contains `text`."""
    deadline = time.monotonic() + UP_SECONDS
    while text not in log.read_text():
        if up.poll() is not None:
            raise StepFailed(f"./bin/up ended with exit code {up.returncode}")
        if time.monotonic() > deadline:
            raise StepFailed(f"./bin/up was not ready after {UP_SECONDS} s")
        time.sleep(0.2)
    time.sleep(0.2)  # waits for the rest of the same write
    return log.read_text()


def _paste(machine: Machine, printed: str) -> None:
    """Run the printed snippet in a shell, unchanged, and check which model answered."""
    found = re.search(r"Paste into a shell:\n\n(.+?^END\n)", printed, re.DOTALL | re.MULTILINE)
    if found is None:
        raise StepFailed("./bin/up printed no snippet")
    if LOCAL_MODEL not in found[1]:
        raise StepFailed(f"the snippet does not ask {LOCAL_MODEL}: {found[1]}")
    with machine.start(["/bin/sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shell:
        try:
            answer, _ = shell.communicate(found[1], timeout=SNIPPET_SECONDS)
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
    print(answer.strip(), flush=True)
    text = answer.partition("{'credits_charged'")[0] if "{'credits_charged'" in answer else ""
    if shell.returncode or not text.strip() or "You said" in text:
        raise StepFailed(f"the snippet ended with {shell.returncode}, and that is no answer of {LOCAL_MODEL}")


if __name__ == "__main__":
    sys.exit(main())

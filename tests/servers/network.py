"""A network namespace for a server, with one link to the host, on which packets can be silently dropped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import count

PROGRAMS = ("ip", "nft", "nsenter", "setpriv", "unshare")
_numbers = count(os.getpid() % 2_000 * 8)


def missing_programs() -> list[str]:
    """Programs for network namespaces that this machine lacks; `bin/setup dev` installs them on Debian if run as root."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return missing if os.geteuid() == 0 else [*missing, "root"]


class Network:
    """A link between an address of ours and `address` inside the namespace. It disappears with the last process inside."""

    def __init__(self) -> None:
        number = next(_numbers) % 16_384
        subnet = ip_address("198.18.0.0") + number * 4  # reserved for network tests (RFC 2544)
        ours, self.address = str(subnet + 1), str(subnet + 2)
        self._holder = subprocess.Popen(["unshare", "--net", "setpriv", "--pdeathsig", "KILL", "sleep", "infinity"])
        link = f"yout{number}"
        try:
            self._wait_entered()
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", "outside", "netns", str(self._holder.pid))
            _run("ip", "addr", "add", f"{ours}/30", "dev", link)
            _run("ip", "link", "set", link, "up")
            self._inside("ip", "addr", "add", f"{self.address}/30", "dev", "outside")
            self._inside("ip", "link", "set", "outside", "up")
            self._inside("ip", "link", "set", "lo", "up")
            self._inside("nft", "add table ip f; add chain ip f in { type filter hook input priority 0; }")
        except BaseException:
            self.close()
            raise

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """`argv`, run inside the namespace."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv]

    def forget_connections(self) -> None:
        """Drop every packet of the currently open TCP connections, like a firewall that lost its state; new connections work."""
        table = self._inside("cat", "/proc/net/tcp").splitlines()[1:]
        peers = sorted({int(line.split()[2].rsplit(":", 1)[1], 16) for line in table} - {0})
        assert peers, "there must be an open connection"
        self._inside("nft", f"add rule ip f in tcp sport {{ {', '.join(map(str, peers))} }} drop")

    @contextmanager
    def drop_packets(self) -> Iterator[None]:
        """Drop every incoming packet during the block."""
        self._inside("nft", "add chain ip f silence { type filter hook input priority -1; policy drop; }")
        try:
            yield
        finally:
            self._inside("nft", "delete chain ip f silence")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def _wait_entered(self) -> None:
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == ours:
            if self._holder.poll() is not None:
                raise AssertionError("cannot create a network namespace")

    def _inside(self, *argv: str) -> str:
        return _run(*self.wrap(argv))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout

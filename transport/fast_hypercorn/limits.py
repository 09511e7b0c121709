"""Limits on what one connection may cost, in bytes and seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a connection. No limit is infinite, because a hostile client can reach each of them.

    ``head_bytes`` limits the request line and all header lines, ``head_fields`` the number of header lines. Reading from the
    socket pauses at ``unread_bytes`` of body or pipelined requests.

    ``header_seconds`` is the time from the first byte of a head to its end. A body may pause for ``body_seconds``; it must arrive
    at ``body_bytes_per_second`` on average and within ``body_total_seconds`` of waiting. In each window of ``write_seconds`` a
    client must read ``write_bytes``, or everything queued if that is less. After an early close, input is discarded for
    ``linger_seconds`` or ``linger_bytes``, so that the client can read the response.

    Senders wait while ``waiting_bytes`` are queued here, and ``unsent_bytes`` in the kernel.
    ``connections`` is the maximum number of open connections.
    """

    head_bytes: int = 64 * 1024
    head_fields: int = 100
    unread_bytes: int = 64 * 1024
    header_seconds: float = 30.0
    body_seconds: float = 60.0
    body_bytes_per_second: float = 1_000.0
    body_total_seconds: float = 3_600.0
    write_seconds: float = 60.0
    write_bytes: int = 4 * 1024
    waiting_bytes: int = 16 * 1024
    unsent_bytes: int = 64 * 1024
    connections: int = 10_000
    linger_seconds: float = 2.0
    linger_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"Limits.{name} must be positive, not {getattr(self, name)!r}")

"""What one connection may cost: sizes in bytes, times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a connection; every one can be reached by a hostile peer, so none is infinite.

    ``head_bytes`` covers the request line and all header lines, ``head_fields`` their number; ``unread_bytes`` is
    the body (or the pipelined bytes) held before the socket is no longer read.
    ``header_seconds`` runs from the first byte of a head to its end. A body may pause for ``body_seconds`` and must
    come at ``body_bytes_per_second`` on average, all of it in ``body_total_seconds`` of waiting. ``write_seconds``
    is the window in which a peer has to take ``write_bytes`` of what is waiting for it, or all where it is less. After an early
    close the peer's bytes are thrown away for ``linger_seconds`` or ``linger_bytes``, so that it can read the answer.
    With ``waiting_bytes`` waiting for a peer here, and ``unsent_bytes`` in the kernel, senders wait. ``connections`` is how many
    may be open at once.
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
                raise ValueError(f"Limits.{name} must be above zero, not {getattr(self, name)!r}")

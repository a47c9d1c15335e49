"""How much a client may make a request reader hold."""

from __future__ import annotations

from dataclasses import dataclass

UNAUTHENTICATED_ARGUMENTS = 10
"""The most arguments of a request before AUTH; Redis's figure."""

UNAUTHENTICATED_BULK_BYTES = 16_384
"""The longest argument of a request before AUTH; Redis's figure."""


@dataclass(frozen=True)
class RequestLimits:
    """The limits of one connection's requests; what is past one is a protocol error.

    `inline_bytes` bounds an inline command and every header line, without its line ending. `arguments` is
    what Redis 6 allows (Redis 7 takes any 31-bit count, which serves nobody but an attacker).
    `query_buffer_bytes` is for the session, which compares a reader's `buffered` with it and closes the
    connection. Before AUTH (`authenticated` false) the two tighter figures hold as well, with error texts of
    their own.
    """

    inline_bytes: int = 64 * 1024
    arguments: int = 1024 * 1024
    bulk_bytes: int = 512 * 1024 * 1024
    query_buffer_bytes: int = 1024 * 1024 * 1024
    authenticated: bool = True
    unauthenticated_arguments: int = UNAUTHENTICATED_ARGUMENTS
    unauthenticated_bulk_bytes: int = UNAUTHENTICATED_BULK_BYTES


UNAUTHENTICATED = RequestLimits(query_buffer_bytes=1024 * 1024, authenticated=False)
"""The limits of a connection that has not given its password yet."""

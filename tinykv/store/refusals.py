"""What clients are told whose operations aren't done here and now, or of which nobody knows whether they are."""

from __future__ import annotations

from typing import Final

from tinykv.redis.operations import INTERNAL, LOCAL, LOOK, NOBODY, READ, READ_EXEC, WAITING, Operation
from tinykv.resp import replies
from tinykv.store.remote_clients import RemoteClient

DISK_FULL = replies.error(
    b"OOM command not allowed: the disk of this store is nearly full; delete keys, or free space on it"
)
TRY_AGAIN = replies.error(b"TRYAGAIN the store is busy writing to disk; nothing was done")
STALLED = replies.error(b"TRYAGAIN the disk of the store does not answer; nothing was done")
UNKNOWN = replies.error(b"TIMEOUT the disk of the store does not answer; outcome unknown")
UNDECIDED = replies.error(b"TIMEOUT no majority of the stores has answered in time; outcome unknown")
NO_MAJORITY = replies.error(b"CLUSTERDOWN no majority of the stores has answered in time; nothing was done")
NO_LEADER = replies.error(b"CLUSTERDOWN no store leads, so a majority can't be reached; nothing was done")
#: What a read is told where a write is told that.
_OF_READS: Final = {UNKNOWN: STALLED, UNDECIDED: NO_MAJORITY}
TOO_LARGE = replies.error(b"ERR the command is too large for the log; nothing was done")


def give_up(operation: Operation, unknown: bytes) -> Operation:
    """
    Answer an operation that is under way, and give what stays of it: if it's done after all nobody is told.

    @param unknown: The reply to a write, L{UNKNOWN} or L{UNDECIDED}. A read has done nothing, whatever becomes of it.
    """
    kind, client, number, *rest = operation
    if client is NOBODY:
        return operation
    if type(client) is RemoteClient and kind in (WAITING, INTERNAL):
        # Others' operations are answered together with it, so it can't be waited for as long as it takes.
        if kind == WAITING:
            client.lose(unknown)
        else:
            # To do it twice is as good as once.
            client.refuse()
    elif kind in (WAITING, INTERNAL, LOCAL):
        return operation
    else:
        client.answer(number, _OF_READS[unknown] if kind in (READ, READ_EXEC, LOOK) else unknown)
    return (kind, NOBODY, 0, rest[0], rest[1], rest[2], rest[3])

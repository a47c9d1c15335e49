"""
What passes between the store and the processes at its files: length-prefixed frames of C{marshal}.

Both ends are the same interpreter on the same host, started one by the other over an unnamed socket pair; so
the fastest form that Python has is safe here, and its being tied to one version of Python doesn't matter. It
never reaches a disk or a network.
"""

from __future__ import annotations

import marshal
from struct import Struct
from typing import Any, Final

_LENGTH: Final = Struct("!I")
#: The last version that doesn't remember every object in case that it comes again, which costs more than all the rest.
_MARSHAL: Final = 2

#: (READY,): the file is open
READY: Final = 0
#: (DONE, count): that many more batches or flushes are durable, in the order of their sending
DONE: Final = 1
#: (FAILED, class name, message): the last frame; nothing of what was not reported done may be taken as
#: written
FAILED: Final = 2
#: (ROWS, [(key, value or None)], their bytes): what a reader was asked for
ROWS: Final = 3
#: (MADE, path, size, apply state, [row or None]): the snapshot that was asked for, and the rows beside it
MADE: Final = 4
#: (INSTALLED, apply state): the snapshot whose turn it was is in data.db
INSTALLED: Final = 5
#: (REFUSED, class name, message): the snapshot whose turn it was can't be made or installed, or the rows can't be
#: summed up; nothing was changed
REFUSED: Final = 6
#: (AWAKE,): a process that is to sum up rows runs
AWAKE: Final = 7
#: (OPENED,): it has its read transaction
OPENED: Final = 8
#: (SUMMED, digest, rows): what they sum up to, and how many there were
SUMMED: Final = 9
#: (MEASURED, [(slot, bytes)]): what slots hold
MEASURED: Final = 10


def encode(message: Any) -> bytes:
    """
    @param message: tuples, lists, bytes, str, int, bool, C{None}.
    @return: the frame.
    """
    body = marshal.dumps(message, _MARSHAL)
    return _LENGTH.pack(len(body)) + body


def decode(buffer: bytearray) -> list[Any]:
    """
    Take all whole frames from the head of a buffer; what is left of it is the beginning of the next.
    """
    messages: list[Any] = []
    place = 0
    size = len(buffer)
    with memoryview(buffer) as view:
        while size - place >= 4:
            (length,) = _LENGTH.unpack_from(view, place)
            end = place + 4 + length
            if end > size:
                break
            messages.append(marshal.loads(view[place + 4 : end]))
            place = end
    if place:
        del buffer[:place]
    return messages

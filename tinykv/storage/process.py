"""
A channel to a child process at one of the files.

The process is started with one end of a socket pair; the other end is read and written by the reactor. A
message is sent at once when nothing is queued before it, so that the disk works while the turn goes on. The
child also inherits the folder's lock: should the store die, nobody opens the folder before the child has
finished what it had received.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final, Literal

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

import tinykv
from tinykv.storage.errors import StorageError, WriterLost, by_name
from tinykv.storage.frames import FAILED, READY, decode, encode
from tinykv.storage.writers import Receiver

#: Asked of the system for each direction; it grants what its limits allow.
_SOCKET_BYTES: Final = 1024 * 1024
_RECV_BYTES: Final = 64 * 1024
#: What each kind of child is called in messages.
_NAMES: Final = {
    "log": "log writer of {}",
    "data": "data writer of {}",
    "read": "reader ahead of {}",
    "snapshot": "snapshot maker of {}",
    "sum": "process that sums up {}",
    "sizes": "process that measures {}",
}


@implementer(IReadWriteDescriptor)
class ProcessChannel:
    """
    A child process that writes, or reads, one file.

    @param reactor: reads and writes the socket.
    @param kind: what it does.
    @param path: the file, which has to exist.
    @param lock: the descriptor of the folder's lock, to be inherited.
    @param fsync: C{False} for durability C{os}.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        kind: Literal["log", "data", "read", "snapshot", "sum", "sizes"],
        path: str,
        *,
        lock: int | None = None,
        fsync: bool = True,
    ) -> None:
        self._reactor = reactor
        self._name = _NAMES[kind].format(path)
        self._receiver: Receiver | None = None
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._wanted = False
        self._open = True
        self._sending = True
        self._buffer = bytearray()
        self._error: StorageError | None = None
        self._closing = False
        self._closed: list[Deferred[None]] = []
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            ours.setblocking(False)
            self._socket = ours
            self._process = _start(kind, theirs.fileno(), path, lock, fsync)

    @property
    def pid(self) -> int:
        """
        The process id of the child.
        """
        return self._process.pid

    def connect(self, receiver: Receiver) -> None:
        """
        Say who listens, and begin to read.
        """
        self._receiver = receiver
        self._reactor.addReader(self)

    def send(self, message: Any) -> None:
        """
        Send a message at once, as far as the socket takes it; the rest when it takes more.
        """
        if not self._sending:
            return
        frame = memoryview(encode(message))
        if not self._queue:
            sent = self._try(frame)
            if sent == len(frame):
                return
            frame = frame[sent:]
            self._reactor.addWriter(self)
        self._queue.append(frame)
        self._queued += len(frame)

    def _try(self, frame: memoryview) -> int:
        try:
            return self._socket.send(frame)
        except BlockingIOError:
            return 0
        except OSError:
            # The child is gone. Its last words are still to be read, and then the end of the stream tells.
            self._sending = False
            return len(frame)

    def call_when_writable(self) -> None:
        """
        Call the receiver when nothing is queued, in a later turn.
        """
        if self._open:
            self._wanted = True
            self._reactor.addWriter(self)

    @property
    def queued_bytes(self) -> int:
        """
        Bytes that the socket didn't take yet.
        """
        return self._queued

    def close(self) -> Deferred[None]:
        """
        Tell the child to finish and end. Every call gets a Deferred of the same end.
        """
        self._closing = True
        answer: Deferred[None] = Deferred()
        self._closed.append(answer)
        if not self._open:
            self._finish()
        elif not self._queue and not self._wanted:
            self._end_sending()
        return answer

    def _end_sending(self) -> None:
        if self._sending:
            self._sending = False
            self._socket.shutdown(socket.SHUT_WR)

    # IReadWriteDescriptor

    def fileno(self) -> int:
        """
        The socket's descriptor.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """
        How the reactor names this in its messages.
        """
        return self._name

    def doWrite(self) -> None:  # noqa: N802
        """
        Called by the reactor: the socket takes more.
        """
        while self._queue:
            frame = self._queue[0]
            sent = self._try(frame)
            self._queued -= sent
            if sent < len(frame):
                self._queue[0] = frame[sent:]
                return
            self._queue.popleft()
        if self._wanted and self._receiver is not None:
            self._wanted = False
            self._receiver.writable()
        if self._open and not self._queue and not self._wanted:
            self._reactor.removeWriter(self)
            if self._closing:
                self._end_sending()

    def doRead(self) -> None:  # noqa: N802
        """
        Called by the reactor: the child says something, or is gone.
        """
        try:
            data = self._socket.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended()
            return
        self._buffer += data
        for message in decode(self._buffer):
            if message[0] == READY:
                continue
            if message[0] == FAILED:
                self._error = by_name(message[1], message[2])
            elif self._receiver is not None:
                self._receiver.replied(message)

    def connectionLost(self, reason: Failure) -> None:
        """
        Called by the reactor: it found the descriptor unusable.
        """
        self._ended()

    def _ended(self) -> None:
        """
        The child has closed its end, which it does only by exiting.
        """
        if not self._open:
            return
        self._open = self._sending = self._wanted = False
        self._queue.clear()
        self._queued = 0
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        status = self._process.wait()
        if self._error is None and (status or not self._closing):
            self._error = WriterLost(
                f"{self._name}: its process ended unexpectedly (status {status}). Look for its last words "
                "in the standard error output and the system log, and start the store again"
            )
        if self._error is not None and self._receiver is not None:
            self._receiver.lost(self._error)
        self._finish()

    def _finish(self) -> None:
        waiting, self._closed = self._closed, []
        for answer in waiting:
            if self._error is None:
                answer.callback(None)
            else:
                answer.errback(self._error)


def _start(kind: str, descriptor: int, path: str, lock: int | None, fsync: bool) -> subprocess.Popen[bytes]:
    # A daemon may have changed its working folder, so the child is told where the program lies.
    root = str(Path(tinykv.__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": root if not known else root + os.pathsep + known}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tinykv.storage.child",
            kind,
            str(descriptor),
            path,
            "fsync" if fsync else "os",
        ],
        pass_fds=(descriptor,) if lock is None else (descriptor, lock),
        stdin=subprocess.DEVNULL,
        env=environment,
        # In a session of its own, a terminal's interrupt doesn't reach it before it ignores it.
        start_new_session=True,
    )

"""
The process of a writer, of the one that reads ahead, or of one that makes a snapshot, sums up rows or measures slots:
C{python -m tinykv.storage.child log|data|read|snapshot|sum|sizes FD PATH fsync|os}.

A thread beside a busy reactor would wait for the interpreter's lock at every call of SQLite; a process
doesn't. It blocks on its end of a socket pair, takes everything that is there, works, and answers. It ends
when the store's end is closed, whether on purpose or because the store died, after finishing what it had
received whole. Signals that stop a service reach the whole group, so it ignores them: the store says when.

After an error it reports and exits at once, without closing the file: closing would checkpoint, and nothing
may touch a file whose last write failed before the next start has looked at it (R7).
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
from typing import Final

from tinykv.storage.connection import PASSING_CACHE_KIB, connect_reader, connect_writer
from tinykv.storage.data import DataStore
from tinykv.storage.disk import disk_space
from tinykv.storage.errors import StorageError, from_os, from_sqlite
from tinykv.storage.frames import FAILED, READY, decode, encode
from tinykv.storage.log import LogStore
from tinykv.storage.readahead import ReadSession
from tinykv.storage.reader import Reader
from tinykv.storage.row_sum import SumSession
from tinykv.storage.sessions import DataSession, LogSession, Session
from tinykv.storage.slot_sizes import SizesSession
from tinykv.storage.snapshot_copy import SnapshotSession

#: Bytes taken from the socket before they are worked on; more waits its turn.
_BATCH_BYTES: Final = 16 * 1024 * 1024
_RECV_BYTES: Final = 1024 * 1024
#: How much those that work in the background give way to the store and its log writer.
_NICE: Final = 5


def open_session(kind: str, path: str, *, fsync: bool) -> Session:
    """
    Open a file that the store has already made, checked and checkpointed.

    @param kind: C{log}, C{data}, C{read}, C{snapshot}, C{sum} or C{sizes}.
    """
    if kind == "snapshot":
        return SnapshotSession(path)
    if kind == "sum":
        return SumSession(lambda: _reader_of_one_moment(path), lambda: disk_space(path).free)
    if kind == "sizes":
        return SizesSession(Reader(path, connect_reader(path, cache_kib=PASSING_CACHE_KIB)))
    if kind == "read":
        return ReadSession(Reader(path, connect_reader(path, cache_kib=PASSING_CACHE_KIB)))
    try:
        connection = connect_writer(path)
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    if kind == "log":
        return LogSession(LogStore(connection, path, fsync=fsync))
    assert kind == "data", f"unknown kind of writer {kind}"
    return DataSession(DataStore(connection, path))


def _reader_of_one_moment(path: str) -> Reader:
    try:
        connection = connect_reader(path, cache_kib=PASSING_CACHE_KIB)
        connection.execute("BEGIN")
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    return Reader(path, connection)


def serve(link: socket.socket, session: Session) -> None:
    """
    Work until the other end is closed.
    """
    buffer = bytearray()
    open_ = True
    while open_:
        if not session.busy:
            data = link.recv(_RECV_BYTES)
            open_ = bool(data)
            buffer += data
        while open_ and len(buffer) < _BATCH_BYTES:
            try:
                data = link.recv(_RECV_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            open_ = bool(data)
            buffer += data
        messages = decode(buffer)
        if messages or (open_ and session.busy):
            for reply in session.take(messages):
                _answer(link, encode(reply))
            session.rest()
    session.close()


def _answer(link: socket.socket, frame: bytes) -> None:
    try:
        link.sendall(frame)
    except (BrokenPipeError, ConnectionResetError):
        # The store is gone: nobody listens, and what is queued is still to be finished.
        return


def main(arguments: list[str]) -> int:
    """
    @param arguments: which of them, number of the socket's descriptor, path of the file, durability.
    @return: the exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    kind, descriptor, path, durability = arguments
    link = socket.socket(fileno=int(descriptor))
    try:
        if kind in ("data", "snapshot", "sum", "sizes"):
            os.nice(_NICE)
        session = open_session(kind, path, fsync=durability == "fsync")
        _answer(link, encode((READY,)))
        serve(link, session)
    except StorageError as error:
        _answer(link, encode((FAILED, type(error).__name__, str(error))))
        os._exit(1)
    except OSError as error:
        failure = from_os(error, path)
        _answer(link, encode((FAILED, type(failure).__name__, str(failure))))
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

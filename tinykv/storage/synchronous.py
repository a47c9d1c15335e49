"""
A channel to a session in the same process: for tests, and for work on a folder that no daemon serves.

Nothing happens before L{SynchronousChannel.run} is called, so a test chooses when a write is durable, and
what is lost when the machine stops before.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from tinykv.storage.errors import StorageError
from tinykv.storage.frames import FAILED
from tinykv.storage.sessions import Session
from tinykv.storage.writers import Receiver


class SynchronousChannel:
    """
    Queues what is sent, and does it on demand.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._receiver: Receiver | None = None
        self._queue: list[Any] = []
        self._wanted = False

    def connect(self, receiver: Receiver) -> None:
        """
        Say who listens.
        """
        self._receiver = receiver

    def send(self, message: Any) -> None:
        """
        Queue a message for the next run.
        """
        self._queue.append(message)

    def call_when_writable(self) -> None:
        """
        Call the receiver in the next run.
        """
        self._wanted = True

    @property
    def queued_bytes(self) -> int:
        """
        Nothing is queued as bytes here.
        """
        return 0

    def run(self) -> None:
        """
        Do everything that was sent, and what is sent because of it, and deliver the replies.
        """
        assert self._receiver is not None, "connect comes first"
        while self._queue or self._wanted or self._session.busy:
            while self._wanted:
                self._wanted = False
                self._receiver.writable()
            messages, self._queue = self._queue, []
            if not messages and not self._session.busy:
                continue
            try:
                replies = self._session.take(messages)
            except StorageError as error:
                replies = [(FAILED, type(error).__name__, str(error))]
                self._wanted = False
                self._queue.clear()
            for reply in replies:
                self._receiver.replied(reply)
            self._session.rest()

    def drop(self) -> None:
        """
        The machine stops: what was not run never happens.
        """
        self._queue.clear()
        self._wanted = False

    def close(self) -> Deferred[None]:
        """
        Finish everything and close the file.
        """
        try:
            self.run()
            self._session.close()
        except StorageError:
            return fail()
        return succeed(None)

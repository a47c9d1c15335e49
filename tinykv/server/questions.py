"""
Questions of commands on the server about the data: what all regions know of it, wherever they are led.

A question is a read like any other, so it goes where reads go, and tells what they would find.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from tinykv.redis.operations import READ
from tinykv.resp import replies
from tinykv.server.session import Session

_TOO_LATE = replies.error(b"TIMEOUT not all regions have answered in time")


def ask(
    session: Session,
    number: int,
    question: list[bytes],
    tell: Callable[[bytes], bytes],
    *,
    patience: float | None = None,
) -> bytes | None:
    """
    Ask for what a session's request needs; what its client sends behind it waits.

    @param number: The request's; it isn't part of a transaction, whose replies are there at once.
    @param question: The read: a command's name and arguments.
    @param tell: Makes the reply to the client of the reply to the read, which may be an error.
    @param patience: After so many seconds it's told an error; None for what reads take at most.
    @return: The reply; None if the client is answered later.
    """
    front = session.front
    found = front.find_route(question)
    assert not isinstance(found, bytes), "it's a command of ours"
    asked = _Question(session, tell)
    if session.held == number:
        # It's a step in a turn of some region, which mustn't look at data.
        session.host.submit((READ, asked, number, 0, found.spec, question, None))
    else:
        session.hold(number)
        read = session.host.read_local if session.stale else session.host.read
        reply = read(asked, number, 0, found.spec, question)
        if reply is not None:
            return tell(reply)
    if patience is not None and not asked.answered:
        asked.timer = front.clock.callLater(patience, asked.give_up, number)
    return None


class _Question:
    """
    Takes the reply to a question in its client's stead.

    @ivar timer: What ends the waiting.
    """

    __slots__ = ("_session", "_tell", "answered", "client_id", "proto", "timer")

    def __init__(self, session: Session, tell: Callable[[bytes], bytes]) -> None:
        self._session = session
        self._tell = tell
        self.client_id = session.client_id
        # It's we who read the reply, whatever the client does.
        self.proto = 2
        self.answered = False
        self.timer: IDelayedCall | None = None

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply; the first counts."""
        if self.answered:
            return
        self.answered = True
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self._session.answer(number, self._tell(reply))

    def give_up(self, number: int) -> None:
        """Wait no longer."""
        self.answer(number, _TOO_LATE)
        self._session.front.flush()

    def waits(self, number: int, timeout_ms: int) -> None:
        """It doesn't block."""
        raise AssertionError("a question doesn't block")

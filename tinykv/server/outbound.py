"""
The way out of a connection: replies in the order of their requests, and no more of them than the client takes.

Replies come with the numbers of their requests, in any order; L{Outbound.answer} lets them out in theirs. What was
answered in a turn leaves in one send, at its end. A TCP socket is written to directly while nothing is queued in its
transport, which saves a round through the reactor.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

from tinykv.server.outlets import Drain

if TYPE_CHECKING:
    from tinykv.server.front import Front

#: Replies of this many bytes are sent without waiting for the end of the turn.
SEND_BYTES = 256 * 1024


class Outbound(Protocol):
    """
    A connection, as far as replies go; what is read from it is the matter of L{tinykv.server.session.Session}.

    @ivar client_id: Names it for as long as the store runs.
    @ivar issued: How many requests were numbered.
    @ivar answered: How many of them have been answered.
    @ivar waiting: The number of the request that waits in a blocking command, or None.
    @ivar woken: Whether CLIENT UNBLOCK has asked for it to wait no longer.
    @ivar held: The number of the request that has to be answered before any behind it is run, or None.
    @ivar replies_off: Whether CLIENT REPLY OFF holds replies back; C{skip_next}: SKIP does so for the next request.
    @ivar quiet: Whether one of these does.
    @ivar closing: Whether the connection ends when the client has what it's owed.
    @ivar bytes_out: How many bytes of replies were sent.
    @ivar peer_text: The client's address.
    """

    def __init__(self, front: Front, client_id: int) -> None:
        self.front = front
        self.client_id = client_id
        self.issued = 0
        self.answered = 0
        self.waiting: int | None = None
        self.woken = False
        self.replies_off = False
        self.skip_next = False
        self.quiet = False
        self.closing = False
        self.bytes_out = 0
        self.peer_text = b""
        #: Replies whose turn hasn't come, and how many bytes they have.
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        #: Requests whose replies CLIENT REPLY holds back.
        self._muted: set[int] = set()
        self._out: list[bytes] = []
        self._listed = False
        self.held: int | None = None
        self._queued = False
        #: Whether the next request has to stay unrun: held, queued or closing.
        self._stalled = False
        self._send: Any = None
        #: Bytes of replies that aren't with the system yet, and how many are too many.
        self._unsent = 0
        self._unsent_max = SEND_BYTES

    # What the other half does

    def _read_less(self) -> None:
        """Read nothing more for now."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Run what was kept back, and read on, as far as nothing is in the way."""
        raise NotImplementedError

    def transport_reads(self) -> None:
        """Leave it to the transport to read, as it knows how a connection ends."""
        raise NotImplementedError

    # Replies

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply to a request; it leaves when all before it have. Only the first to a request counts."""
        if number != self.answered:
            if number < self.answered:
                return
            self._early[number] = reply
            self._early_bytes += len(reply)
            if self._early_bytes > SEND_BYTES:
                # They count in no limit yet: no more of them are made until what is before them is answered.
                self._stalled = True
            return
        while True:
            if self._muted and number in self._muted:
                self._muted.discard(number)
                reply = b""
            self._out.append(reply)
            self.answered = number = number + 1
            self._unsent = unsent = self._unsent + len(reply)
            if not self._listed:
                self._listed = True
                self.front.answered.append(self)
            if self.held is not None and self.held < number:
                self._release()
            if unsent > self._unsent_max:
                self._relieve()
            if not self._early or number not in self._early:
                return
            reply = self._early.pop(number)
            early = self._early_bytes
            self._early_bytes = left = early - len(reply)
            if early > SEND_BYTES:
                self._stalled = self.held is not None or self._queued or self.closing or left > SEND_BYTES

    def push(self, message: bytes) -> None:
        """Send something that is no reply."""
        self._out.append(message)
        self._unsent += len(message)
        self._list_soon()

    def _list_soon(self) -> None:
        """Be flushed although nothing of this client's is being applied or read now."""
        if not self._listed:
            self._listed = True
            self.front.answered.append(self)
            self.front.flush_soon()

    def _mute(self, number: int) -> None:
        """Hold the reply to a request back, as CLIENT REPLY asked for."""
        self._muted.add(number)
        if self.skip_next:
            self.skip_next = False
            self.quiet = self.replies_off

    def unmute(self, number: int) -> None:
        """Let the reply to a request out after all."""
        self._muted.discard(number)

    def flush(self) -> None:
        """Send what has been answered; called once a turn for each session that has something."""
        self._listed = False
        if self._out:
            self._flush()
        if self.closing:
            self._close_when_done()
        else:
            self._go_on()

    def _flush(self) -> None:
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        size = len(data)
        self.bytes_out += size
        transport: Any = self.transport
        if self._send is not None and not self._queued:
            try:
                sent = self._send(data) if data else 0
            except BlockingIOError:
                sent = 0
            except OSError:
                # The transport meets the same error, and knows how to end the connection.
                sent = 0
            if sent == size:
                self._unsent = 0
                return
            transport.write(data[sent:] if sent else data)
            self._unsent = size - sent
            self._full()
            transport.registerProducer(Drain(self._sent), False)
        else:
            transport.write(data)
            if not self._queued:
                self._unsent = 0
        if self._unsent > self._unsent_max:
            self._relieve()

    def _relieve(self) -> None:
        """Send much at once; close a client that has too much waiting for it."""
        if not self._queued:
            self._flush()
        else:
            self.front.output_limit_closes += 1
            self.front.log.warn(
                "{peer} doesn't read its replies: {unsent} bytes wait, closing it",
                peer=self.peer_text.decode(),
                unsent=self._unsent,
            )
            self.abort()

    def _full(self) -> None:
        """Learn that the transport has bytes that the client doesn't take yet: run and read nothing more."""
        self._queued = self._stalled = True
        self._unsent_max = self.front.output_buffer_limit
        self._read_less()

    def _sent(self) -> None:
        """Learn that the transport has sent all it had queued."""
        transport: Any = self.transport
        transport.unregisterProducer()
        self._drained()

    def _drained(self) -> None:
        self._queued = False
        self._stalled = self.held is not None or self.closing or self._early_bytes > SEND_BYTES
        self._unsent = sum(map(len, self._out))
        self._unsent_max = SEND_BYTES
        self.flush()

    # Holding requests back

    def hold(self, number: int) -> None:
        """Run none of the client's further requests until this one is answered."""
        self.held = number
        self._stalled = True

    def _release(self) -> None:
        """Go on with the client's requests when the reply that they waited for leaves."""
        self.held = None
        if self.waiting is not None:
            self.waiting = None
            self.woken = False
            self.front.waits_no_more(self)
        self._stalled = self._queued or self.closing or self._early_bytes > SEND_BYTES

    # The end

    def close_after_replies(self) -> None:
        """Close the connection when everything that it's owed has been sent; run nothing more."""
        self.transport_reads()
        self.closing = self._stalled = True
        self._list_soon()

    def _close_when_done(self) -> None:
        if self.answered == self.issued and not self._queued and not self._out:
            transport: Any = self.transport
            transport.loseConnection()

    def end(self) -> None:
        """Close the connection with what has been answered so far."""
        if self._out:
            self._flush()
        self._forget()
        transport: Any = self.transport
        transport.loseConnection()

    def cut(self) -> None:
        """Close the connection now, with what has been answered if the client takes it; it may never read."""
        if self._out:
            self._flush()
        if self._queued:
            self.abort()
        else:
            self.end()

    def broken(self) -> None:
        """After an exception that nobody expected: cut this client off, and leave the others alone."""
        self.front.log.failure("{peer} is cut off by a defect of this server", peer=self.peer_text.decode())
        self.abort()

    def abort(self) -> None:
        """Close the connection now."""
        self._forget()
        transport: Any = self.transport
        transport.abortConnection()

    def _forget(self) -> None:
        self.transport_reads()
        self.closing = self._stalled = True
        if self.waiting is not None:
            # Now, not when the transport has ended: what the others do from here on isn't for this one any more.
            self.front.wake(self, b"gone")
            self.waiting = None
        self._early.clear()
        self._early_bytes = 0
        self._out.clear()
        # All replies are those to requests before it, so what is answered from now on goes nowhere.
        self.answered = sys.maxsize

    @property
    def output_buffer(self) -> int:
        """Count the bytes of replies that the client hasn't taken yet."""
        return self._unsent

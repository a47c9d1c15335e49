"""
Clients that wait in a blocking command for keys of a region of which this store has no replica.

Elsewhere a waiter is a row of the region, and the store that its client is connected to answers it when it applies the
entry that serves it. A store without a replica applies nothing, so here it's asked again and again whether there is
something: by a read, which costs no entry, and only where that finds something the command itself is done, as within a
transaction, where it doesn't wait. So a client here may be served after one that came later and waits in the region;
nothing is popped for a client but by the command that answers it.

That goes on when the store gets a replica meanwhile: the region doesn't know of those who have begun before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tinykv.redis.command_keys import keys_of
from tinykv.redis.operations import EXEC, READ, Client, Operation
from tinykv.redis.spec import CommandSpec
from tinykv.redis.timeouts import timeout_ms
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of

#: How often it's looked whether there's something, in seconds.
POLL_SECONDS: Final = 0.1
#: Whose timeout stands first; the others' stands last.
_TIMEOUT_FIRST: Final = frozenset(("blmpop", "bzmpop"))
#: Who takes from the first of their keys alone.
_FROM_FIRST: Final = frozenset(("blmove", "brpoplpush"))
#: How a command begins whose error says that nothing was done, so that it may be tried again.
_AGAIN: Final = (b"-CLUSTERDOWN ", b"-TRYAGAIN ")
_NOTHING: Final = frozenset((b"*-1\r\n", b"$-1\r\n", b"_\r\n"))
_UNBLOCKED: Final = replies.error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")


class Polls:
    """All such clients of a store: the region in which one began to wait may be merged into another one."""

    def __init__(
        self,
        *,
        table: Mapping[str, CommandSpec],
        start_id: int,
        submit: Callable[[Operation], None],
        clock: IReactorTime,
        answered: Callable[[], None],
    ) -> None:
        """
        @param table: The commands, by name.
        @param start_id: Names the run of the store, and so whose clients they are.
        @param submit: Takes an operation to where its keys lie.
        @param answered: Called when a client was answered.
        """
        self.exists = table["exists"]
        self.submit = submit
        self._start_id = start_id
        self.clock = clock
        self.answered = answered
        self._polls: dict[tuple[int, int], _Poll] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._polls)

    @property
    def operations(self) -> list[Operation]:
        """The commands of them all: nothing of them was done, or their clients are about to hear of it."""
        return [poll.operation for poll in self._polls.values()]

    def begin(self, operation: Operation) -> None:
        """Take a blocking command."""
        poll = _Poll(self, operation)
        self._polls[poll.name] = poll
        poll.attempt()

    def wake(self, arguments: list[bytes]) -> bool:
        """Wake a client, as an operation says; say if it's one of these."""
        _, start_id, client_id, number, how = arguments
        if int(start_id) != self._start_id:
            return False
        poll = self._polls.get((int(client_id), int(number)))
        if poll is None:
            return False
        poll.wake(how)
        return True

    def forget(self, name: tuple[int, int]) -> None:
        """Learn that a client waits no more."""
        self._polls.pop(name, None)


class _Poll:
    """
    One client, as whom all is done that is done for it.

    @ivar operation: Its command.
    @ivar name: The client and the number of its request.
    """

    def __init__(self, polls: Polls, operation: Operation) -> None:
        self._polls = polls
        self.operation = operation
        _, client, number, self._db, self._spec, self._arguments, _ = operation
        self._client: Client = client
        self.name = (client.client_id, number)
        self.client_id = client.client_id
        self.proto = client.proto
        self._waits = False
        #: Until when, by the clock; None for ever.
        self._until: float | None = None
        self._due: IDelayedCall | None = None
        #: What takes the reply to what is under way, if something is.
        self._take: Callable[[bytes], None] | None = None
        #: Whether its time is over, so that it's tried once more and then answered, by this if there's nothing.
        self._last = False
        self._instead: bytes | None = None
        self._over = False

    def attempt(self) -> None:
        """Do the command, without waiting."""
        self._take = self._tried
        commands = [(self._db, self._spec, self._arguments, None)]
        self._polls.submit((EXEC, self, self.name[1], self._db, None, commands, []))

    def answer(self, number: int, reply: bytes) -> None:
        """Take the reply to what is under way."""
        take, self._take = self._take, None
        if not self._over and take is not None:
            take(reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """Nothing that is done for it waits."""
        raise AssertionError("a transaction doesn't block")

    def _tried(self, reply: bytes) -> None:
        if reply.startswith(b"-"):
            if self._waits and not self._last and reply.startswith(_AGAIN):
                self._later()
            else:
                self._finish(reply)
            return
        (inner,) = elements_of(reply)
        if inner not in _NOTHING:
            self._finish(inner)
            return
        if self._last:
            self._finish(self._instead or inner)
            return
        if not self._waits:
            self._wait()
        self._later()

    def _wait(self) -> None:
        """Let the client know that it waits, and for how long."""
        self._waits = True
        timeout = timeout_ms(self._arguments[1 if self._spec.name in _TIMEOUT_FIRST else -1])
        if timeout:
            self._until = self._polls.clock.seconds() + timeout / 1000
        self._client.waits(self.name[1], timeout)

    def _later(self) -> None:
        if not self._over:
            self._due = self._polls.clock.callLater(POLL_SECONDS, self._look)

    def _look(self) -> None:
        """See whether there's something; when its time is over, by trying once more."""
        if self._until is not None and self._polls.clock.seconds() >= self._until:
            self._last = True
            self.attempt()
            return
        assert self._spec.facts is not None, "it's about keys"
        keys = [self._arguments[place] for place in keys_of(self._spec.facts, self._arguments)]
        if self._spec.name in _FROM_FIRST:
            del keys[1:]
        self._take = self._seen
        self._polls.submit((READ, self, self.name[1], self._db, self._polls.exists, [b"EXISTS", *keys], None))

    def _seen(self, reply: bytes) -> None:
        if not self._last and (reply == b":0\r\n" or reply.startswith(_AGAIN)):
            self._later()
        else:
            # An error too: the command says it in its own words.
            self.attempt()

    def wake(self, how: bytes) -> None:
        """Wait no more: its time is over, it's told so by an error, or it has left."""
        if how == b"gone":
            self._end()
            return
        self._last = True
        if how == b"error":
            self._instead = _UNBLOCKED
        if self._due is not None and self._due.active():
            self._due.cancel()
            self.attempt()

    def _finish(self, reply: bytes) -> None:
        self._end()
        self._client.answer(self.name[1], reply)
        self._polls.answered()

    def _end(self) -> None:
        self._over = True
        self._polls.forget(self.name)
        if self._due is not None and self._due.active():
            self._due.cancel()

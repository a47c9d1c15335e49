"""
Every refusal that reaches a client, each with the words it has on the wire.

A L{CommandError} is an answer, not a fault: the command changed nothing and the client is told why. Its C{wire}
is the text after the C{-} of a RESP error, without the line end, in Redis's own words wherever Redis has them
(the reference is Redis 7.0.15).
"""

from __future__ import annotations


class CommandError(Exception):
    """
    A command was refused and did nothing.

    @ivar wire: The text of the RESP error, such as C{b"ERR syntax error"}.
    """

    __slots__ = ("wire",)

    def __init__(self, wire: bytes) -> None:
        super().__init__(wire)
        self.wire = wire


class WrongType(CommandError):
    """The key holds a value of another type than the command works on."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"WRONGTYPE Operation against a key holding the wrong kind of value")


class SyntaxProblem(CommandError):
    """The options of a command don't fit together."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"ERR syntax error")


class NotAnInteger(CommandError):
    """An argument or a value was to be a 64-bit signed integer."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"ERR value is not an integer or out of range")


class NotAFloat(CommandError):
    """An argument or a value was to be a floating point number."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"ERR value is not a valid float")


class NoSuchKey(CommandError):
    """The command needs an existing key."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"ERR no such key")


class OutOfRange(CommandError):
    """An index lies outside of the value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"ERR index out of range")


class WrongArity(CommandError):
    """A command was called with a wrong number of arguments."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(b"ERR wrong number of arguments for '%b' command" % name.encode())


class Fault(Exception):
    """
    Something below failed in a way that no command is to blame for: the store stops serving and says why.

    Whatever it was doing doesn't count as done.
    """


class OutOfTime(Exception):
    """
    A look at the data takes longer than the reactor may be held; nothing was changed, and it's to be taken again where
    it can rest in between (see L{tinykv.store.pacing}).
    """


class Damaged(Fault):
    """
    Bytes read back from a row or a log entry aren't what was written.

    It's never answered to a client as if it were its mistake: the store stops serving and says which row it was.
    """


class ControlRefused(Exception):
    """
    The cluster can't be changed or looked at in the way that an operator asked; nothing was done.

    Its text is the reason, as a sentence for that person.
    """


class NotLeading(ControlRefused):
    """
    Only the store that leads can do it.

    @ivar leader: That store's id; None while no leader is known.
    """

    def __init__(self, leader: int | None) -> None:
        super().__init__("there is no leader; ask again" if leader is None else f"store {leader} leads, not this one")
        self.leader = leader


class ControlUnknown(Exception):
    """
    A change that an operator asked for may have been made, or may still be: its outcome got lost.

    Its text says how, as a sentence for that person.
    """


class ScheduleProblem(Exception):
    """
    The scheduler didn't do what it was asked.

    Its text says why, as a sentence for people, and whom it was asked of.
    """


class ScheduleRefused(ScheduleProblem):
    """
    The scheduler won't do it, and nothing was changed; to ask again the same won't help.

    @ivar status: That of its answer, HTTP's.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class ScheduleUnavailable(ScheduleProblem):
    """
    The scheduler gave no good answer in time.

    @ivar perhaps_done: Whether what was asked for may have been done, or may still be.
    """

    def __init__(self, why: str, perhaps_done: bool) -> None:
        super().__init__(why)
        self.perhaps_done = perhaps_done

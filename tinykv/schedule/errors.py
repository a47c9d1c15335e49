"""
Why a question isn't answered as asked. Whatever is raised here, nothing was changed, but by L{OutcomeUnknown}.
"""

from __future__ import annotations


class Refusal(Exception):
    """A question isn't answered; the text says why, and what to do."""


class Invalid(Refusal):
    """What was asked can't be right, whenever it's asked."""


class NotFound(Refusal):
    """What was asked for isn't there."""


class Conflict(Refusal):
    """It can't be done as things are."""


class NotLeader(Refusal):
    """
    Another member has to be asked.

    @ivar leader: Its number, or 0 while none is known.
    """

    def __init__(self, leader: int) -> None:
        super().__init__(f"member {leader} leads, ask there" if leader else "no member leads: a majority isn't reached")
        self.leader = leader


class Unavailable(Refusal):
    """It can't be done now, but may be soon."""


class OutcomeUnknown(Refusal):
    """It may have been done, or may still be: nobody can tell."""

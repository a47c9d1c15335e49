"""
What regions wait for before they propose anything, so that nothing overtakes what was sent before to another region.

A part that is cut off, for one, waits until the outcome is known of all that was sent to the whole. That is known
when all that the whole had on its way is done, and all is over that the whole itself waits for at the time: it may have
been a part, whose own whole has something on its way that belongs to the new part by now. So each waits only for what
began before. None waits for itself, whichever regions are merged meanwhile: not even where those are that a part waits
for and the part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol


class Waits(Protocol):
    """A region, or what stands for one."""

    def hold(self, until: LetGo) -> None:
        """Propose nothing until something is over."""

    def let_go(self, until: LetGo) -> None:
        """Learn that it's over."""


class LetGo:
    """
    The end of what some regions wait for.

    @ivar over: Whether they wait for it no more.
    """

    __slots__ = ("_hosts", "_later", "_left", "over")

    def __init__(self, hosts: Collection[Waits], earlier: Iterable[LetGo] = ()) -> None:
        """Let regions wait until this is called, and what is earlier is over."""
        self.over = False
        self._hosts = hosts
        self._left = 1
        self._later: list[LetGo] = []
        for one in earlier:
            if not one.over:
                self._left += 1
                one._later.append(self)
        for host in hosts:
            host.hold(self)

    def __call__(self) -> None:
        """Learn that the outcome is known of what was under way."""
        self._left -= 1
        if self._left:
            return
        self.over = True
        for host in self._hosts:
            host.let_go(self)
        for one in self._later:
            one()

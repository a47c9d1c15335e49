"""
Connecting to another store: one attempt at a time, given up after a while, and a pause before the next.

What the connection is for is said by who dials; a link and a snapshot on its way each have a L{Dialling} of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.peering.channel import Channel, Common


class _Single(Factory):
    """Gives its one protocol to the one connection of an endpoint."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """Give it."""
        return self._channel


class BackOff:
    """
    How long to wait before another attempt: each failure doubles it, up to a limit, and chance shortens it by up to
    half, so that not all stores dial at once.
    """

    def __init__(self, least: float, most: float, random: Random) -> None:
        self._least = least
        self._most = most
        self._random = random
        self._next = least

    def seconds(self) -> float:
        """Give the next pause."""
        pause = self._next
        self._next = min(self._most, 2 * pause)
        return pause * (1 - self._random.random() / 2)

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next = self._least


class Dialling:
    """
    The attempts to connect to one other store.

    @ivar back_off: The pauses between them.
    """

    log = Logger()

    def __init__(self, common: Common, store_id: int, random: Random, dial: Callable[[], None]) -> None:
        """
        @param dial: Called when the pause before the next attempt is over.
        """
        limits = common.limits
        self.back_off = BackOff(limits.reconnect_least, limits.reconnect_most, random)
        self._common = common
        self._store_id = store_id
        self._dial = dial
        self._attempt: Deferred[IProtocol] | None = None
        self._began = 0.0
        self._retry: IDelayedCall | None = None

    def attempt(
        self, endpoint: IStreamClientEndpoint, channel: Channel, failed: Callable[[str | None], None]
    ) -> None:
        """
        Connect now.

        @param failed: Called if there's no connection in the end, with what an operator is to know of it; None if
            that is in the log already.
        """
        common = self._common
        self.wait_no_more()
        self._began = common.clock.seconds()
        self._attempt = attempt = endpoint.connect(_Single(channel))
        patience = common.clock.callLater(common.limits.connect_timeout, attempt.cancel)
        attempt.addBoth(self._attempted, patience)
        attempt.addErrback(self._not_connected, failed)

    def _attempted(self, result: object, patience: IDelayedCall) -> object:
        self._attempt = None
        if patience.active():
            patience.cancel()
        return result

    def _not_connected(self, failure: Failure, failed: Callable[[str | None], None]) -> None:
        text: str | None = None
        if failure.check(ConnectError, ConnectingCancelledError, CancelledError, OSError) is None:
            self.log.failure("store {store} can't be dialled", failure, store=self._store_id)
        else:
            text = failure.getErrorMessage() or str(failure.type)
        failed(text)

    @property
    def under_way_for(self) -> float:
        """Say for how long the attempt has been under way, in seconds; 0 if there is none."""
        return 0.0 if self._attempt is None else self._common.clock.seconds() - self._began

    def give_up(self) -> bool:
        """End the attempt that is under way; say if there was one."""
        if self._attempt is None:
            return False
        self._attempt.cancel()
        return True

    def again_later(self) -> None:
        """Dial again after a pause."""
        self._retry = self._common.clock.callLater(self.back_off.seconds(), self._again)

    def _again(self) -> None:
        self._retry = None
        self._dial()

    def wait_no_more(self) -> None:
        """End the pause without dialling."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

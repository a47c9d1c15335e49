"""
How fast snapshots may leave.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

#: Time that nobody booked can be booked for so many seconds afterwards, since turns of the reactor are late.
BURST_SECONDS: Final = 0.1


class Rate:
    """
    Bytes a second that several share: each books what it wants to send, and is told when its time comes.
    """

    def __init__(self, clock: IReactorTime, bytes_a_second: int) -> None:
        assert bytes_a_second > 0
        self._clock = clock
        self._rate = bytes_a_second
        self._booked_to = 0.0

    def book(self, size: int) -> float:
        """
        Book time for so many bytes.

        @return: In how many seconds they may leave: 0 for now.
        """
        now = self._clock.seconds()
        begin = max(now - BURST_SECONDS, self._booked_to)
        self._booked_to = begin + size / self._rate
        return max(0.0, begin - now)

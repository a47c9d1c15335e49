"""Why a group didn't take what it was asked: nothing has happened then, and it may be asked again."""

from __future__ import annotations


class Refused(Exception):
    """Nothing was done; the text says why."""


class NotLeader(Refused):
    """
    Only the leader can do this.

    @ivar leader: The peer that leads as far as is known, or 0.
    """

    def __init__(self, leader: int) -> None:
        super().__init__(f"the leader is {leader}" if leader else "there is no leader")
        self.leader = leader


class Transferring(Refused):
    """Leadership is being handed over; nothing is proposed until that has worked or failed."""

    def __init__(self, target: int) -> None:
        super().__init__(f"leadership goes to {target}")


class Overloaded(Refused):
    """Too much waits to be committed."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} bytes wait to be committed")


class ChangeRefused(Refused):
    """The membership can't be changed now, or not in this way."""


class TransferRefused(Refused):
    """The peer can't become the leader."""

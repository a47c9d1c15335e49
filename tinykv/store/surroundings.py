"""
What the controls of a store's regions share: the links to other stores, where these are, and what is waited for.

What only concerns two stores goes over the links as a batch of its own, which L{MARK} tells from one of commands: its
next byte says what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from tinykv.errors import ControlRefused, ControlUnknown
from tinykv.interfaces import Outcome
from tinykv.region.descriptor import Descriptor

T = TypeVar("T")

#: What a batch begins with that isn't one of commands: those begin with a number of less than 64 bits.
MARK: Final = b"\xff"
#: How long an operator waits for a majority, or for another leader, in seconds.
CHANGE_SECONDS: Final = 10.0
#: How long the link to a store that was removed stays, so that it hears of it, in seconds.
FAREWELL_SECONDS: Final = 5.0


class Links(Protocol):
    """What it needs of L{tinykv.interfaces.IPeering}."""

    def is_up(self, store_id: int) -> bool:
        """Tell whether the link to a store is up."""

    def forward(self, store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """Send a batch, once."""

    def forget(self, store_id: int) -> None:
        """Close the link to a store, and dial it no more."""


class Addresses(Protocol):
    """What it needs of L{tinykv.peering.address_book.AddressBook}."""

    def has_room(self, store_id: int) -> bool:
        """Tell whether a store's address can be noted."""

    def note(self, store_id: int, address: str) -> None:
        """Note where a store is."""

    def address(self, store_id: int) -> str | None:
        """Give a store's address, or None when it isn't known."""

    def stores(self) -> Sequence[int]:
        """List the stores whose addresses are known."""


class Surroundings:
    """
    The store of a region, and the others.

    @ivar store_id: The store.
    @ivar links: To the other stores; None if this one is on its own for good.
    @ivar scheduled: Whether a scheduler decides who belongs to the regions.
    """

    def __init__(
        self,
        *,
        store_id: int,
        address: str,
        clock: IReactorTime,
        links: Links | None,
        addresses: Addresses,
        scheduled: bool,
        belongs: Callable[[int], bool],
    ) -> None:
        """
        @param address: Where others find this store, C{host:port}; empty if nobody does.
        @param belongs: Tells whether a store is still needed when a region was taken from it.
        """
        self.store_id = store_id
        self.links = links
        self.addresses = addresses
        self.scheduled = scheduled
        self.clock = clock
        self._address = address
        self._belongs = belongs
        #: What is looked at, until it's true or too late.
        self._waits: list[_Wait[Any]] = []
        #: Stores whose links are about to be forgotten.
        self._forgetting: set[int] = set()

    # Other stores

    def is_up(self, store: int) -> bool:
        """Tell whether a store is reached."""
        return store == self.store_id or (self.links is not None and self.links.is_up(store))

    def others(self) -> list[int]:
        """List the other stores that are known."""
        return [store for store in self.addresses.stores() if store != self.store_id]

    def address_of(self, store: int, descriptor: Descriptor) -> str:
        """Say where a store is, empty if that isn't known."""
        if store == self.store_id:
            return self._address
        return self.addresses.address(store) or descriptor.addresses.get(store, "")

    def note(self, store: int, address: str) -> None:
        """Note where a store is."""
        if store != self.store_id and self.addresses.has_room(store):
            self.addresses.note(store, address)

    def note_all(self, descriptor: Descriptor) -> None:
        """Note where stores are of which another one tells; what they have said themselves is newer."""
        for store, address in descriptor.addresses.items():
            if self.addresses.address(store) is None:
                self.note(store, address)

    def ask(self, store: int, payload: bytes) -> Deferred[tuple[Outcome, bytes]]:
        """Ask another store."""
        assert self.links is not None, "there's nobody to ask"
        answered: Deferred[tuple[Outcome, bytes]] = Deferred()
        late = self.clock.callLater(CHANGE_SECONDS, answered.callback, (Outcome.UNKNOWN, b""))

        def arrived(outcome: Outcome, answer: bytes) -> None:
            if late.active():
                late.cancel()
                answered.callback((outcome, answer))

        self.links.forward(store, MARK + payload, arrived)
        return answered

    def forget_later(self, store: int) -> None:
        """Forget the link to a store that was removed, and where it is, when it has had time to answer."""
        if self.links is not None and store not in self._forgetting:
            self._forgetting.add(store)
            self.clock.callLater(FAREWELL_SECONDS, self._forget, store)

    def _forget(self, store: int) -> None:
        self._forgetting.discard(store)
        assert self.links is not None, "there was a link"
        if not self._belongs(store):
            self.links.forget(store)

    # What is waited for

    def until(self, look: Callable[[], T | None], late: str) -> Deferred[T]:
        """
        Wait until something is so.

        @param look: Gives what is waited for, or None; may raise what it fails with.
        @param late: What an operator is told when it wasn't so in time.
        """
        wait: _Wait[T] = _Wait(look, self.clock.seconds() + CHANGE_SECONDS, late)
        self._waits.append(wait)
        self.look_at_waits()
        return wait.deferred

    def look_at_waits(self) -> None:
        """See what has come true."""
        now = self.clock.seconds()
        # Whoever is told may wait for something else at once.
        waits, self._waits = self._waits, []
        self._waits[:0] = [wait for wait in waits if not wait.over(now)]

    def stop(self) -> None:
        """End; who still waits is told that nobody knows."""
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.give_up("this store stops")


class _Wait(Generic[T]):
    """Something that is waited for."""

    __slots__ = ("_deadline", "_late", "_look", "deferred")

    def __init__(self, look: Callable[[], T | None], deadline: float, late: str) -> None:
        self.deferred: Deferred[T] = Deferred()
        self._look = look
        self._deadline = deadline
        self._late = late

    def over(self, now: float) -> bool:
        """Look, and say if there's nothing to wait for any more."""
        try:
            found = self._look()
        except (ControlRefused, ControlUnknown) as problem:
            self.deferred.errback(problem)
            return True
        if found is not None:
            self.deferred.callback(found)
        elif now >= self._deadline:
            self.give_up(self._late)
        return self.deferred.called

    def give_up(self, why: str) -> None:
        """Say that nobody knows."""
        self.deferred.errback(ControlUnknown(why))
